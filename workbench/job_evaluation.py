"""Scores of a finished stage, as the profile's `[evaluate]` table asks for them."""

import dataclasses
import time

from workbench import events
from workbench.config import StageSettings
from workbench.evaluation.battery import Battery, Measuring
from workbench.job_data import data_files
from workbench.job_plan import StageResult, fingerprint, write_result
from workbench.job_setting import Setting
from workbench.locations import tokenised_folder
from workbench.model.adapter import load_stacked
from workbench.model.transformer import Transformer


class Evaluation:
    """What the profile's `[evaluate]` table asks of a stage.

    Args:
        chat: the stage's model answers, rather than only going on with texts.
    """

    def __init__(self, setting: Setting, stage: StageSettings, chat: bool) -> None:
        settings = setting.profile.evaluate
        self._setting, self._stage = setting, stage
        wanted = not settings.stages or stage.name in settings.stages
        self._battery = Battery(
            settings,
            perplexity=data_files(settings.perplexity),
            choices=data_files(settings.choices),
            questions=data_files(settings.questions),
            chat=chat,
            verse_prompts=stage.prompts,
            seed=setting.profile.run.seed,
        )
        self._wanted = wanted and not self._battery.empty
        files = (self._battery.perplexity, self._battery.choices, self._battery.questions)
        told = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for group in files for file in group]
        asked = settings.model_dump(mode="json", exclude={"stages", "batch_size", "perplexity", "choices", "questions"})
        self.fingerprint = fingerprint(told, asked) if self._wanted else fingerprint()

    def measure(self, model: Transformer) -> dict[str, float] | None:
        """The scores by metric, none where none are asked for; None when stopped on the way."""
        if not self._wanted:
            return {}
        start = time.monotonic()
        measuring = Measuring(
            model,
            self._setting.tokenizer,
            self._battery,
            precision=self._setting.precision,
            cache=tokenised_folder(),
            on_progress=self._progressed,
            should_stop=self._setting.should_stop,
        )
        outcome = measuring.run()
        if outcome is None:
            return None
        outcome.write_records(self._setting.run.stage(self._stage.name).path)
        self._setting.emitter.emit(
            events.Scored(stage=self._stage.name, scores=outcome.scores, seconds=time.monotonic() - start)
        )
        return outcome.scores

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

    def _progressed(self, task: str, done: int, total: int, unit: str) -> None:
        self._setting.emitter.emit(
            events.WorkProgressed(stage=self._stage.name, task=task, done=done, total=total, unit=unit)
        )
