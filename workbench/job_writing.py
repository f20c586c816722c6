"""A generate stage: a model answers prompts, and what it says becomes data for the stages after it.

Answers are appended chunk by chunk. What was appended counts once the progress beside it says so, which is replaced in
one move: a killed stage goes on behind its last complete chunk, and its file ends up the same.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any

from workbench import events
from workbench.atomic import write_atomically
from workbench.config import GenerateSettings, StageSettings
from workbench.data.file_hashes import content_hash
from workbench.data.order import mix
from workbench.data.prompts import Asked, read_prompts
from workbench.data.rows import BadRow
from workbench.errors import DataError, RunError, TokenizerError
from workbench.inference.batches import answer_batch
from workbench.inference.lineage import only_text
from workbench.inference.sampling import LARGEST_SEED, SamplingSettings
from workbench.job_batches import ROWS_ANNOUNCED
from workbench.job_data import data_files, written_file
from workbench.job_parents import check_vocabulary
from workbench.job_plan import fingerprint
from workbench.job_setting import Parent, Setting
from workbench.locations import file_hashes
from workbench.model.adapter import load_stacked
from workbench.model.transformer import Transformer
from workbench.tokenizer.chat_template import Message, encode_prompt

CHUNK_BATCHES = 4  # batches between two looks of the disk: what a kill costs at most
SHOWN = 3


@dataclass(frozen=True)
class Progress:
    """STAGE/progress.json: how far the answers are.

    Args:
        made_of: a fingerprint of all that they follow from.
        prompts: read so far; the counts are those of `events.AnswersWritten`.
        bytes: of the file that count.
        reasons: why prompts could not be used, each with how many.
    """

    made_of: str
    prompts: int = 0
    rows: int = 0
    tokens: int = 0
    empty: int = 0
    cut: int = 0
    unusable: int = 0
    seconds: float = 0.0
    bytes: int = 0
    finished: bool = False
    reasons: dict[str, int] = field(default_factory=dict)


@dataclass
class _Talk:
    """A conversation in the making."""

    prompt: int
    sample: int
    turns: tuple[str, ...]
    messages: list[Message]
    answers: int = 0
    over: bool = False


class Writing:
    """A generate stage whose model stands: `run` lets it write, from the start or from where it was stopped."""

    def __init__(self, setting: Setting, stage: StageSettings, parent: Parent) -> None:
        assert stage.generate is not None and parent.directory is not None, "a profile without them is refused"
        self._setting, self._stage, self._parent = setting, stage, parent
        self._settings: GenerateSettings = stage.generate
        self._directory, self._weights = setting.run.path / stage.name, parent.directory
        self._seed = setting.profile.run.seed if stage.generate.seed is None else stage.generate.seed
        self._files = data_files(stage.data_files, setting.run.path)
        self._answers = written_file(self._directory)
        if setting.tokenizer.chat is None:
            raise TokenizerError("tokenizer", "has no chat template, which answers need", "add chat_template.jinja")

    def run(self) -> bool:
        """Write what is not written yet; False when stopped on the way.

        Raises:
            RunError: an earlier start wrote with other settings, prompts or weights.
            DataError: not a single answer can be used.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        progress = self._earlier()
        if progress.finished:
            self._emit(events.StageSkipped(stage=self._stage.name, reason="already done with the same inputs"))
            return True
        if self._parent.base is None and only_text(self._parent.stages):
            message = f"{self._weights} has learned from texts alone: it goes on with a question rather than answer it"
            self._emit(events.Warned(stage=self._stage.name, message=message))
        total = sum(1 for _ in self._prompts(0))
        model = load_stacked(self._weights, self._setting.device)
        check_vocabulary(model, self._setting.tokenizer, self._weights)
        prompts = self._prompts(progress.prompts)
        while chunk := list(islice(prompts, CHUNK_BATCHES * self._stage.batch_size)):
            further = self._write_chunk(model, chunk, progress, total)
            if further is None:
                return False
            progress = further
        if not progress.rows:
            told = ", ".join(f"{count} x {reason}" for reason, count in progress.reasons.items())
            problem = f"none of {progress.prompts} prompts got an answer: {progress.empty} are empty"
            remedy = "is the model trained to answer?"
            raise DataError(f"stage {self._stage.name}", f"{problem}{f', {told}' if told else ''}", remedy)
        self._finish(replace(progress, finished=True), total)
        return True

    def _earlier(self) -> Progress:
        """How far earlier starts came, with what they did not complete taken off the file."""
        made_of = self._made_of()
        path = self._directory / "progress.json"
        try:
            found = Progress(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            found = Progress(made_of)
        size = self._answers.stat().st_size if self._answers.is_file() else 0
        if found.made_of != made_of or size < found.bytes:
            raise RunError(
                f"run {self._setting.run.name}, stage {self._stage.name}",
                "its prompts, its settings, what it wrote, or what wrote it, has changed since",
                f"run it again with --from {self._stage.name}, or start anew with --name NEW",
            )
        if size > found.bytes:
            os.truncate(self._answers, found.bytes)
        return found

    def _made_of(self) -> str:
        hashes = [content_hash(path, file_hashes(), lambda: False) for path in self._files]
        return fingerprint(
            hashes,
            self._stage.format,
            self._settings.model_dump(mode="json"),
            (self._seed, self._stage.batch_size),  # prompts of other batches are rounded otherwise
            self._parent.fingerprint,
            self._setting.tokenizer.fingerprint,
        )

    def _prompts(self, first: int) -> Iterator[tuple[int, Asked | BadRow]]:
        """Each row from number `first` on with its number, up to the limit."""
        rows = (row for path in self._files for row in read_prompts(path, self._stage.format))
        for number, row in enumerate(islice(rows, self._settings.limit)):
            if number >= first:
                yield number, row

    def _write_chunk(
        self, model: Transformer, chunk: list[tuple[int, Asked | BadRow]], progress: Progress, total: int
    ) -> Progress | None:
        """Answer some prompts and bring the answers to the disk; None when stopped before that."""
        start, counts = time.perf_counter(), Counter[str]()
        reasons = Counter(progress.reasons)
        talks = list[_Talk]()
        for number, row in chunk:
            if isinstance(row, BadRow):
                self._reject(row, reasons)
            else:
                talks += self._begun(number, row, model, reasons)
        rejected = sum(reasons.values()) - sum(progress.reasons.values())

        def on_progress(done: int) -> None:
            self._work(progress.prompts + done * len(chunk) // max(len(talks), 1), total)

        while waiting := [talk for talk in talks if not talk.over]:
            if not self._answer(model, waiting, counts, on_progress):
                return None
        written = [talk for talk in talks if talk.answers]
        lines = [json.dumps({"conversations": talk.messages}, ensure_ascii=False) + "\n" for talk in written]
        content = "".join(lines).encode("utf-8")
        with self._answers.open("ab") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        progress = replace(
            progress,
            prompts=progress.prompts + len(chunk),
            rows=progress.rows + len(written),
            tokens=progress.tokens + counts["tokens"],
            empty=progress.empty + counts["empty"],
            cut=progress.cut + counts["cut"],
            unusable=progress.unusable + rejected,
            seconds=progress.seconds + time.perf_counter() - start,
            bytes=progress.bytes + len(content),
            reasons=dict(reasons),
        )
        self._keep(progress)
        self._work(progress.prompts, total)
        said = [(talk.turns[0], talk.messages[-1]["content"]) for talk in written[:SHOWN]]
        self._announce(progress, total, tuple(said))
        return progress

    def _begun(self, number: int, row: Asked, model: Transformer, reasons: Counter[str]) -> list[_Talk]:
        """The conversations that a prompt begins, one for each answer that is wanted."""
        prompt = row.prompt
        system = [] if prompt.system is None else [Message(role="system", content=prompt.system)]
        first = [*system, Message(role="user", content=prompt.turns[0])]
        length = len(encode_prompt(self._setting.tokenizer, first))
        if length >= model.config.max_position_embeddings:
            reason = f"too long: {length} tokens, and the model reads {model.config.max_position_embeddings}"
            self._reject(BadRow(row.file, row.line, reason), reasons)
            return []
        return [_Talk(number, sample, prompt.turns, list(system)) for sample in range(self._settings.samples)]

    def _answer(self, model: Transformer, talks: list[_Talk], counts: Counter[str], on_progress: Any) -> bool:
        """One more answer in each conversation; False when stopped."""
        tokenizer, limit = self._setting.tokenizer, model.config.max_position_embeddings
        asked = [[*talk.messages, Message(role="user", content=talk.turns[talk.answers])] for talk in talks]
        prompts = [encode_prompt(tokenizer, messages) for messages in asked]
        fitting = [place for place, ids in enumerate(prompts) if len(ids) < limit]
        for place in set(range(len(talks))) - set(fitting):
            talks[place].over = True  # it ends with the answers that it has
        settings = self._settings
        answers = answer_batch(
            model,
            [prompts[place] for place in fitting],
            SamplingSettings(
                temperature=settings.temperature,
                top_k=settings.top_k,
                top_p=settings.top_p,
                min_p=settings.min_p,
                repetition_penalty=settings.repetition_penalty,
                max_new_tokens=settings.max_new_tokens,
            ),
            [self._seed_of(talks[place]) for place in fitting],
            tokenizer.stop_token_ids,
            batch_size=self._stage.batch_size,
            on_progress=on_progress,
            should_stop=self._setting.should_stop,
        )
        if answers is None:
            return False
        for place, answer in zip(fitting, answers, strict=True):
            talk, text = talks[place], tokenizer.decode(answer.ids, skip_special_tokens=True)
            counts["tokens"] += len(answer.ids)
            counts["cut"] += answer.cut
            if not text.strip():
                counts["empty"] += 1
                talk.over = True
                continue
            talk.messages = [*asked[place], Message(role="assistant", content=text)]
            talk.answers += 1
            talk.over = talk.answers == len(talk.turns)
        return True

    def _seed_of(self, talk: _Talk) -> int:
        """Of an answer's random numbers: it follows from its place in the data alone."""
        return mix(self._seed, talk.prompt, talk.sample, talk.answers) % (LARGEST_SEED + 1)

    def _reject(self, row: BadRow, reasons: Counter[str]) -> None:
        reasons[row.reason.partition(":")[0]] += 1
        if sum(reasons.values()) <= ROWS_ANNOUNCED:
            self._emit(events.RowRejected(stage=self._stage.name, file=str(row.file), line=row.line, reason=row.reason))

    def _finish(self, progress: Progress, total: int) -> None:
        self._keep(progress)
        self._announce(progress, total, self._some())
        told = [f"{count} x {reason}" for reason, count in progress.reasons.items()]
        if told:
            message = f"{progress.unusable} of {total} prompts cannot be used: {', '.join(told)}"
            self._emit(events.Warned(stage=self._stage.name, message=message))
        if progress.empty:
            message = f"{progress.empty} answers say nothing and are left out"
            self._emit(events.Warned(stage=self._stage.name, message=message))

    def _some(self) -> tuple[tuple[str, str], ...]:
        """A few answers from the head of the file."""
        with self._answers.open(encoding="utf-8") as file:
            rows = [json.loads(line)["conversations"] for line in islice(file, SHOWN)]
        return tuple((next(each["content"] for each in row if each["role"] == "user"), _first(row)) for row in rows)

    def _keep(self, progress: Progress) -> None:
        text = json.dumps(asdict(progress), ensure_ascii=False, indent=1)
        write_atomically(self._directory / "progress.json", text + "\n")

    def _announce(self, progress: Progress, total: int, samples: tuple[tuple[str, str], ...]) -> None:
        keys = ("prompts", "rows", "tokens", "empty", "cut", "unusable", "seconds", "finished")
        told = {key: getattr(progress, key) for key in keys}
        path = str(self._answers)
        self._emit(events.AnswersWritten(stage=self._stage.name, total=total, path=path, samples=samples, **told))

    def _work(self, done: int, total: int) -> None:
        self._emit(
            events.WorkProgressed(
                stage=self._stage.name, task="writing answers", done=done, total=total, unit="prompts"
            )
        )

    def _emit(self, event: events.Event) -> None:
        self._setting.emitter.emit(event)


def _first(messages: list[dict[str, str]]) -> str:
    return next(each["content"] for each in messages if each["role"] == "assistant")
