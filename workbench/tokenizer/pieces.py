"""What a token of a tokenizer.json stands for, in bytes and for the eye."""

import re
from collections.abc import Sequence
from typing import Any

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def byte_alphabet() -> dict[str, int]:
    """The printable character that byte-level tokenizers write for each byte, as GPT-2 laid it down."""
    printable_bytes = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable_bytes]
    alphabet = {chr(byte): byte for byte in printable_bytes}
    alphabet.update({chr(256 + index): byte for index, byte in enumerate(others)})
    return alphabet


class PieceReader:
    """Reads the spelling of tokens.

    Args:
        description: the parsed tokenizer.json.
    """

    def __init__(self, description: dict[str, Any]) -> None:
        steps = _types(description.get("decoder"))
        self.byte_level = "ByteLevel" in steps
        self._metaspace = "Metaspace" in steps or "Replace" in steps
        self._byte_fallback = "ByteFallback" in steps
        self._alphabet = byte_alphabet()

    def bytes_of(self, piece: str) -> bytes:
        """The bytes that `piece`, a token as tokenizer.json spells it, stands for."""
        if self.byte_level:
            if all(character in self._alphabet for character in piece):
                return bytes(self._alphabet[character] for character in piece)
            return piece.encode()
        byte = _BYTE_TOKEN.fullmatch(piece) if self._byte_fallback else None
        if byte:
            return bytes([int(byte[1], 16)])
        return (piece.replace("▁", " ") if self._metaspace else piece).encode()


def printable(piece: bytes) -> str:
    """Bytes for people: spaces as `·`, control characters and broken UTF-8 escaped."""
    text = piece.decode("utf-8", "backslashreplace")
    return "".join(_shown(character) for character in text)


def cut_characters(pieces: Sequence[bytes]) -> list[str]:
    """For each piece of a text the characters that it holds a part of only; empty where it holds whole ones.

    Byte-level tokens may end inside a character, as those of rare Chinese ones do.
    """
    owners = [number for number, piece in enumerate(pieces) for _ in piece]
    text = b"".join(pieces)
    found = [""] * len(pieces)
    start = 0
    while start < len(text):
        length = _length_of_character(text, start)
        inside = dict.fromkeys(owners[start : start + length])
        if len(inside) > 1:
            for number in inside:
                found[number] += text[start : start + length].decode("utf-8")
        start += length
    return found


def _length_of_character(text: bytes, start: int) -> int:
    """The bytes of the character that begins at `start`; 1 where none begins there."""
    for length in (1, 2, 3, 4):
        try:
            text[start : start + length].decode("utf-8")
        except UnicodeDecodeError:
            continue
        return length
    return 1


def _shown(character: str) -> str:
    if character == " ":
        return "·"
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def _types(step: Any) -> set[str]:
    """The types of a decoder and of the decoders inside it."""
    if not isinstance(step, dict):
        return set()
    inner = (_types(child) for child in step.get("decoders", ()))
    return {str(step.get("type"))}.union(*inner)
