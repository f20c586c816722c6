"""Exact match: what counts as right, how it is counted, and which files of questions are taken."""

import json
from pathlib import Path

import pytest

from workbench.errors import DataError
from workbench.evaluation import suite
from workbench.evaluation.suite import Question, exact_match, read_questions, write_answers
from workbench.inference.generate import generate_greedy_batch
from workbench.model.transformer import Transformer
from workbench.tokenizer.chat_template import encode_prompt
from workbench.tokenizer.tokenizer import Tokenizer


def answering(monkeypatch: pytest.MonkeyPatch, tokenizer: Tokenizer, answers: dict[str, str]) -> None:
    """Let the model give these answers to these questions."""

    def told(model: Transformer, prompts: list[list[int]], *_: object, **__: object) -> list[list[int]]:
        asked = {tuple(encode_prompt(tokenizer, [{"role": "user", "content": text}])): text for text in answers}
        return [tokenizer.encode(answers[asked[tuple(prompt)]]) for prompt in prompts]

    monkeypatch.setattr(suite, "generate_greedy_batch", told)


def test_only_surrounding_white_space_is_forgiven(
    model: Transformer, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"a": " red\n", "b": "Red", "c": "red.", "d": "dark  red", "e": "红色", "f": ""}
    answering(monkeypatch, tokenizer, given)
    expected = {"a": "red", "b": "red", "c": "red", "d": "dark red", "e": " 红色 ", "f": "red"}
    questions = [Question(question, answer) for question, answer in expected.items()]
    result = exact_match(model, tokenizer, questions, 10)
    assert result is not None
    assert [answer.question for answer in result.results if answer.right] == ["a", "e"]
    assert result.score == pytest.approx(2 / 6)
    assert result.scores() == {"exact_match": result.score}


def test_scores_are_told_by_language_and_altogether(
    model: Transformer, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, tokenizer, {"a": "1", "b": "0", "c": "1", "d": "1"})
    languages = {"a": "en", "b": "en", "c": "zh", "d": ""}
    questions = [Question(question, "1", language) for question, language in languages.items()]
    result = exact_match(model, tokenizer, questions, 10)
    assert result is not None
    assert result.scores() == {"exact_match": 0.75, "exact_match.en": 0.5, "exact_match.zh": 1.0}


@pytest.mark.parametrize("chat", [True, False])
def test_questions_are_asked_through_the_template_where_there_is_one(
    model: Transformer, tokenizer: Tokenizer, plain_tokenizer: Tokenizer, chat: bool
) -> None:
    used = tokenizer if chat else plain_tokenizer
    question = Question("Who?", "x")
    result = exact_match(model, used, [question], 6)
    prompt = encode_prompt(used, [{"role": "user", "content": "Who?"}]) if chat else used.encode("Who?")
    ids = generate_greedy_batch(model, [prompt], 6, used.stop_token_ids)
    assert result is not None and ids is not None
    assert result.results[0].given == used.decode(ids[0], skip_special_tokens=True)


def test_the_batch_size_does_not_change_the_answers(model: Transformer, tokenizer: Tokenizer) -> None:
    questions = [Question("x" * (index % 3 + 1) + str(index % 4), "y") for index in range(10)]
    assert exact_match(model, tokenizer, questions, 5, batch_size=1) == exact_match(model, tokenizer, questions, 5)


def test_progress_is_told_and_a_stop_gives_no_score(model: Transformer, tokenizer: Tokenizer) -> None:
    questions, told = [Question(str(index), "y") for index in range(5)], []
    exact_match(
        model, tokenizer, questions, 2, batch_size=2, on_progress=lambda done, total: told.append((done, total))
    )
    assert told == [(2, 5), (4, 5), (5, 5)]
    assert exact_match(model, tokenizer, questions, 2, should_stop=lambda: True) is None


def test_answers_are_written_one_a_line(
    model: Transformer, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answering(monkeypatch, tokenizer, {"谁?": "我\u2028你"})
    result = exact_match(model, tokenizer, [Question("谁?", "你", "zh")], 5)
    assert result is not None
    write_answers(tmp_path / "answers.jsonl", result)
    [line] = (tmp_path / "answers.jsonl").read_text(encoding="utf-8").strip("\n").split("\n")
    expected = {"question": "谁?", "expected": "你", "given": "我\u2028你", "language": "zh", "right": False}
    assert json.loads(line) == expected


def test_questions_are_read_with_and_without_a_language(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    rows = [{"question": "谁?", "answer": "我", "language": "zh", "more": 1}, {"question": "a\u2028b", "answer": "x"}]
    path.write_text("\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    assert read_questions(path) == [Question("谁?", "我", "zh"), Question("a\u2028b", "x", "")]


def test_broken_lines_are_told_together_with_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    lines = ['{"question": "a", "answer": "b"}', "{", '{"question": "a"}', "[]", '{"question": "a", "answer": 3}']
    path.write_text("\n".join([*lines, '{"question": "a", "answer": "b", "language": 1}', "x", "y"]), encoding="utf-8")
    with pytest.raises(DataError) as refused:
        read_questions(path)
    text = str(refused.value)
    assert all(f"line {number}:" in text for number in (2, 3, 4, 5, 6)) and "line 1:" not in text
    assert "and 2 more" in text and str(path) in text


@pytest.mark.parametrize("content", [None, b"", b"\n \n", b"\xff\xfe"])
def test_a_file_without_questions_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "questions.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"questions\.jsonl"):
        read_questions(path)
