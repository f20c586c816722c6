"""All that a model is measured on, in one go: for a stage of a run, and for `llm-workbench eval`."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from workbench.atomic import write_atomically
from workbench.config import EvaluateSettings
from workbench.evaluation.file_perplexity import perplexity_of
from workbench.evaluation.multiple_choice import choice_scores, choose, read_choices
from workbench.evaluation.samples import continue_prompt
from workbench.evaluation.speed import measure_speed
from workbench.evaluation.suite import exact_match, read_questions
from workbench.evaluation.text_statistics import text_scores
from workbench.evaluation.verse import verse_form_share
from workbench.inference.context import text_ids
from workbench.inference.generate import generate_greedy_batch
from workbench.model.transformer import Transformer
from workbench.tokenizer.chat_template import encode_prompt
from workbench.tokenizer.tokenizer import Tokenizer

VERSE_TOKENS = 160  # room for eight lines of seven characters and their title in any tokenizer of ours

Progress = Callable[[str, int, int, str], None]
"""Told what is done, how much of it, of how much, and in which unit."""
Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Battery:
    """What is measured.

    Args:
        settings: of the `[evaluate]` table; its files are found in the three lists here.
        chat: choices and prompts are put to the model as a chat; otherwise it goes on with texts.
        questions_as_text: likewise for questions, which otherwise are a chat wherever there is a template, so that the
            stages of a run are asked alike.
        verse_prompts: what verses begin with, in turn.
        limit: questions of a file at most; None takes all.
    """

    settings: EvaluateSettings
    perplexity: Sequence[Path] = ()
    choices: Sequence[Path] = ()
    questions: Sequence[Path] = ()
    chat: bool = False
    questions_as_text: bool = False
    verse_prompts: Sequence[str] = ()
    seed: int = 0
    limit: int | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing is asked for."""
        settings = self.settings
        measures = (self.perplexity, self.choices, self.questions, settings.prompts, settings.throughput)
        return not any(measures) and not (settings.verse_samples and self.verse_prompts)


@dataclass
class Outcome:
    """What was found.

    Args:
        scores: by measure; a part after a dot tells a file or a language apart.
        counts: on how much each measure stands, such as `questions` or `tokens`.
        records: what the model answered, by the name of the file that keeps it.
    """

    scores: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    records: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def write_records(self, folder: Path) -> None:
        """Write each list as JSON lines into `folder`, complete or not at all."""
        for name, records in self.records.items():
            lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
            write_atomically(folder / name, lines)


class Measuring:
    """A model under a battery: `run`.

    Args:
        precision: of matrix products in perplexity, as in training; everything else computes in the weights' own.
        cache: folder of tokenised data.
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        battery: Battery,
        *,
        precision: str,
        cache: Path,
        on_progress: Progress,
        should_stop: Callable[[], bool],
    ) -> None:
        self.model, self.tokenizer, self.battery = model, tokenizer, battery
        self.settings = battery.settings
        self.precision, self.cache, self.on_progress, self.should_stop = precision, cache, on_progress, should_stop
        self.outcome = Outcome()

    def run(self) -> Outcome | None:
        """Every measure that is asked for; None when stopped on the way.

        Raises:
            DataError: a file cannot be used.
        """
        parts = (
            (self.battery.perplexity, self._perplexity),
            (self.battery.choices, self._choices),
            (self.battery.questions, self._questions),
            (self.settings.prompts, self._prompts),
            (self.settings.verse_samples and self.battery.verse_prompts, self._verses),
            (self.settings.throughput, self._speed),
        )
        for wanted, measure in parts:
            if wanted and not measure():
                return None
        return self.outcome

    def _perplexity(self) -> bool:
        losses = perplexity_of(
            self.battery.perplexity,
            self.model,
            self.tokenizer,
            precision=self.precision,
            batch_size=self.settings.batch_size,
            cache=self.cache,
            on_progress=self._progress("measuring perplexity", "rows"),
            should_stop=self.should_stop,
        )
        if losses is None:
            return False
        for name, loss in losses.items():
            suffix = f".{name}" if name else ""
            self.outcome.scores[f"perplexity{suffix}"] = loss.perplexity
            self.outcome.scores[f"bits_per_byte{suffix}"] = loss.bits_per_byte
        self.outcome.counts["tokens"] = losses[""].tokens
        return True

    def _choices(self) -> bool:
        results = []
        for file in self.battery.choices:
            chosen = choose(
                self.model,
                self.tokenizer,
                self._limited(read_choices(file)),
                chat=self.battery.chat,
                batch_size=self.settings.batch_size,
                on_progress=self._progress("weighing choices", "choices"),
                should_stop=self.should_stop,
            )
            if chosen is None:
                return False
            results += chosen
            if len(self.battery.choices) > 1:
                named = {f"{name}.{file.stem}": score for name, score in choice_scores(chosen).items()}
                self.outcome.scores |= named
        self.outcome.scores = {**choice_scores(results), **self.outcome.scores}
        self.outcome.counts["choices"] = len(results)
        self.outcome.records["choices.jsonl"] = [asdict(each) for each in results]
        return True

    def _questions(self) -> bool:
        questions = [question for file in self.battery.questions for question in self._limited(read_questions(file))]
        result = exact_match(
            self.model,
            self.tokenizer,
            questions,
            self.settings.max_new_tokens,
            batch_size=self.settings.batch_size,
            on_progress=self._progress("asking held-out questions", "questions"),
            should_stop=self.should_stop,
            as_text=self.battery.questions_as_text,
        )
        if result is None:
            return False
        self.outcome.scores |= result.scores()
        self.outcome.counts["questions"] = len(questions)
        self.outcome.records["answers.jsonl"] = [asdict(each) for each in result.results]
        return True

    def _prompts(self) -> bool:
        prompts = self.settings.prompts
        told = self._progress("going on with prompts", "prompts")
        texts = generate_greedy_batch(
            self.model,
            [self._prompt_ids(prompt) for prompt in prompts],
            self.settings.prompt_tokens,
            self.tokenizer.stop_token_ids,
            batch_size=self.settings.batch_size,
            on_progress=lambda done: told(done, len(prompts)),
            should_stop=self.should_stop,
        )
        if texts is None:
            return False
        self.outcome.scores |= text_scores(texts)
        self.outcome.counts["prompts"] = len(prompts)
        decoded = [self.tokenizer.decode(ids, skip_special_tokens=True) for ids in texts]
        self.outcome.records["continuations.jsonl"] = [
            {"prompt": prompt, "text": text, "tokens": len(ids), **text_scores([ids])}
            for prompt, text, ids in zip(prompts, decoded, texts, strict=True)
        ]
        return True

    def _verses(self) -> bool:
        """The share of poems in form; the prompts begin them in turn."""
        prompts, poems, wanted = self.battery.verse_prompts, list[str](), self.settings.verse_samples
        for number in range(wanted):
            if self.should_stop():
                return False
            seed, prompt = self.battery.seed + number, prompts[number % len(prompts)]
            text = continue_prompt(self.model, self.tokenizer, prompt, seed=seed, max_new_tokens=VERSE_TOKENS)
            poems.append(prompt + text)
            self.on_progress("writing verse", number + 1, wanted, "poems")
        self.outcome.scores["verse_form"] = verse_form_share(poems)
        self.outcome.counts["poems"] = wanted
        return True

    def _speed(self) -> bool:
        speeds = measure_speed(self.model, self.settings.batch_size, self.should_stop)
        if speeds is not None:
            self.outcome.scores |= speeds
        return speeds is not None

    def _prompt_ids(self, prompt: str) -> list[int]:
        if self.battery.chat:
            return encode_prompt(self.tokenizer, [{"role": "user", "content": prompt}])
        return text_ids(self.tokenizer, prompt)

    def _limited(self, entries: list[Entry]) -> list[Entry]:
        return entries if self.battery.limit is None else entries[: self.battery.limit]

    def _progress(self, task: str, unit: str) -> Callable[[int, int], None]:
        return lambda done, total: self.on_progress(task, done, total, unit)
