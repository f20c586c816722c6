"""Scores of a finished stage: held-out questions answered exactly, verse in form."""

import dataclasses
import time

from workbench import events
from workbench.config import StageSettings
from workbench.evaluation.samples import continue_prompt
from workbench.evaluation.suite import exact_match, read_questions, write_answers
from workbench.evaluation.verse import verse_form_share
from workbench.job_data import data_files
from workbench.job_plan import StageResult, fingerprint, write_result
from workbench.job_stage import Setting
from workbench.model.adapter import load_stacked
from workbench.model.transformer import Transformer

VERSE_TOKENS = 160  # room for eight lines of seven characters and their title in any tokenizer of ours


class Evaluation:
    """What the profile's `[evaluate]` table asks of a stage."""

    def __init__(self, setting: Setting, stage: StageSettings) -> None:
        self._setting, self._stage, self._settings = setting, stage, setting.profile.evaluate
        wanted = not self._settings.stages or stage.name in self._settings.stages
        self._files = data_files(self._settings.questions) if wanted else []
        self._verses = self._settings.verse_samples if wanted else 0
        told = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in self._files]
        self.fingerprint = fingerprint(told, self._settings.max_new_tokens, self._verses)

    def measure(self, model: Transformer) -> dict[str, float] | None:
        """The scores by metric, none where none are asked for; None when stopped on the way."""
        start, scores = time.monotonic(), dict[str, float]()
        if self._files:
            questions = [question for file in self._files for question in read_questions(file)]
            result = exact_match(
                model,
                self._setting.tokenizer,
                questions,
                self._settings.max_new_tokens,
                on_progress=lambda done, total: self._progressed("asking held-out questions", done, total, "questions"),
                should_stop=self._setting.should_stop,
            )
            if result is None:
                return None
            write_answers(self._setting.run.stage(self._stage.name).path / "answers.jsonl", result)
            scores |= result.scores()
        if self._verses:
            share = self._verse_form(model)
            if share is None:
                return None
            scores["verse_form"] = share
        if scores:
            self._setting.emitter.emit(
                events.Scored(stage=self._stage.name, scores=scores, seconds=time.monotonic() - start)
            )
        return scores

    def renew(self, result: StageResult) -> StageResult | None:
        """`result` with scores of today's questions where it was measured with others; None when stopped."""
        if result.evaluation == self.fingerprint:
            return result
        directory = self._setting.run.stage(self._stage.name)
        scores = self.measure(load_stacked(directory.result or directory.model, self._setting.device))
        if scores is None:
            return None
        kept = {key: value for key, value in result.after.items() if key.startswith("val_")}
        renewed = dataclasses.replace(result, after={**kept, **scores}, evaluation=self.fingerprint)
        write_result(directory, renewed)
        return renewed

    def _verse_form(self, model: Transformer) -> float | None:
        """The share of poems in form; the stage's prompts begin them in turn."""
        tokenizer, prompts, poems = self._setting.tokenizer, self._stage.prompts, list[str]()
        for number in range(self._verses):
            if self._setting.should_stop():
                return None
            seed = self._setting.profile.run.seed + number
            prompt = prompts[number % len(prompts)]
            poems.append(prompt + continue_prompt(model, tokenizer, prompt, seed=seed, max_new_tokens=VERSE_TOKENS))
            self._progressed("writing verse", number + 1, self._verses, "poems")
        return verse_form_share(poems)

    def _progressed(self, task: str, done: int, total: int, unit: str) -> None:
        self._setting.emitter.emit(
            events.WorkProgressed(stage=self._stage.name, task=task, done=done, total=total, unit=unit)
        )
