"""What tokens stand for, where they end inside a character."""

import pytest

from workbench.tokenizer.pieces import cut_characters


@pytest.mark.parametrize(
    ("pieces", "cut"),
    [
        (["a", "你", "好b"], ["", "", ""]),
        ([b"a\xe4", b"\xbd", b"\xa0b"], ["你", "你", "你"]),
        ([b"\xe4\xbd", b"\xa0\xe5", b"\xa5\xbd"], ["你", "你好", "好"]),
        ([b"\xe4", b"", b"\xbd\xa0"], ["你", "", "你"]),
        ([b"\xe4\xbd", b"a", b"\xff"], ["", "", ""]),
        ([b"\xf0\x9f", b"\x99\x82"], ["🙂", "🙂"]),
        ([], []),
    ],
)
def test_characters_that_tokens_cut(pieces: list[str | bytes], cut: list[str]) -> None:
    assert cut_characters([each.encode() if isinstance(each, str) else each for each in pieces]) == cut
