"""Mask X-ray: every token of a row with what training makes of it: trained, context only, cut off, or padding."""

from dataclasses import dataclass

from textual.content import Content

from workbench.data.preferences import Encoded, Preference, encode_preference, pair_row_length
from workbench.data.rows import BadRow, Row
from workbench.language import tr
from workbench.tokenizer.tokenizer import Tokenizer
from workbench.tui.row_views import CHARACTERS_SHOWN, Decoded, bad_view, encode, problem_of

TOKENS_SHOWN = 4_000
TINTS = ("$primary", "$accent")  # of neighbouring trained tokens, so that each can be told from the next
QUIET = "$foreground 60%"


@dataclass(frozen=True)
class MaskedRow:
    """One row as the trainer gets it, when nothing else is packed behind it.

    Args:
        ids: its tokens, also those that are cut off.
        targets: for each whether the loss is taken of it; False for the first, which nothing before it tells.
        limit: how many tokens fit; the last of them is a target only.
        padding: cells behind it that hold no text.
    """

    ids: list[int]
    targets: list[bool]
    limit: int
    padding: int = 0

    @property
    def trained(self) -> int:
        """Tokens of which the loss is taken."""
        return sum(self.targets[: self.limit])

    @property
    def cut(self) -> int:
        """Tokens that do not fit."""
        return max(0, len(self.ids) - self.limit)

    @property
    def masked(self) -> int:
        """Tokens that are context only."""
        return len(self.ids) - self.trained - self.cut


def masked_rows(decoded: Decoded, tokenizer: Tokenizer, sequence_length: int | None) -> list[MaskedRow]:
    """What becomes of a row of data: one row of training, or of a pair the chosen one and the rejected one.

    A text is a part of a stream that is cut anywhere: nothing of it is lost and nothing is filled up.

    Args:
        sequence_length: tokens of a row; None where nobody knows.
    Raises:
        TokenizerError: the chat template refuses the messages.
    """
    if decoded.kind == "pretrain" or sequence_length is None:
        sides = _sides(decoded, tokenizer)
        return [MaskedRow(ids, targets, len(ids)) for ids, targets in sides]
    limit = sequence_length + 1
    sides = _sides(decoded, tokenizer)
    longest = max(min(len(ids), limit) for ids, _ in sides)
    cells = pair_row_length(longest, sequence_length) if decoded.kind == "dpo" else sequence_length
    return [MaskedRow(ids, targets, limit, cells + 1 - min(len(ids), limit)) for ids, targets in sides]


def _sides(decoded: Decoded, tokenizer: Tokenizer) -> list[Encoded]:
    content = decoded.content
    encoded = [encode(decoded, tokenizer)]
    if isinstance(content, Preference):
        encoded = list(encode_preference(tokenizer, content))
    return [(ids, [False, *targets[1:]]) for ids, targets in encoded]


def token_view(row: Row | BadRow, tokenizer: Tokenizer, sequence_length: int | None, ids_shown: bool) -> Content:
    """Every token of a row with what training makes of it, told by form as well as by colour.

    Raises:
        TokenizerError: the chat template refuses the messages.
    """
    decoded = problem_of(row)
    if isinstance(decoded, str):
        return bad_view(row, decoded)
    rows = masked_rows(decoded, tokenizer, sequence_length)
    parts = [_drawn(each, tokenizer, sequence_length, ids_shown) for each in rows]
    if len(rows) == 2:
        titles = ((f"✓ {tr('chosen')}", "bold $success"), (f"✗ {tr('rejected')}", "bold $error"))
        parts = [part for title, drawn in zip(titles, parts, strict=True) for part in (Content.styled(*title), drawn)]
    if problem := _refused(rows, decoded):
        parts.insert(0, Content.styled(f"✗ {problem}", "bold $error"))
    if isinstance(decoded.content, str) and len(decoded.content) > CHARACTERS_SHOWN:
        parts.insert(0, Content.styled(tr("of the first {count:,} characters", count=CHARACTERS_SHOWN), QUIET))
    return Content("\n\n").join(parts)


def _refused(rows: list[MaskedRow], decoded: Decoded) -> str:
    """Why training leaves the row out though it can be read."""
    if decoded.kind == "pretrain":
        return ""
    if any(not each.trained for each in rows):
        behind = any(any(each.targets) and not each.trained for each in rows)
        if behind:
            return tr("training leaves this row out: no answer within {count:,} tokens", count=rows[0].limit)
        return tr("training leaves this row out: there is no answer")
    if len(rows) == 2 and rows[0].ids[: rows[0].limit] == rows[1].ids[: rows[1].limit]:
        return tr("training leaves this row out: both answers are the same as far as they fit")
    return ""


def _drawn(row: MaskedRow, tokenizer: Tokenizer, sequence_length: int | None, ids_shown: bool) -> Content:
    """The tokens of one row of training, below what they add up to."""
    parts: list[Content] = [_legend(row, sequence_length), Content("\n\n")]
    padding = [] if row.cut else _padding(row, tokenizer)
    for place, (token, trained) in enumerate(zip(row.ids[:TOKENS_SHOWN], row.targets, strict=False)):
        parts.append(_token(tokenizer, token, place, trained, place >= row.limit))
        if ids_shown:
            parts.append(Content.styled(f":{token}", QUIET))
        parts.append(Content("\n" if b"\n" in tokenizer.token_bytes(token) else " "))
    if len(row.ids) > TOKENS_SHOWN:
        parts.append(Content.styled(tr("… {count:,} more", count=len(row.ids) - TOKENS_SHOWN), QUIET))
    return Content("").join([*parts, *padding])


def _padding(row: MaskedRow, tokenizer: Tokenizer) -> list[Content]:
    """What fills the row, once, and how many times it stands there."""
    if not row.padding:
        return []
    label = tokenizer.token_label(tokenizer.pad_token_id)
    return [Content.styled(f"┄{label}┄", f"italic {QUIET}"), Content.styled(f" x {row.padding:,}", QUIET)]


def _legend(row: MaskedRow, sequence_length: int | None) -> Content:
    row_of = tr("row of {tokens}", tokens=sequence_length)
    limited = row.limit == (sequence_length or 0) + 1
    padding = ((f"┄{tr('padding')}┄", f"italic {QUIET}"), f" {row.padding:,}   ") if limited else ()
    return Content.assemble(
        (f"{tr('{count} tokens', count=f'{len(row.ids):,}')}   ", "bold"),
        (tr("trained"), f"underline {TINTS[0]}"),
        f" {row.trained:,}   ",
        (tr("not trained"), QUIET),
        f" {row.masked:,}   ",
        (tr("cut off"), "strike $error"),
        f" {row.cut:,}{f' ({row_of})' if limited else ''}   ",
        *padding,
        (tr("<control>"), "bold italic $warning"),
    )


def _token(tokenizer: Tokenizer, token: int, place: int, trained: bool, cut: bool) -> Content:
    control = not tokenizer.token_bytes(token)
    if cut:
        style = "strike $error"
    elif control:
        style = f"bold italic $warning{' underline' if trained else ''}"
    else:
        style = f"underline {TINTS[place % 2]}" if trained else QUIET
    return Content.styled(tokenizer.token_label(token), style)
