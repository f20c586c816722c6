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
from workbench.narration import score

# What of each kind is shown; the files in the run directory hold all.
SHOWN_PROMPTS = 4
SHOWN_ANSWERS = 5
SHOWN_WARNINGS = 20

_TITLES = {
    "val_loss": "validation loss",
    "val_perplexity": "perplexity",
    "val_bits_per_byte": "bits per byte",
    "perplexity": "perplexity on files",
    "bits_per_byte": "bits per byte on files",
    "exact_match": "right answers",
    "choice_accuracy": "right choices",
    "choice_accuracy_by_length": "right choices, by length",
    "repetition": "repeated 4-grams",
    "distinct_1": "different tokens",
    "distinct_2": "different pairs",
    "distinct_3": "different triples",
    "tokens_per_second_read": "tokens/s read",
    "tokens_per_second_written": "tokens/s written",
    "val_reward_margin": "reward margin",
    "val_reward_accuracy": "held-out pairs won",
    "val_chosen_likelier": "chosen answer the likelier",
    "val_chosen_logp": "log-probability of chosen answers",
    "val_rejected_logp": "log-probability of rejected answers",
    "val_agreement": "likeliest token is the teacher's",
    "val_teacher_loss": "loss of the teacher",
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
    status = str(facts.state.get("status") or ("done" if _complete(facts) else "unfinished"))
    lines = [f"# {escaped(facts.name)}"]
    if facts.profile.get("description"):
        lines.append(escaped(facts.profile["description"]))
    told = f"**{escaped(status)}**"
    if facts.seconds:
        told += f" after {duration(facts.seconds)}"
    if facts.state.get("message"):
        told += f": {escaped(facts.state['message'])}"
    return "\n\n".join([*lines, told])


def _complete(facts: RunFacts) -> bool:
    return bool(facts.stages) and all(stage.finished for stage in facts.stages.values())


def _made_of(facts: RunFacts) -> str:
    model = _table_of(facts.profile, "model")
    rows = [
        ("Model", _model_line(model, facts)),
        ("Tokenizer", _tokenizer_line(facts)),
        *((f"Data of {escaped(stage.name)}", _data_line(stage, facts)) for stage in facts.stages.values()),
    ]
    return section("What was trained on what", table(("", ""), [row for row in rows if row[1]]))


def _model_line(model: Record, facts: RunFacts) -> str:
    parameters = max((stage.parameters for stage in facts.stages.values()), default=0)
    told = [f"{parameters:,} parameters"] if parameters else []
    active = max((stage.active_parameters for stage in facts.stages.values()), default=0)
    if active:
        told[0] += f" ({active:,} of them for each token)"
    if model.get("path"):
        told.append(f"starting from {escaped(model['path'])}")
    sizes = {"num_hidden_layers": "layers", "hidden_size": "wide", "num_attention_heads": "heads"}
    told += [f"{model[key]} {word}" for key, word in sizes.items() if key in model]
    return ", ".join(([escaped(model["family"])] if "family" in model else []) + told)


def _tokenizer_line(facts: RunFacts) -> str:
    if facts.tokenizer is None:
        return ""
    told = f"{escaped(facts.tokenizer.kind)}, {facts.tokenizer.vocab_size:,} tokens"
    if facts.tokenizer.bytes_per_token is not None:
        told += f", {facts.tokenizer.bytes_per_token:.2f} bytes a token"
    return told


def _data_line(stage: StageFacts, facts: RunFacts) -> str:
    files = _settings_of(stage, facts).get("data")
    told = [", ".join(_source(source) for source in files)] if isinstance(files, list) else []
    if stage.data is not None:
        data = stage.data
        told.append(f"{data.documents:,} documents, {data.tokens:,} tokens, {data.tokens_trained:,} of them trained")
        told.append(f"{data.validation_documents:,} documents set apart to measure on")
        if data.rows_rejected:
            told.append(f"{data.rows_rejected:,} of {data.rows_read:,} rows could not be used")
        if data.documents_truncated:
            told.append(f"{data.documents_truncated:,} documents were cut")
    if stage.mixed is not None:
        shares, epochs = stage.mixed.shares, stage.mixed.epochs
        mixed = (f"{share:.0%} from {escaped(name)}, seen {epochs[name]:.2f} times" for name, share in shares.items())
        told.append("; ".join(mixed))
    return "; ".join(part for part in told if part)


def _source(source: object) -> str:
    """An entry of `data`: a file, or a data set with its files."""
    files = source.get("path") if isinstance(source, dict) else source
    return ", ".join(escaped(file) for file in files) if isinstance(files, list) else escaped(files)


def _stage_table(facts: RunFacts) -> str:
    rows = [
        (
            escaped(stage.name) + ("" if stage.finished else " (unfinished)"),
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
    head = ("stage", "kind", "steps", "tokens", "training time", "tokens/s", "most memory", "device busy", "MFU")
    return section("Stages", table(head, rows, numbers_from=2))


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
    head = ("stage", "measure", "before", "after", "change")
    return section("Before and after", table(head, rows, numbers_from=2))


def _change(measure: str, before: float | None, after: float | None) -> str:
    """From before to after: in points for a share, in percent for anything else."""
    if before is None or after is None or not (math.isfinite(before) and math.isfinite(after)):
        return "–"
    if score(measure, after).endswith("%"):
        return f"{100 * (after - before):+.1f} points"
    return f"{100 * (after - before) / before:+.1f}%" if before else "–"


def _scores(facts: RunFacts) -> str:
    rows = [(_title(measure), _measured(measure, value)) for measure, value in facts.scores.items()]
    return section("Final scores", table(("measure", "score"), rows, numbers_from=1))


def _stage_part(stage: StageFacts, facts: RunFacts) -> str:
    how = _how(_settings_of(stage, facts), stage)
    taught, written = teacher_table(stage, facts), written_part(stage)
    parts = (how, taught, written, _adapter(stage), _curves(stage), expert_load(stage.metrics), _samples(stage))
    return section(f"Stage {escaped(stage.name)}", "\n\n".join(part for part in parts if part))


def _how(settings: Record, stage: StageFacts) -> str:
    """How the stage was trained, in one paragraph, from what its settings say."""
    told = []
    if stage.trained_parameters:
        trained, whole = f"{stage.trained_parameters:,}", f"{stage.parameters:,}"
        of_lora = f"{trained} parameters of LoRA trained beside {whole} that stood still"
        told.append(of_lora if _table_of(settings, "lora") else f"{trained} of {whole} parameters trained")
    preferences = _table_of(settings, "dpo")
    if stage.written is not None:
        return sampling_words(settings)
    if "batch_size" in settings and "sequence_length" in settings:
        rows = "pairs of rows" if preferences else "rows"
        told.append(f"{settings['batch_size']} {rows} of {settings['sequence_length']} tokens a step")
    if "loss" in preferences and "beta" in preferences:
        told.append(f"preferences by {escaped(preferences['loss'])}, beta {escaped(preferences['beta'])}")
    told += distillation_words(settings, stage)
    optimizer = _table_of(settings, "optimizer")
    if "name" in optimizer:
        state = optimizer.get("state", "fp32")
        told.append(escaped(optimizer["name"]) + (f" with state in {escaped(state)}" if state != "fp32" else ""))
    if "learning_rate" in settings:
        rate, schedule = settings["learning_rate"], settings.get("schedule", "")
        warmup = settings.get("warmup")
        told.append(f"learning rate {escaped(rate)}, {escaped(schedule)}" + (f", warmup {warmup}" if warmup else ""))
    if settings.get("ema"):
        told.append(f"moving average of {escaped(settings['ema'])}")
    if settings.get("result") == "best":
        told.append("the weights are those of the best validation")
    return "; ".join(told) + "." if told else ""


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
    drawn = table(("layer", *map(escaped, matrices)), rows, numbers_from=1)
    return f"Size of LoRA's update as a share of its matrix:\n\n{drawn}"


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
        parts.append(f"Prompt:\n\n{fenced(prompt)}")
        for record in records[:1] if len(records) == 1 else (records[0], records[-1]):
            parts.append(f"At step {escaped(record.get('step', '?'))}:\n\n{fenced(str(record.get('text', '')))}")
    return "### Samples\n\n" + "\n\n".join(parts) if parts else ""


def _answers(facts: RunFacts) -> str:
    answered = [stage for stage in facts.stages.values() if stage.answers]
    if not answered:
        return ""
    stage, parts = answered[-1], []
    for title, right in (("Right", True), ("Wrong", False)):
        records = [record for record in stage.answers if bool(record.get("right")) is right]
        if records:
            told = "\n\n".join(_answer(record) for record in _spread(records, SHOWN_ANSWERS))
            parts.append(f"{title} ({len(records):,} of {len(stage.answers):,}):\n\n{fenced(told)}")
    return section(f"Answers after {escaped(stage.name)}", "\n\n".join(parts))


def _answer(record: Record) -> str:
    given, expected = (" ".join(str(record.get(key, "")).split()) for key in ("given", "expected"))
    lines = [f"question  {record.get('question', '')}", f"answered  {given}"]
    return "\n".join(lines if record.get("right") else [*lines, f"expected  {expected}"])


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
        ("Time in all", duration(facts.seconds) if facts.seconds else ""),
        ("Time of training", duration(sum(stage.seconds for stage in facts.stages.values()))),
        ("Most memory", f"{memory / 2**20:,.0f} MiB" if memory else ""),
        ("Device", escaped(facts.device)),
        ("CPU", escaped(machine.get("cpu", ""))),
        ("Precision", escaped(resolved.get("precision") or (started.precision if started else ""))),
        ("CPU threads", escaped(resolved.get("threads") or (started.threads if started else ""))),
        ("Seed", escaped(_table_of(facts.profile, "run").get("seed", ""))),
    ]
    if isinstance(versions, dict):
        rows.append(("Versions", ", ".join(f"{escaped(name)} {escaped(value)}" for name, value in versions.items())))
    return section("Time, memory, versions", table(("", ""), [row for row in rows if row[1]]))


def _diagnosis(facts: RunFacts) -> str:
    lines = [
        f"- **{escaped(stage.name)}**: {escaped(' '.join(stage.standing))}"
        for stage in facts.stages.values()
        if stage.standing
    ]
    for finding in facts.findings:
        place = f"{escaped(finding.stage)}, step {finding.step:,}"
        if isinstance(finding, Diagnosed):
            lines.append(f"- **{place}**: {escaped(finding.cause)}. *Cure:* {escaped(finding.cure)}.")
        else:
            lines.append(f"- **{place}**: gone back to, from step {finding.from_step:,}.")
    return section("Diagnosis", "\n".join(lines))


def _warnings(facts: RunFacts) -> str:
    return section("Warnings", "\n".join(f"- {escaped(message)}" for message in facts.warnings[:SHOWN_WARNINGS]))


def _title(measure: str, stage: StageFacts | None = None) -> str:
    name, dot, language = measure.partition(".")
    if name == "val_kl":
        return (
            f"divergence from the {'reference' if stage is None or stage.teacher is None else 'teacher'}, nats a token"
        )
    return escaped(_TITLES.get(name, name.replace("_", " ")) + (f", {language}" if dot else ""))


def _measured(measure: str, value: float | None) -> str:
    return "–" if value is None else score(measure, value)


def _table_of(values: Record, key: str) -> dict[str, Any]:
    table = values.get(key)
    return table if isinstance(table, dict) else {}
