"""What a model says, as it is shown."""

import pytest

from workbench.tui.widgets.conversation import printable


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("\x1b[31m[/INST] [red]\x07", "␛[31m[/INST] [red]␇"),
        ("a\u200bb\u202ec\x9bd\ufeff", "a\ufffdb\ufffdc\ufffdd\ufffd"),
        ("می\u200cخواهم ක්\u200dර", "می\u200cخواهم ක්\u200dර"),
        ("👩\u200d🚀 ❤️\u200d🔥", "👩🚀 ❤️🔥"),
        ("第一行\n\t第二\u3000行 e\u0301", "第一行\n\t第二\u3000行 e\u0301"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_and_what_scripts_need_stays(said: str, shown: str) -> None:
    assert printable(said) == shown
