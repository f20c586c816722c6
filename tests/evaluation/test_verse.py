"""The form of Chinese verse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.evaluation.verse import is_in_form, verse_form_share

FIVE = "白日依山盡，黃河入海流。\n欲窮千里目，更上一層樓。"
SEVEN = "朝辭白帝彩雲間，千里江陵一日還。\n兩岸猿聲啼不住，輕舟已過萬重山。"

han = st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF)


@pytest.mark.parametrize("poem", [FIVE, SEVEN, FIVE.replace("\n", ""), f"登鸛雀樓\n{FIVE}", f"七言絕句\n{SEVEN}\n"])
def test_poems_of_five_or_of_seven_characters_are_in_form(poem: str) -> None:
    assert is_in_form(poem)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "登鸛雀樓",
        FIVE.splitlines()[0],  # a couplet is no poem yet
        FIVE + "\n" + SEVEN,
        FIVE.replace("黃河入海流", "黃河入海"),
        FIVE.removesuffix("樓。"),  # broken off
        FIVE.removesuffix("。"),  # unfinished
        FIVE.replace("山", "x"),
        FIVE.replace("山", "□"),
        "登，樓\n" + FIVE,
        "天地玄黃，宇宙洪荒。\n日月盈昃，辰宿列張。",
    ],
)
def test_other_texts_are_not_in_form(text: str) -> None:
    assert not is_in_form(text)


@given(st.integers(1, 9), st.integers(4, 12), han)
def test_only_five_and_seven_characters_a_line_count(width: int, lines: int, character: str) -> None:
    poem = "".join(character * width + ("，" if index % 2 == 0 else "。\n") for index in range(lines))
    assert is_in_form(poem) == (width in (5, 7))


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_the_share_counts_poems_in_form(good: list[bool]) -> None:
    assert verse_form_share(FIVE if in_form else "春眠。" for in_form in good) == sum(good) / len(good)


def test_no_poems_have_no_share() -> None:
    assert verse_form_share([]) == 0.0
