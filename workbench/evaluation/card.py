"""The report of a run as Markdown: what was trained on what, curves, scores, samples, time."""

import math
from collections.abc import Sequence
from typing import Any

from workbench.config import BASELINE_SUFFIX
from workbench.evaluation.card_curves import points, stage_curves
from workbench.evaluation.card_teaching import distillation_words, sampling_words, teacher_table, written_part
from workbench.evaluation.expert_load import expert_load
from workbench.evaluation.markdown import duration, escaped, fenced, section, table
from workbench.evaluation.run_facts import Record, RunFacts, StageFacts
from workbench.events import Diagnosed
from workbench.language import mark, retell, tr
from workbench.narration import score

# What of each kind is shown; the files in the run directory hold all.
SHOWN_PROMPTS = 4
SHOWN_ANSWERS = 5
SHOWN_WARNINGS = 20

_TITLES = {
    "val_loss": mark("validation loss"),
    "val_perplexity": mark("perplexity"),
    "val_bits_per_byte": mark("bits per byte"),
    "perplexity": mark("perplexity on files"),
    "bits_per_byte": mark("bits per byte on files"),
    "exact_match": mark("right answers"),
    "choice_accuracy": mark("right choices"),
    "choice_accuracy_by_length": mark("right choices, by length"),
    "repetition": mark("repeated 4-grams"),
    "distinct_1": mark("different tokens"),
    "distinct_2": mark("different pairs"),
    "distinct_3": mark("different triples"),
    "tokens_per_second_read": mark("tokens/s read"),
    "tokens_per_second_written": mark("tokens/s written"),
    "val_reward_margin": mark("reward margin"),
    "val_reward_accuracy": mark("held-out pairs won"),
    "val_chosen_likelier": mark("chosen answer the likelier"),
    "val_chosen_logp": mark("log-probability of chosen answers"),
    "val_rejected_logp": mark("log-probability of rejected answers"),
    "val_agreement": mark("likeliest token is the teacher's"),
    "val_teacher_loss": mark("loss of the teacher"),
}


_SIZES = {
    "num_hidden_layers": mark("{count} layers"),
    "hidden_size": mark("{count} wide"),
    "num_attention_heads": mark("{count} heads"),
}


def run_card(facts: RunFacts) -> str:
    """The report's Markdown; parts for which nothing is known yet are left out."""
    parts = [
        _heading(facts),
        _made_of(facts),
        _stage_table(facts),
        _measure_table(facts),
        _scores(facts),
        *(_stage_part(stage, facts) for stage in facts.stages.values()),
        _answers(facts),
        _diagnosis(facts),
        _machine(facts),
        _warnings(facts),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _heading(facts: RunFacts) -> str:
    status = str(facts.state.get("status") or (mark("done") if _complete(facts) else mark("unfinished")))
    lines = [f"# {escaped(facts.name)}"]
    if facts.profile.get("description"):
        lines.append(escaped(retell(str(facts.profile["description"]))))
    told = f"**{escaped(tr(status))}**"
    if facts.seconds:
        told = tr("{status} after {time}", status=told, time=duration(facts.seconds))
    if facts.state.get("message"):
        told = tr("{place}: {words}", place=told, words=escaped(retell(str(facts.state["message"]))))
    return "\n\n".join([*lines, told])


def _complete(facts: RunFacts) -> bool:
    return bool(facts.stages) and all(stage.finished for stage in facts.stages.values())


def _made_of(facts: RunFacts) -> str:
    model = _table_of(facts.profile, "model")
    rows = [
        (tr("Model"), _model_line(model, facts)),
        (tr("Tokenizer"), _tokenizer_line(facts)),
        *(
            (tr("Data of {stage}", stage=escaped(stage.name)), _data_line(stage, facts))
            for stage in facts.stages.values()
        ),
    ]
    return section(tr("What was trained on what"), table(("", ""), [row for row in rows if row[1]]))


def _model_line(model: Record, facts: RunFacts) -> str:
    parameters = max((stage.parameters for stage in facts.stages.values()), default=0)
    told = [tr("{count:,} parameters", count=parameters)] if parameters else []
    active = max((stage.active_parameters for stage in facts.stages.values()), default=0)
    if active:
        told[0] += tr(" ({count:,} of them for each token)", count=active)
    if model.get("path"):
        told.append(tr("starting from {path}", path=escaped(model["path"])))
    told += [tr(words, count=model[key]) for key, words in _SIZES.items() if key in model]
    return tr(", ").join(([escaped(model["family"])] if "family" in model else []) + told)


def _tokenizer_line(facts: RunFacts) -> str:
    if facts.tokenizer is None:
        return ""
    told = [escaped(facts.tokenizer.kind), tr("{count:,} tokens", count=facts.tokenizer.vocab_size)]
    if facts.tokenizer.bytes_per_token is not None:
        told.append(tr("{ratio:.2f} bytes a token", ratio=facts.tokenizer.bytes_per_token))
    return tr(", ").join(told)


def _data_line(stage: StageFacts, facts: RunFacts) -> str:
    files = _settings_of(stage, facts).get("data")
    told = [", ".join(_source(source) for source in files)] if isinstance(files, list) else []
    if stage.data is not None:
        data = stage.data
        counts = {"documents": data.documents, "tokens": data.tokens, "trained": data.tokens_trained}
        told.append(tr("{documents:,} documents, {tokens:,} tokens, {trained:,} of them trained", **counts))
        told.append(tr("{count:,} documents set apart to measure on", count=data.validation_documents))
        if data.rows_rejected:
            told.append(tr("{bad:,} of {rows:,} rows could not be used", bad=data.rows_rejected, rows=data.rows_read))
        if data.documents_truncated:
            told.append(tr("{count:,} documents were cut", count=data.documents_truncated))
    if stage.mixed is not None:
        shares, epochs = stage.mixed.shares, stage.mixed.epochs
        for name, share in shares.items():
            seen = {"share": share, "data": escaped(name), "epochs": epochs[name]}
            told.append(tr("{share:.0%} from {data}, seen {epochs:.2f} times", **seen))
    return tr("; ").join(part for part in told if part)


def _source(source: object) -> str:
    """An entry of `data`: a file, or a data set with its files."""
    files = source.get("path") if isinstance(source, dict) else source
    return ", ".join(escaped(file) for file in files) if isinstance(files, list) else escaped(files)


def _stage_table(facts: RunFacts) -> str:
    rows = [
        (
            escaped(stage.name) + ("" if stage.finished else tr(" (unfinished)")),
            escaped(stage.kind),
            f"{stage.steps:,}",
            f"{stage.tokens:,}",
            duration(stage.seconds),
            f"{stage.tokens_per_second:,.0f}",
            f"{stage.peak_memory_bytes / 2**20:,.0f} MiB" if stage.peak_memory_bytes else "–",
            _mean_share(stage, "utilisation"),
            _mean_share(stage, "mfu"),
        )
        for stage in facts.stages.values()
    ]
    names = (tr("stage"), tr("kind"), tr("steps"), tr("tokens"), tr("training time"), tr("tokens/s"))
    head = (*names, tr("most memory"), tr("device busy"), "MFU")
    return section(tr("Stages"), table(head, rows, numbers_from=2))


def _mean_share(stage: StageFacts, key: str) -> str:
    values = [value for _, value in points(stage.metrics, key)]
    return f"{sum(values) / len(values):.0%}" if values else "–"


def _measure_table(facts: RunFacts) -> str:
    rows = []
    for stage in facts.stages.values():
        for measure in dict.fromkeys((*stage.before, *stage.after)):
            values = (stage.before.get(measure), stage.after.get(measure))
            told = (*(_measured(measure, value) for value in values), _change(measure, *values))
            rows.append((escaped(stage.name), _title(measure, stage), *told))
    head = (tr("stage"), tr("measure"), tr("before"), tr("after"), tr("change"))
    return section(tr("Before and after"), table(head, rows, numbers_from=2))


def _change(measure: str, before: float | None, after: float | None) -> str:
    """From before to after: in points for a share, in percent for anything else."""
    if before is None or after is None or not (math.isfinite(before) and math.isfinite(after)):
        return "–"
    if score(measure, after).endswith("%"):
        return tr("{change:+.1f} points", change=100 * (after - before))
    return f"{100 * (after - before) / before:+.1f}%" if before else "–"


def _scores(facts: RunFacts) -> str:
    rows = [(_title(measure), _measured(measure, value)) for measure, value in facts.scores.items()]
    return section(tr("Final scores"), table((tr("measure"), tr("score")), rows, numbers_from=1))


def _stage_part(stage: StageFacts, facts: RunFacts) -> str:
    how = _how(_settings_of(stage, facts), stage)
    taught, written = teacher_table(stage, facts), written_part(stage)
    parts = (how, taught, written, _adapter(stage), _curves(stage), expert_load(stage.metrics), _samples(stage))
    return section(tr("Stage {stage}", stage=escaped(stage.name)), "\n\n".join(part for part in parts if part))


def _how(settings: Record, stage: StageFacts) -> str:
    """How the stage was trained, in one paragraph, from what its settings say."""
    told = []
    if stage.trained_parameters:
        counts = {"trained": stage.trained_parameters, "whole": stage.parameters}
        if _table_of(settings, "lora"):
            told.append(tr("{trained:,} parameters of LoRA trained beside {whole:,} that stood still", **counts))
        else:
            told.append(tr("{trained:,} of {whole:,} parameters trained", **counts))
    preferences = _table_of(settings, "dpo")
    if stage.written is not None:
        return sampling_words(settings)
    if "batch_size" in settings and "sequence_length" in settings:
        sizes = {"rows": settings["batch_size"], "tokens": settings["sequence_length"]}
        pairs = tr("{rows} pairs of rows of {tokens} tokens a step", **sizes)
        told.append(pairs if preferences else tr("{rows} rows of {tokens} tokens a step", **sizes))
    if "loss" in preferences and "beta" in preferences:
        loss, beta = escaped(preferences["loss"]), escaped(preferences["beta"])
        told.append(tr("preferences by {loss}, beta {beta}", loss=loss, beta=beta))
    told += distillation_words(settings, stage)
    optimizer = _table_of(settings, "optimizer")
    if "name" in optimizer:
        state = optimizer.get("state", "fp32")
        kept = tr(" with state in {precision}", precision=escaped(state)) if state != "fp32" else ""
        told.append(escaped(optimizer["name"]) + kept)
    if "learning_rate" in settings:
        rate, schedule = settings["learning_rate"], settings.get("schedule", "")
        warmup = settings.get("warmup")
        paced = tr("learning rate {rate}, {schedule}", rate=escaped(rate), schedule=escaped(schedule))
        told.append(paced + (tr(", warmup {steps}", steps=warmup) if warmup else ""))
    if settings.get("ema"):
        told.append(tr("moving average of {factor}", factor=escaped(settings["ema"])))
    if settings.get("result") == "best":
        told.append(tr("the weights are those of the best validation"))
    return tr("{sentence}.", sentence=tr("; ").join(told)) if told else ""


def _adapter(stage: StageFacts) -> str:
    """How far LoRA moved each matrix; empty where the weights themselves moved."""
    if not stage.updates:
        return ""
    by_layer: dict[str, dict[str, float]] = {}
    for name, value in stage.updates.items():
        layer, _, matrix = name.removeprefix("model.layers.").partition(".")
        by_layer.setdefault(layer, {})[matrix.rpartition(".")[2]] = value
    matrices = list(dict.fromkeys(matrix for row in by_layer.values() for matrix in row))
    rows = [
        (escaped(layer), *(f"{row[matrix]:.1%}" if matrix in row else "–" for matrix in matrices))
        for layer, row in by_layer.items()
    ]
    drawn = table((tr("layer"), *map(escaped, matrices)), rows, numbers_from=1)
    told = tr("Size of LoRA's update as a share of its matrix:")
    return f"{told}\n\n{drawn}"


def _settings_of(stage: StageFacts, facts: RunFacts) -> Record:
    """The stage's table in the profile; empty where there is none."""
    tables = facts.profile.get("stage")
    found = [table for table in tables if isinstance(table, dict)] if isinstance(tables, list) else []
    named = {str(table.get("name")): table for table in found}
    return named.get(stage.name) or named.get(stage.name.removesuffix(BASELINE_SUFFIX), {})


def _curves(stage: StageFacts) -> str:
    return "\n\n".join(f"{legend}\n\n{fenced(drawing)}" for legend, drawing in stage_curves(stage))


def _samples(stage: StageFacts) -> str:
    by_prompt: dict[str, list[Record]] = {}
    for record in stage.samples:
        by_prompt.setdefault(str(record.get("prompt", "")), []).append(record)
    parts = []
    for prompt, records in list(by_prompt.items())[:SHOWN_PROMPTS]:
        parts.append(f"{tr('Prompt:')}\n\n{fenced(prompt)}")
        for record in records[:1] if len(records) == 1 else (records[0], records[-1]):
            place = tr("At step {step}:", step=escaped(record.get("step", "?")))
            parts.append(f"{place}\n\n{fenced(str(record.get('text', '')))}")
    return f"### {tr('Samples')}\n\n" + "\n\n".join(parts) if parts else ""


def _answers(facts: RunFacts) -> str:
    answered = [stage for stage in facts.stages.values() if stage.answers]
    if not answered:
        return ""
    stage, parts = answered[-1], []
    for told, right in ((mark("Right ({count:,} of {all:,}):"), True), (mark("Wrong ({count:,} of {all:,}):"), False)):
        records = [record for record in stage.answers if bool(record.get("right")) is right]
        if records:
            some = "\n\n".join(_answer(record) for record in _spread(records, SHOWN_ANSWERS))
            title = tr(told, count=len(records), all=len(stage.answers))
            parts.append(f"{title}\n\n{fenced(some)}")
    return section(tr("Answers after {stage}", stage=escaped(stage.name)), "\n\n".join(parts))


def _answer(record: Record) -> str:
    given, expected = (" ".join(str(record.get(key, "")).split()) for key in ("given", "expected"))
    lines = [f"{tr('question')}  {record.get('question', '')}", f"{tr('answered')}  {given}"]
    return "\n".join(lines if record.get("right") else [*lines, f"{tr('expected')}  {expected}"])


def _spread(records: Sequence[Record], count: int) -> list[Record]:
    """Up to `count` of the records from all over the file, as languages often stand one after the other."""
    if len(records) <= count:
        return list(records)
    return [records[index * len(records) // count] for index in range(count)]


def _machine(facts: RunFacts) -> str:
    started, resolved = facts.started, facts.resolved
    memory = max((stage.peak_memory_bytes for stage in facts.stages.values()), default=0)
    versions, machine = resolved.get("versions"), _table_of(resolved, "machine")
    rows = [
        (tr("Time in all"), duration(facts.seconds) if facts.seconds else ""),
        (tr("Time of training"), duration(sum(stage.seconds for stage in facts.stages.values()))),
        (tr("Most memory"), f"{memory / 2**20:,.0f} MiB" if memory else ""),
        (tr("Device"), escaped(facts.device)),
        ("CPU", escaped(machine.get("cpu", ""))),
        (tr("Precision"), escaped(resolved.get("precision") or (started.precision if started else ""))),
        (tr("CPU threads"), escaped(resolved.get("threads") or (started.threads if started else ""))),
        (tr("Seed"), escaped(_table_of(facts.profile, "run").get("seed", ""))),
    ]
    if isinstance(versions, dict):
        rows.append(
            (tr("Versions"), ", ".join(f"{escaped(name)} {escaped(value)}" for name, value in versions.items()))
        )
    return section(tr("Time, memory, versions"), table(("", ""), [row for row in rows if row[1]]))


def _diagnosis(facts: RunFacts) -> str:
    lines = []
    for stage in facts.stages.values():
        standing = ""
        for words, values in stage.standing:
            told_so_far, sentence = standing, tr(words, **values)
            standing = tr("{text} {more}", text=told_so_far, more=sentence) if told_so_far else sentence
        lines += [_placed(escaped(stage.name), escaped(standing))] if standing else []
    for finding in facts.findings:
        place = tr("{stage}, step {step:,}", stage=escaped(finding.stage), step=finding.step)
        if isinstance(finding, Diagnosed):
            told = {"cause": escaped(retell(finding.cause)), "cure": escaped(retell(finding.cure))}
            lines.append(_placed(place, tr("{cause}. *Cure:* {cure}.", **told)))
        else:
            lines.append(_placed(place, tr("gone back to, from step {step:,}.", step=finding.from_step)))
    return section(tr("Diagnosis"), "\n".join(lines))


def _placed(place: str, words: str) -> str:
    return "- " + tr("{place}: {words}", place=f"**{place}**", words=words)


def _warnings(facts: RunFacts) -> str:
    told = (f"- {escaped(retell(message))}" for message in facts.warnings[:SHOWN_WARNINGS])
    return section(tr("Warnings"), "\n".join(told))


def _title(measure: str, stage: StageFacts | None = None) -> str:
    name, dot, language = measure.partition(".")
    if name == "val_kl":
        taught = stage is not None and stage.teacher is not None
        told = tr("divergence from the teacher, nats a token")
        return told if taught else tr("divergence from the reference, nats a token")
    return escaped(tr(_TITLES.get(name, name.replace("_", " "))) + (f"{tr(', ')}{language}" if dot else ""))


def _measured(measure: str, value: float | None) -> str:
    return "–" if value is None else score(measure, value)


def _table_of(values: Record, key: str) -> dict[str, Any]:
    table = values.get(key)
    return table if isinstance(table, dict) else {}
