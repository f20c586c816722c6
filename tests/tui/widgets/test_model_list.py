"""The list of models."""

from collections.abc import Iterator

import pytest

from workbench.language import use_language
from workbench.tui.widgets.model_list import LIVE, ModelChoice, _line


@pytest.fixture
def chinese() -> Iterator[None]:
    """Speak Chinese for one test."""
    use_language("zh")
    yield
    use_language("en")


def test_the_model_in_training_is_told_in_the_language_in_use(chinese: None) -> None:
    choice = ModelChoice("tiny", LIVE, None)
    assert choice.label == "tiny 训练中，取当前权重"
    assert "训练中，取当前权重" in _line(choice, True).plain and LIVE not in _line(choice, True).plain
    assert ModelChoice("tiny", "sft", None).label == "tiny sft"
