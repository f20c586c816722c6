"""Alternatives in the terminal chat: walking between answers, looking through one, branching from its tokens."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.cli.terminal import clipped, table
from workbench.errors import UsageError
from workbench.language import tr

if TYPE_CHECKING:
    from workbench.inference.chat import ChatSession
    from workbench.inspection.xray import Place

SHOWN = 3  # alternatives of a token in the table, and those that can be branched from


def show_other(session: "ChatSession", step: int, tell: Callable[[str], None]) -> None:
    """Show another alternative of the last answer.

    Raises:
        UsageError: there is none.
    """
    number = _last_answer(session)
    siblings = session.tree.siblings(number)
    place = siblings.index(number) + step
    if not 0 <= place < len(siblings):
        after, before = "no alternative after this one", "no alternative before this one"
        raise UsageError("chat", f"{after if step > 0 else before}, of {len(siblings)}", "/retry makes another")
    session.walk(number, step)
    which = tr("answer {number} of {count}:", number=place + 1, count=len(siblings))
    tell(f"{which}\n{session.tree.nodes[siblings[place]].text}")


def x_ray_table(session: "ChatSession") -> str:
    """The tokens of the last answer, a line each.

    Raises:
        UsageError: there is no answer.
    """
    label = session.tokenizer.token_label
    names = (tr("token"), tr("chance"), tr("drawn"), tr("rank"), tr("bits"))
    rows = [["#", *names, *map(str, range(1, SHOWN + 1))]]
    for number, place in enumerate(_places(session), 1):
        chosen = place.chosen
        rows.append(
            [
                f"{number}",
                tr("(cut here)") if place.token_id is None else clipped(label(place.token_id), 12),
                "" if chosen is None else f"{chosen.probability:.1%}",
                "" if chosen is None else f"{chosen.drawn:.1%}",
                f"{place.rank:,}" if place.rank else "",
                f"{place.entropy:.2f}",
                *(f"{clipped(label(each.token_id), 8)} {each.probability:.0%}" for each in place.alternatives[:SHOWN]),
                *[""] * (SHOWN - len(place.alternatives)),
            ]
        )
    legend = tr("chance: by the model itself; drawn: after temperature, top-p and the rest")
    return f"{table(rows, right=(0, 2, 3, 4, 5))}\n{legend}\n{tr('bits: how unsure it was (entropy)')}"


def branch(session: "ChatSession", text: str) -> Iterator[str]:
    """Go on from an alternative: `5 2` is the second likeliest at the fifth token of the last answer.

    Raises:
        UsageError: these are no two numbers, or there is no such token.
    """
    given = text.split()
    if len(given) != 2 or not all(each.isdecimal() for each in given):
        raise UsageError(
            "/branch", f"{text!r} is not a token's number and an alternative's", "for example: /branch 5 2"
        )
    at, chosen = (int(each) for each in given)
    places = _places(session)
    if not 1 <= at <= len(places):
        raise UsageError("/branch", f"there is no token {at}", f"/xray shows tokens 1 to {len(places)}")
    alternatives = places[at - 1].alternatives[:SHOWN]
    if not 1 <= chosen <= len(alternatives):
        raise UsageError("/branch", f"there is no alternative {chosen}", f"choose from 1 to {len(alternatives)}")
    return session.branch(_last_answer(session), at - 1, alternatives[chosen - 1].token_id)


def export(session: "ChatSession", path: Path) -> None:
    """Write the conversation as Markdown.

    Raises:
        UsageError: nothing was said, or the file cannot be written.
    """
    from workbench.inference.chats import export_markdown
    from workbench.inference.transcript import Transcript

    _last_answer(session)
    export_markdown(Transcript(session.system_prompt, session.settings, session.tree, model=session.name), path)


def _places(session: "ChatSession") -> "list[Place]":
    from workbench.inspection.xray import x_ray

    written = session.written(_last_answer(session))
    return x_ray(
        session.model, written.prompt_ids, written.token_ids, written.settings, session.stop_ids, written.stopped_by
    )


def _last_answer(session: "ChatSession") -> int:
    if not session.tree.nodes:
        raise UsageError("chat", "there is no answer yet", "say something first")
    return session.tree.last
