"""`learn`: what a number, a setting or an idea is, with the numbers of a run."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workbench.cli.arguments import DEFAULT_WORKSPACE
from workbench.cli.terminal import printable, table
from workbench.errors import UsageError
from workbench.language import language
from workbench.learn.explanation import Explanation, explain, plain_text
from workbench.learn.facts import Facts, facts_of_run
from workbench.learn.topics import Topic, find_topic, search_topics
from workbench.runs.store import open_run


def learn(arguments: argparse.Namespace) -> int:
    """`learn [TOPIC]`: explain one, or list all."""
    if arguments.topic is None:
        _list(arguments)
        return 0
    wanted = find_topic(arguments.topic)
    told = explain(wanted, _facts(arguments), language(), _own_name(arguments.topic, wanted))
    if arguments.json:
        print(json.dumps(_as_json(told), indent=1, ensure_ascii=False))
    else:
        print(printable(plain_text(told, arguments.run or "")), end="")
    return 0


def _list(arguments: argparse.Namespace) -> None:
    if stray := next((name for name in ("run", "stage") if getattr(arguments, name) is not None), None):
        raise UsageError(f"learn --{stray}", "has no effect without a topic", "name one: llm-workbench learn loss")
    found = search_topics("")
    if arguments.json:
        listed = [{"name": each.name, "title": each.title.of(language())} for each in found]
        print(json.dumps(listed, indent=1, ensure_ascii=False))
    else:
        print(table([(each.name, each.title.of(language()) if each.title.en != each.name else "") for each in found]))


def _facts(arguments: argparse.Namespace) -> Facts:
    if arguments.run is None:
        if arguments.stage is not None:
            raise UsageError(f"learn --stage {arguments.stage}", "has no effect without --run", "add --run RUN")
        return Facts()
    workspace = Path(arguments.workspace or DEFAULT_WORKSPACE)
    return facts_of_run(open_run(workspace, arguments.run).path, arguments.stage)


def _own_name(wanted: str, found: Topic) -> str:
    """What was asked for, where its topic has another name: val_kl for kl, stage.model.x for model.x."""
    return wanted if wanted != found.name and wanted.endswith(found.name) else found.name


def _as_json(told: Explanation) -> dict[str, Any]:
    values = {**asdict(told), "place": str(told.place) if told.place is not None else ""}
    values["formulas"] = [
        {"symbols": each.symbols, "filled": each.filled, "value": each.value, "unit": each.unit}
        for each in told.formulas
    ]
    return values
