"""Signs for terminals and fonts that have few: every line, block, dot and arrow as a character of ASCII.

Only signs are exchanged, one for one, so that nothing moves. Letters of any language stay: a text is what it is.
"""

import codecs
from typing import TextIO, cast

from workbench.cells import character_width

_PAIRS = {
    "─╌┄╴╶┈⎯": "-",
    "━═╸╺╼╾": "=",
    "│╎┆╷╵┊╽╿": "|",
    "┃║╹╻▏▎▍": "|",
    "╭╮╯╰┌┐└┘├┤┬┴┼": "+",
    "┏┓┗┛┣┫┳┻╋╔╗╚╝╠╣╦╩╬": "#",
    "▁": "_",
    "▂": ".",
    "▃": "-",
    "▄▌▋▊▉": "=",
    "▅": "+",
    "▆": "*",
    "▇": "%",
    "█▐▀": "#",
    "▔": "-",
    "▕": "|",
    "░": ":",
    "▒": "+",
    "▓": "%",
    "●•▪◉★◆": "*",
    "√": "v",
    "␡": "^",
    "■◼": "#",
    "○◌◦□": "o",
    "‖": "=",
    "✓✔": "v",
    "✗✘×✕": "x",
    "▸►▶→⇒≥»›❯": ">",
    "◂◄◀←⇐≤«‹⏎↵": "<",
    "↑▴▲": "^",
    "↓▾▼": "v",
    "·…‧∙⋅": ".",
    "‐‑‒–—−": "-",
    "‘’‚": "'",
    "“”„": '"',
    "≈": "~",
    "≠": "!",
    "∞": "8",
    "±": "+",
    "°": "o",
    "§": "S",
    "⌫": "<",
    "⇧": "^",
    "⭾": ">",
}
_SIGN_BLOCKS = (
    (0x2010, 0x205F),
    (0x2190, 0x245F),
    (0x2500, 0x2BFF),
    (0xFFFD, 0xFFFD),
)
_BRAILLE = range(0x2800, 0x2900)
_ROW_BITS = (0x09, 0x12, 0x24, 0xC0)  # the dots of each of the four rows of a braille character
_HANDLER = "llm-workbench-signs"


def _of_braille(dots: int) -> str:
    """The character that has its ink where those dots are: high, in the middle, low, or all over."""
    rows = [bool(dots & bits) for bits in _ROW_BITS]
    upper, lower = rows[0] or rows[1], rows[2] or rows[3]
    if upper and lower:
        return ":" if bin(dots).count("1") < 5 else "#"
    if upper:
        return "'" if rows[0] else "-"
    if lower:
        return "_" if rows[3] and not rows[2] else "."
    return " "


def _table() -> dict[int, str]:
    signs = {code: "?" for first, last in _SIGN_BLOCKS for code in range(first, last + 1)}
    signs |= {code: _of_braille(code - _BRAILLE.start) for code in _BRAILLE}
    signs |= {ord(sign): plain for signs, plain in _PAIRS.items() for sign in signs}
    # A sign of two columns (an emoji, say) has no character of its width.
    return {code: plain for code, plain in signs.items() if character_width(chr(code)) == 1}


_SIGNS = _table()


def in_ascii(text: str) -> str:
    """`text` with every sign as a character of ASCII that is as wide; letters stay."""
    return text if text.isascii() else text.translate(_SIGNS)


def write_in_ascii(stream: TextIO) -> None:
    """Let a stream write signs as ASCII, and all else as before."""
    encoding = stream.encoding or "utf-8"

    def exchange(error: UnicodeError) -> tuple[str | bytes, int]:
        failed = cast(UnicodeEncodeError, error)
        text = in_ascii(failed.object[failed.start : failed.end])
        return text.encode(encoding, "backslashreplace"), failed.end

    name = f"{_HANDLER}-{encoding}"
    codecs.register_error(name, exchange)
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(encoding="ascii", errors=name)
