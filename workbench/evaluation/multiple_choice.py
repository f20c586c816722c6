"""Multiple choice by likelihood: the model is taken to choose what it finds likeliest after the question.

The accuracy "by length" divides each choice's log-probability by its bytes, so that short choices are not favoured.
Source: Brown et al. 2020, arXiv:2005.14165, section 2.4; by bytes as lm-evaluation-harness does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.evaluation.question_files import read_entries, text_of
from workbench.inference.likelihood import continuation_likelihoods
from workbench.model.transformer import Transformer
from workbench.tokenizer.chat_template import encode_prompt
from workbench.tokenizer.tokenizer import Tokenizer

_FORM = '{"question": ..., "choices": [..., ...], "answer": the right choice, its letter, or its number from 0}'


@dataclass(frozen=True)
class Choice:
    """A question with its choices; `right` is the number of the right one."""

    question: str
    choices: tuple[str, ...]
    right: int


@dataclass(frozen=True)
class Chosen:
    """What a model chose.

    Args:
        chosen: the likeliest choice; by_length: the likeliest by byte; both as numbers.
        log_probabilities: of each choice, in nats.
    """

    question: str
    choices: tuple[str, ...]
    right: int
    chosen: int
    by_length: int
    log_probabilities: tuple[float, ...]


def read_choices(path: Path) -> list[Choice]:
    """The questions of a JSONL file of {"question", "choices", "answer"}.

    Raises:
        DataError: the file cannot be read, holds no question, or has broken lines; all of them in one message.
    """
    return read_entries(path, _choice, _FORM)


def choose(
    model: Transformer,
    tokenizer: Tokenizer,
    questions: Sequence[Choice],
    *,
    chat: bool,
    batch_size: int = 32,
    on_progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> list[Chosen] | None:
    """What the model chooses for each question; None when stopped.

    Args:
        chat: each choice is an answer in a chat; otherwise it goes on with the question as a text.
        on_progress: told how many choices are weighed, and of how many.
    """
    pairs = [
        choice_ids(tokenizer, question.question, choice, chat) for question in questions for choice in question.choices
    ]

    def progressed(done: int) -> None:
        if on_progress is not None:
            on_progress(done, len(pairs))

    weighed = continuation_likelihoods(
        model, pairs, batch_size=batch_size, on_progress=progressed, should_stop=should_stop
    )
    if weighed is None:
        return None
    results, place = [], 0
    for question in questions:
        scores = [each.log_probability for each in weighed[place : place + len(question.choices)]]
        by_byte = [score / max(len(choice.encode()), 1) for score, choice in zip(scores, question.choices, strict=True)]
        results.append(
            Chosen(
                question.question,
                question.choices,
                question.right,
                scores.index(max(scores)),
                by_byte.index(max(by_byte)),
                tuple(scores),
            )
        )
        place += len(question.choices)
    return results


def choice_scores(results: Sequence[Chosen]) -> dict[str, float]:
    """The shares of right choices, between 0 and 1."""
    count = max(len(results), 1)
    return {
        "choice_accuracy": sum(each.chosen == each.right for each in results) / count,
        "choice_accuracy_by_length": sum(each.by_length == each.right for each in results) / count,
    }


def choice_ids(tokenizer: Tokenizer, question: str, choice: str, chat: bool) -> tuple[list[int], list[int]]:
    """A question and a choice as the ids before and after the point from which on the choice is judged.

    In a text, a space stands between the two where the question's script has spaces. They are encoded together and
    parted where the question alone would end, as a tokenizer may merge across the border.
    """
    if chat:
        return encode_prompt(tokenizer, [{"role": "user", "content": question}]), tokenizer.encode(choice)
    context = question.rstrip()
    space = " " if context[-1:].isascii() else ""
    before, whole = tokenizer.encode(context), tokenizer.encode(f"{context}{space}{choice}")
    border = min(len(before), len(whole) - 1)
    return whole[:border] or [tokenizer.eos_token_id], whole[border:]


def _choice(row: Any) -> Choice:
    if not isinstance(row, dict):
        raise ValueError('not an object with "question", "choices" and "answer"')
    question, choices = text_of(row, "question"), row.get("choices")
    if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(each, str) and each for each in choices):
        raise ValueError('"choices" is not a list of two texts or more')
    if len(set(choices)) < len(choices):
        raise ValueError('"choices" holds the same text twice')
    return Choice(question, tuple(choices), _right(row.get("answer"), choices))


def _right(answer: object, choices: list[str]) -> int:
    """The number of the right choice, told by its text, its letter or its number."""
    if isinstance(answer, str) and answer in choices:
        return choices.index(answer)
    letters = [chr(ord("A") + place) for place in range(len(choices))]
    if isinstance(answer, str) and answer.strip().upper() in letters:
        return letters.index(answer.strip().upper())
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        return answer
    raise ValueError(f'"answer" is {answer!r}: neither one of the choices nor its letter nor its number, from 0')
