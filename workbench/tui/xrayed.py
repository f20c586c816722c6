"""What the X-ray pane shows of one answer: its tokens as people see them, and the figures of each."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.language import mark, tr

if TYPE_CHECKING:
    from workbench.inference.chat import ChatSession
    from workbench.inspection.xray import Place
    from workbench.tokenizer.tokenizer import Tokenizer

CUT_HERE = mark("(cut here)")


@dataclass(frozen=True)
class XRayed:
    """An answer looked through.

    Args:
        number: of the answer in its tree.
        places: of its tokens and of the place behind the last.
        labels: what stands in each place, for the eye.
        pieces: its bytes; nothing for control tokens.
        cut: the characters that it holds a part of only.
        sampling: the settings it was drawn with, in words.
        read_by: the model that looked, where another one wrote the answer.
    """

    number: int
    places: "list[Place]"
    labels: list[str]
    pieces: list[bytes]
    cut: list[str]
    sampling: str
    read_by: str
    vocab_size: int
    tokenizer: "Tokenizer"

    def label(self, token_id: int) -> str:
        """A token for the eye."""
        return self.tokenizer.token_label(token_id)


def look_through(session: "ChatSession", number: int) -> XRayed:
    """The X-ray of an answer of `session`; takes one pass of the model.

    Raises:
        UsageError: prompt and answer are more than this model reads.
    """
    from workbench.inspection.xray import x_ray
    from workbench.tokenizer.pieces import cut_characters

    written, tokenizer = session.written(number), session.tokenizer
    places = x_ray(
        session.model, written.prompt_ids, written.token_ids, written.settings, session.stop_ids, written.stopped_by
    )
    ids = [place.token_id for place in places]
    pieces = [b"" if each is None else tokenizer.token_bytes(each) for each in ids]
    writing = session.tree.nodes[number].writing
    foreign = writing is not None and writing.model not in ("", session.name)
    settings = written.settings
    return XRayed(
        number=number,
        places=places,
        labels=[tr(CUT_HERE) if each is None else tokenizer.token_label(each) for each in ids],
        pieces=pieces,
        cut=cut_characters(pieces) if tokenizer.byte_level else [""] * len(pieces),
        sampling=_in_words(
            (tr("temperature"), settings.temperature, 1.0),
            ("top-k", settings.top_k, 0),
            ("top-p", settings.top_p, 1.0),
            ("min-p", settings.min_p, 0.0),
            (tr("repetition"), settings.repetition_penalty, 1.0),
        ),
        read_by=session.name if foreign else "",
        vocab_size=session.model.config.vocab_size,
        tokenizer=tokenizer,
    )


def _in_words(*settings: tuple[str, float, float]) -> str:
    """Those settings that differ from what does nothing; of each its name, its value, and that value."""
    told = [f"{name} {value:g}" for name, value, off in settings if value != off]
    return ", ".join(told) or f"{tr('temperature')} 1"
