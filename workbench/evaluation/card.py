"""The report of a run as Markdown: what was trained on what, curves, scores, samples, time.

What models and data say is data here: it stands in fenced blocks, which it cannot close, or is escaped.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from workbench.evaluation.curve import loss_curve
from workbench.evaluation.run_facts import Record, RunFacts, StageFacts

# What of each kind is shown; the files in the run directory hold all.
SHOWN_PROMPTS = 4
SHOWN_ANSWERS = 5
SHOWN_WARNINGS = 20

_TITLES = {
    "val_loss": "validation loss",
    "val_perplexity": "perplexity",
    "val_bits_per_byte": "bits per byte",
    "exact_match": "right answers",
    "val_reward_margin": "reward margin",
    "val_reward_accuracy": "held-out pairs won",
    "val_chosen_likelier": "chosen answer the likelier",
    "val_chosen_logp": "log-probability of chosen answers",
    "val_rejected_logp": "log-probability of rejected answers",
    "val_kl": "divergence from the reference, nats a token",
}
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|!~&$])")
_BACKTICKS = re.compile(r"`+")


def run_card(facts: RunFacts) -> str:
    """The report's Markdown; parts for which nothing is known yet are left out."""
    parts = [
        _heading(facts),
        _made_of(facts),
        _stage_table(facts),
        _measure_table(facts),
        _scores(facts),
        *(_stage_part(stage) for stage in facts.stages.values()),
        _answers(facts),
        _machine(facts),
        _warnings(facts),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def escaped(text: object) -> str:
    """`text` as one line of Markdown that shows it and does nothing else."""
    return _MARKUP.sub(r"\\\1", " ".join(_visible(str(text)).split()))


def fenced(text: str) -> str:
    """`text` as a block of code that no line of it can end."""
    longest = max((len(run) for run in _BACKTICKS.findall(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{_visible(text)}\n{fence}"


def _visible(text: str) -> str:
    """Control characters as pictures of themselves: a terminal that shows the report must not obey them."""
    return "".join(
        chr(0x2400 + ord(char)) if char < " " and char not in "\n\t" else "␡" if "\x7f" <= char <= "\x9f" else char
        for char in text
    )


def _heading(facts: RunFacts) -> str:
    status = str(facts.state.get("status") or ("done" if _complete(facts) else "unfinished"))
    lines = [f"# {escaped(facts.name)}"]
    if facts.profile.get("description"):
        lines.append(escaped(facts.profile["description"]))
    told = f"**{escaped(status)}**"
    if facts.seconds:
        told += f" after {duration(facts.seconds)}"
    if facts.state.get("message"):
        told += f": {escaped(facts.state['message'])}"
    return "\n\n".join([*lines, told])


def _complete(facts: RunFacts) -> bool:
    return bool(facts.stages) and all(stage.finished for stage in facts.stages.values())


def _made_of(facts: RunFacts) -> str:
    model = _table_of(facts.profile, "model")
    rows = [
        ("Model", _model_line(model, facts)),
        ("Tokenizer", _tokenizer_line(facts)),
        *((f"Data of {escaped(stage.name)}", _data_line(stage, facts)) for stage in facts.stages.values()),
    ]
    return _section("What was trained on what", _table(("", ""), [row for row in rows if row[1]]))


def _model_line(model: Record, facts: RunFacts) -> str:
    parameters = max((stage.parameters for stage in facts.stages.values()), default=0)
    told = [f"{parameters:,} parameters"] if parameters else []
    if model.get("path"):
        told.append(f"starting from {escaped(model['path'])}")
    sizes = {"num_hidden_layers": "layers", "hidden_size": "wide", "num_attention_heads": "heads"}
    told += [f"{model[key]} {word}" for key, word in sizes.items() if key in model]
    return ", ".join(([escaped(model["family"])] if "family" in model else []) + told)


def _tokenizer_line(facts: RunFacts) -> str:
    if facts.tokenizer is None:
        return ""
    told = f"{escaped(facts.tokenizer.kind)}, {facts.tokenizer.vocab_size:,} tokens"
    if facts.tokenizer.bytes_per_token is not None:
        told += f", {facts.tokenizer.bytes_per_token:.2f} bytes a token"
    return told


def _data_line(stage: StageFacts, facts: RunFacts) -> str:
    tables = facts.profile.get("stage")
    settings = [table for table in tables if isinstance(table, dict)] if isinstance(tables, list) else []
    files: Any = next((table.get("data") for table in settings if table.get("name") == stage.name), None)
    told = [", ".join(escaped(file) for file in files)] if isinstance(files, list) else []
    if stage.data is not None:
        data = stage.data
        told.append(f"{data.documents:,} documents, {data.tokens:,} tokens, {data.tokens_trained:,} of them trained")
        told.append(f"{data.validation_documents:,} documents set apart to measure on")
        if data.rows_rejected:
            told.append(f"{data.rows_rejected:,} of {data.rows_read:,} rows could not be used")
        if data.documents_truncated:
            told.append(f"{data.documents_truncated:,} documents were cut")
    return "; ".join(part for part in told if part)


def _stage_table(facts: RunFacts) -> str:
    rows = [
        (
            escaped(stage.name) + ("" if stage.finished else " (unfinished)"),
            escaped(stage.kind),
            f"{stage.steps:,}",
            f"{stage.tokens:,}",
            duration(stage.seconds),
            f"{stage.tokens_per_second:,.0f}",
        )
        for stage in facts.stages.values()
    ]
    head = ("stage", "kind", "steps", "tokens", "training time", "tokens/s")
    return _section("Stages", _table(head, rows, numbers_from=2))


def _measure_table(facts: RunFacts) -> str:
    rows = []
    for stage in facts.stages.values():
        for measure in dict.fromkeys((*stage.before, *stage.after)):
            values = (stage.before.get(measure), stage.after.get(measure))
            rows.append((escaped(stage.name), _title(measure), *(_measured(measure, value) for value in values)))
    return _section("Before and after", _table(("stage", "measure", "before", "after"), rows, numbers_from=2))


def _scores(facts: RunFacts) -> str:
    rows = [(_title(measure), _measured(measure, value)) for measure, value in facts.scores.items()]
    return _section("Final scores", _table(("measure", "score"), rows, numbers_from=1))


def _stage_part(stage: StageFacts) -> str:
    return _section(
        f"Stage {escaped(stage.name)}",
        "\n\n".join(part for part in (_adapter(stage), _curve(stage), _samples(stage)) if part),
    )


def _adapter(stage: StageFacts) -> str:
    """How much of a model LoRA trained, and how far that moved each matrix."""
    if not stage.updates:
        return ""
    share = stage.trained_parameters / max(stage.parameters, 1)
    still = f"{stage.parameters:,} that stood still ({share:.2%})"
    told = f"LoRA trained {stage.trained_parameters:,} numbers beside {still}."
    by_layer: dict[str, dict[str, float]] = {}
    for name, value in stage.updates.items():
        layer, _, matrix = name.removeprefix("model.layers.").partition(".")
        by_layer.setdefault(layer, {})[matrix.rpartition(".")[2]] = value
    matrices = list(dict.fromkeys(matrix for row in by_layer.values() for matrix in row))
    rows = [
        (escaped(layer), *(f"{row[matrix]:.1%}" if matrix in row else "–" for matrix in matrices))
        for layer, row in by_layer.items()
    ]
    table = _table(("layer", *map(escaped, matrices)), rows, numbers_from=1)
    return f"{told}\n\nSize of each update as a share of its matrix:\n\n{table}"


def _curve(stage: StageFacts) -> str:
    training, validation = _points(stage.metrics, "loss"), _points(stage.metrics, "val_loss")
    lines = loss_curve(training, validation)
    unit = "by pair" if stage.kind == "dpo" else "in nats a token"
    legend = f"Loss {unit} by step" + (": dots for training, ● for validation." if validation else ".")
    return f"{legend}\n\n{fenced(chr(10).join(lines))}" if lines else ""


def _points(records: Iterable[Record], key: str) -> list[tuple[float, float]]:
    pairs = ((record.get("step"), record.get(key)) for record in records)
    return [(step, value) for step, value in pairs if isinstance(step, int | float) and isinstance(value, int | float)]


def _samples(stage: StageFacts) -> str:
    by_prompt: dict[str, list[Record]] = {}
    for record in stage.samples:
        by_prompt.setdefault(str(record.get("prompt", "")), []).append(record)
    parts = []
    for prompt, records in list(by_prompt.items())[:SHOWN_PROMPTS]:
        parts.append(f"Prompt:\n\n{fenced(prompt)}")
        for record in records[:1] if len(records) == 1 else (records[0], records[-1]):
            parts.append(f"At step {escaped(record.get('step', '?'))}:\n\n{fenced(str(record.get('text', '')))}")
    return "### Samples\n\n" + "\n\n".join(parts) if parts else ""


def _answers(facts: RunFacts) -> str:
    answered = [stage for stage in facts.stages.values() if stage.answers]
    if not answered:
        return ""
    stage, parts = answered[-1], []
    for title, right in (("Right", True), ("Wrong", False)):
        records = [record for record in stage.answers if bool(record.get("right")) is right]
        if records:
            told = "\n\n".join(_answer(record) for record in _spread(records, SHOWN_ANSWERS))
            parts.append(f"{title} ({len(records):,} of {len(stage.answers):,}):\n\n{fenced(told)}")
    return _section(f"Answers after {escaped(stage.name)}", "\n\n".join(parts))


def _answer(record: Record) -> str:
    given, expected = (" ".join(str(record.get(key, "")).split()) for key in ("given", "expected"))
    lines = [f"question  {record.get('question', '')}", f"answered  {given}"]
    return "\n".join(lines if record.get("right") else [*lines, f"expected  {expected}"])


def _spread(records: Sequence[Record], count: int) -> list[Record]:
    """Up to `count` of the records from all over the file, as languages often stand one after the other."""
    if len(records) <= count:
        return list(records)
    return [records[index * len(records) // count] for index in range(count)]


def _machine(facts: RunFacts) -> str:
    started, resolved = facts.started, facts.resolved
    memory = max((stage.peak_memory_bytes for stage in facts.stages.values()), default=0)
    versions, machine = resolved.get("versions"), _table_of(resolved, "machine")
    rows = [
        ("Time in all", duration(facts.seconds) if facts.seconds else ""),
        ("Time of training", duration(sum(stage.seconds for stage in facts.stages.values()))),
        ("Most memory", f"{memory / 2**20:,.0f} MiB" if memory else ""),
        ("Device", escaped(facts.device)),
        ("CPU", escaped(machine.get("cpu", ""))),
        ("Precision", escaped(resolved.get("precision") or (started.precision if started else ""))),
        ("CPU threads", escaped(resolved.get("threads") or (started.threads if started else ""))),
        ("Seed", escaped(_table_of(facts.profile, "run").get("seed", ""))),
    ]
    if isinstance(versions, dict):
        rows.append(("Versions", ", ".join(f"{escaped(name)} {escaped(value)}" for name, value in versions.items())))
    return _section("Time, memory, versions", _table(("", ""), [row for row in rows if row[1]]))


def _warnings(facts: RunFacts) -> str:
    return _section("Warnings", "\n".join(f"- {escaped(message)}" for message in facts.warnings[:SHOWN_WARNINGS]))


def _title(measure: str) -> str:
    name, dot, language = measure.partition(".")
    return escaped(_TITLES.get(name, name.replace("_", " ")) + (f", {language}" if dot else ""))


def _measured(measure: str, value: float | None) -> str:
    if value is None:
        return "–"
    if measure in ("val_reward_accuracy", "val_chosen_likelier"):
        return f"{value:.1%}"
    return f"{value:,.3f}" if measure.startswith("val_") else f"{value:.1%}"


def duration(seconds: float) -> str:
    """Seconds for people, such as `4 min 05 s`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {whole % 60:02} s"


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int | None = None) -> str:
    if not rows:
        return ""
    right = len(head) if numbers_from is None else numbers_from
    lines = [head, ["---" if column < right else "---:" for column in range(len(head))], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _table_of(values: Record, key: str) -> dict[str, Any]:
    table = values.get(key)
    return table if isinstance(table, dict) else {}
