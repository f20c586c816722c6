"""Multiple choice: what is taken for the answer, by which sum, and which files are taken."""

from pathlib import Path
from typing import Any

import pytest
import torch

from workbench.errors import DataError
from workbench.evaluation import multiple_choice
from workbench.evaluation.multiple_choice import Choice, choice_ids, choice_scores, choose, read_choices
from workbench.inference.likelihood import Likelihood
from workbench.model.transformer import Transformer
from workbench.tokenizer.chat_template import encode_prompt
from workbench.tokenizer.tokenizer import Tokenizer


def weighing(monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> None:
    monkeypatch.setattr(
        multiple_choice,
        "continuation_likelihoods",
        lambda *_, **__: [Likelihood(score, False, 1) for score in scores],
    )


def test_the_likeliest_wins_and_by_length_the_likeliest_by_byte(
    model: Transformer, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = [Choice("?", ("no", "certainly"), 1), Choice("?", ("a", "b", "c"), 2)]
    weighing(monkeypatch, [-2.0, -3.0, -5.0, -4.0, -1.0])
    results = choose(model, tokenizer, questions, chat=False)
    assert results is not None
    assert [each.chosen for each in results] == [0, 2]
    assert [each.by_length for each in results] == [1, 2]
    assert results[0].log_probabilities == (-2.0, -3.0)
    assert choice_scores(results) == {"choice_accuracy": 0.5, "choice_accuracy_by_length": 1.0}


@pytest.mark.parametrize("chat", [False, True])
def test_the_letter_that_the_model_would_write_is_chosen(model: Transformer, tokenizer: Tokenizer, chat: bool) -> None:
    letters = tuple("abcdefghijklmnopqrstuvwxyz")
    questions = [Choice(text, letters, 0) for text in ("one", "two", "three", "four")]
    results = choose(model, tokenizer, questions, chat=chat)
    assert results is not None
    ids = [tokenizer.encode(letter)[0] for letter in letters]
    for result in results:
        message: Any = {"role": "user", "content": result.question}
        prompt = encode_prompt(tokenizer, [message]) if chat else tokenizer.encode(f"{result.question} ")
        with torch.no_grad():
            logits = model(torch.tensor([prompt]))[0, -1]
        assert result.chosen == int(logits[ids].argmax())
    assert len({result.chosen for result in results}) > 1


def test_a_text_has_a_space_before_its_choice_where_its_script_has_spaces(tokenizer: Tokenizer) -> None:
    for question, choice, whole in (("Who? ", "Me", "Who? Me"), ("谁？", "我", "谁？我")):
        before, after = choice_ids(tokenizer, question, choice, chat=False)
        assert tokenizer.decode([*before, *after]) == whole
        assert tokenizer.decode(after).strip() == choice


def test_a_choice_in_a_chat_is_the_answer(tokenizer: Tokenizer) -> None:
    before, after = choice_ids(tokenizer, "Who?", "Me", chat=True)
    assert before == encode_prompt(tokenizer, [{"role": "user", "content": "Who?"}])
    assert tokenizer.decode(after) == "Me"


def test_a_stop_gives_nothing(model: Transformer, tokenizer: Tokenizer) -> None:
    questions = [Choice("?", ("a", "b"), 0)]
    assert choose(model, tokenizer, questions, chat=False, should_stop=lambda: True) is None


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize(("answer", "right"), [('"red"', 0), ('"B"', 1), ('"b"', 1), ("1", 1), ("0", 0), ('"A"', 2)])
def test_the_answer_is_a_choice_or_its_letter_or_its_number(tmp_path: Path, answer: str, right: int) -> None:
    path = written(tmp_path / "x.jsonl", f'{{"question": "?", "choices": ["red", "blue", "A"], "answer": {answer}}}')
    assert read_choices(path) == [Choice("?", ("red", "blue", "A"), right)]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"question": "?", "choices": ["a", "b"], "answer": "c"}', "neither one of the choices"),
        ('{"question": "?", "choices": ["a", "b"], "answer": 2}', "neither one of the choices"),
        ('{"question": "?", "choices": ["a", "b"], "answer": true}', "neither one of the choices"),
        ('{"question": "?", "choices": ["a"], "answer": "a"}', "two texts or more"),
        ('{"question": "?", "choices": ["a", "a"], "answer": "a"}', "same text twice"),
        ('{"question": "", "choices": ["a", "b"], "answer": "a"}', '"question" is missing'),
        ("[1]", "not an object"),
        ("{", "line 2"),
    ],
)
def test_a_broken_line_is_told_with_its_number(tmp_path: Path, line: str, told: str) -> None:
    good = '{"question": "?", "choices": ["a", "b"], "answer": "a"}'
    with pytest.raises(DataError, match="line 2") as caught:
        read_choices(written(tmp_path / "x.jsonl", good, line))
    assert told in str(caught.value)


def test_every_field_of_a_result_can_be_written(model: Transformer, tokenizer: Tokenizer) -> None:
    import json
    from dataclasses import asdict

    results: Any = choose(model, tokenizer, [Choice("?", ("a", "b"), 0)], chat=False)
    assert json.loads(json.dumps(asdict(results[0])))["choices"] == ["a", "b"]
