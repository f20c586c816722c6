"""Held-out questions with exact answers: how many a model gets right, by language."""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workbench.atomic import write_atomically
from workbench.evaluation.question_files import read_entries, text_of
from workbench.inference.generate import generate_greedy_batch
from workbench.model.transformer import Transformer
from workbench.tokenizer.chat_template import encode_prompt
from workbench.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class Question:
    """A question and its one right answer.

    Args:
        language: what scores are told apart by, such as "en"; may be empty.
    """

    question: str
    answer: str
    language: str = ""


@dataclass(frozen=True)
class Answer:
    """What a model answered; `right` when it equals the answer but for surrounding white space."""

    question: str
    expected: str
    given: str
    language: str
    right: bool


@dataclass(frozen=True)
class ExactMatch:
    """The share of right answers, between 0 and 1, altogether and by language."""

    score: float
    by_language: dict[str, float]
    results: tuple[Answer, ...]

    def scores(self) -> dict[str, float]:
        """The shares by metric: `exact_match`, and `exact_match.LANGUAGE` for each language."""
        by_language = {f"exact_match.{language}": share for language, share in self.by_language.items()}
        return {"exact_match": self.score, **by_language}


def read_questions(path: Path) -> list[Question]:
    """The questions of a JSONL file of {"question", "answer"} with an optional "language".

    Raises:
        DataError: the file cannot be read, holds no question, or has broken lines; all of them in one message.
    """
    return read_entries(path, _question, '{"question": ..., "answer": ...}')


def exact_match(
    model: Transformer,
    tokenizer: Tokenizer,
    questions: Sequence[Question],
    max_new_tokens: int,
    batch_size: int = 32,
    on_progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    as_text: bool = False,
) -> ExactMatch | None:
    """Ask every question, greedily, as a chat where the tokenizer has a template; None when stopped.

    Args:
        max_new_tokens: of one answer; a longer one is cut and then wrong.
        as_text: let the model go on with the bare question instead.
        on_progress: told how many questions are answered, and of how many.
    """
    chat = tokenizer.chat is not None and not as_text
    prompts = [_prompt(tokenizer, question.question, chat) for question in questions]

    def progressed(done: int) -> None:
        if on_progress is not None:
            on_progress(done, len(prompts))

    continuations = generate_greedy_batch(
        model,
        prompts,
        max_new_tokens,
        tokenizer.stop_token_ids,
        batch_size=batch_size,
        on_progress=progressed,
        should_stop=should_stop,
    )
    if continuations is None:
        return None
    given = [tokenizer.decode(ids, skip_special_tokens=True) for ids in continuations]
    return _marked(questions, given)


def write_answers(path: Path, result: ExactMatch) -> None:
    """Write every answer as a line of JSON, complete or not at all."""
    lines = [json.dumps(asdict(answer), ensure_ascii=False) + "\n" for answer in result.results]
    write_atomically(path, "".join(lines))


def _question(row: Any) -> Question:
    if not isinstance(row, dict):
        raise ValueError('not an object with "question" and "answer"')
    question, answer, language = text_of(row, "question"), text_of(row, "answer"), row.get("language", "")
    if not isinstance(language, str):
        raise ValueError('"language" is no text')
    return Question(question, answer, language)


def _prompt(tokenizer: Tokenizer, question: str, chat: bool) -> list[int]:
    if not chat:
        return tokenizer.encode(question)
    return encode_prompt(tokenizer, [{"role": "user", "content": question}])


def _marked(questions: Sequence[Question], given: Sequence[str]) -> ExactMatch:
    results = tuple(
        Answer(asked.question, asked.answer, text, asked.language, text.strip() == asked.answer.strip())
        for asked, text in zip(questions, given, strict=True)
    )
    by_language: defaultdict[str, list[bool]] = defaultdict(list)
    for answer in results:
        if answer.language:
            by_language[answer.language].append(answer.right)
    shares = {language: sum(marks) / len(marks) for language, marks in sorted(by_language.items())}
    return ExactMatch(sum(answer.right for answer in results) / max(len(results), 1), shares, results)
