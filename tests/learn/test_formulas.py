"""Formulas with a run's numbers: they say what the engine computed, and their text is arithmetic that holds."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors import safe_open

from workbench.config import StageSettings
from workbench.inspection.norms import kv_cache_bytes
from workbench.learn.explanation import explain, plain_text
from workbench.learn.facts import Facts, facts_of_profile, facts_of_run
from workbench.learn.formulas import RULES, Formula, formulas_of, shapes_of
from workbench.learn.topics import all_topics, topic
from workbench.model.configuration import load_config
from workbench.profile import parse_profile, read_profile
from workbench.runs.metrics import read_metrics
from workbench.schedule import Schedule

STAGES = [("life", "pretrain"), ("life", "sft"), ("life", "dpo"), ("experts", "pretrain")]


@pytest.fixture(params=STAGES, ids="/".join)
def facts(request: pytest.FixtureRequest, runs: Path) -> Facts:
    """What is known of a stage of a real run."""
    run, stage = request.param
    return facts_of_run(runs / run, stage)


def value(name: str, facts: Facts, place: int = -1) -> float:
    """The result of one formula of a topic."""
    found = formulas_of(name, facts)[place].value
    assert found is not None, formulas_of(name, facts)
    return float(found)


def compute(filled: str) -> float:
    """What the text of a formula comes to."""
    code = re.sub(r"(?<=\d),(?=\d{3})", "", filled)
    code = code.replace("×", "*").replace("^", "**").replace("²", "**2").replace("³", "**3").replace("√", "sqrt")
    names = {"ln": math.log, "exp": math.exp, "cos": math.cos, "ceil": math.ceil, "sqrt": math.sqrt, "π": math.pi}
    return float(eval(code, {"__builtins__": {}}, {**names, "min": min, "max": max}))  # noqa: S307  our own text


def test_the_text_of_every_formula_comes_to_its_value(facts: Facts) -> None:
    known = facts.with_figures({}, probability=0.25, entropy=1.5, temperature=0.8, top_p=0.9, max_new_tokens=8)
    checked = 0
    for name in RULES:
        for formula in formulas_of(name, known):
            if formula.value is not None:
                near = pytest.approx(formula.value, rel=2e-3, abs=2e-4)
                assert compute(formula.filled) == near, (name, formula)
                checked += 1
    assert checked > 80


def test_no_topic_waits_for_a_number_that_a_run_has(runs: Path) -> None:
    facts = facts_of_run(runs / "life", "pretrain")
    settings = [name for name in RULES if name.startswith(("model.", "stage.", "tokenizer."))]
    waiting = [name for name in settings for f in formulas_of(name, facts) if f.waits and f.value is None]
    assert all(name.startswith(("stage.lora", "stage.dpo", "model.num_experts", "model.moe")) for name in waiting)
    measured = {"loss", "val_loss", "val_perplexity", "val_bits_per_byte", "grad_norm", "mfu", "tokens", "first_loss"}
    measured |= {"parameters", "kv_cache", "attention", "flops_per_token", "step_time", "memory_estimate", "loss_mask"}
    for name in measured:
        assert all(f.value is not None or not f.waits for f in formulas_of(name, facts)), name


def test_losses_agree_with_what_the_engine_wrote(facts: Facts) -> None:
    assert value("loss", facts, 0) == facts.figures["loss"]
    perplexity = facts.figures["val_perplexity"]
    if facts.stage is not None and facts.stage.kind == "dpo":  # there it is that of the chosen answers
        perplexity = math.exp(facts.figures["val_loss"])
    assert value("val_perplexity", facts) == pytest.approx(perplexity, rel=1e-9)


def test_bits_per_byte_and_perplexity_are_one_figure(runs: Path) -> None:
    facts = facts_of_run(runs / "life", "pretrain")
    by_token = value("val_bits_per_byte", facts, 2)
    nats, bits = facts.figures["val_loss"], facts.figures["val_bits_per_byte"]
    assert by_token == pytest.approx(nats / math.log(2) / bits)
    assert 1 < by_token < 8


@pytest.mark.parametrize("stage", ["pretrain", "sft", "dpo"])
def test_the_learning_rate_of_every_step_is_the_one_it_was_taken_with(runs: Path, stage: str) -> None:
    facts = facts_of_run(runs / "life", stage)
    records = [record for record in read_metrics(runs / "life" / stage / "metrics.jsonl") if "learning_rate" in record]
    assert len(records) >= 4
    for record in records:
        assert value("learning_rate", facts.with_figures(record)) == pytest.approx(record["learning_rate"], rel=1e-9)


@pytest.mark.parametrize("kind", ["cosine", "linear", "wsd", "constant"])
@pytest.mark.parametrize("warmup", [0, 7])
def test_the_learning_rate_follows_the_schedule(kind: str, warmup: int) -> None:
    stage = StageSettings(kind="pretrain", data="x", steps=40, warmup=warmup, schedule=kind, learning_rate=3e-3)
    schedule = Schedule(kind, 3e-3, warmup, 40, 0.1)  # type: ignore[arg-type]
    for step in range(1, 41):
        facts = Facts(stage=stage, figures={"step": step})
        assert value("learning_rate", facts) == pytest.approx(schedule.learning_rate(step - 1), rel=1e-9)


def test_counts_agree_with_what_the_engine_announced(facts: Facts) -> None:
    started = facts.started
    assert started is not None
    assert value("tokens_per_step", facts) == started.tokens_per_step
    assert value("tokens", facts) >= facts.figures["tokens"]
    if started.kind != "dpo":  # rows of pairs are cut to the longest of them
        assert value("tokens", facts) == facts.figures["tokens"]
    assert value("parameters", facts) == started.parameters
    assert value("flops_per_token", facts) == started.flops_per_token
    rate = facts.figures["tokens_per_second"]
    assert value("step_time", facts) == started.tokens_per_step / rate
    if facts.figures.get("mfu") is not None:
        assert value("mfu", facts) == pytest.approx(rate * started.flops_per_token / facts.figures["mfu"])


def test_active_parameters_of_a_mixture(runs: Path) -> None:
    facts = facts_of_run(runs / "experts")
    assert facts.started is not None
    assert value("experts", facts) == facts.started.active_parameters
    shares = [share for layer in facts.figures["expert_load"] for share in layer]
    assert [value("expert_load", facts, place) for place in (0, 1, 2)] == [0.25, max(shares), min(shares)]
    assert value("balance_loss", facts, 0) == facts.figures["balance_loss"]


def test_what_lora_adds(runs: Path) -> None:
    facts = facts_of_run(runs / "life", "sft")
    assert facts.started is not None and facts.updates
    assert formulas_of("lora", facts)[1].value == facts.started.trained_parameters
    assert value("stage.lora.alpha", facts) == 8.0 / 4
    assert value("lora_update", facts, 0) == pytest.approx(sum(facts.updates.values()) / len(facts.updates))


def test_preferences_begin_at_ln_2(runs: Path) -> None:
    facts = facts_of_run(runs / "life", "dpo")
    assert value("dpo_loss", facts) == math.log(2)
    assert value("reward_margin", facts, 0) == facts.figures["reward_margin"]
    assert 0 < value("reward_margin", facts) < 1


def test_the_cache_is_as_large_as_the_engine_says(runs: Path) -> None:
    facts = facts_of_run(runs / "life")
    config = load_config(runs / "life" / "dpo" / "model")
    assert value("kv_cache", facts, 0) == kv_cache_bytes(config, config.max_position_embeddings, 4)
    assert value("kv_cache", facts, 1) == kv_cache_bytes(config, 1, 4)


def test_shapes_are_those_of_the_weights(runs: Path) -> None:
    facts = facts_of_run(runs / "life", "pretrain")
    found = {}
    with safe_open(runs / "life" / "pretrain" / "model" / "model.safetensors", "numpy") as weights:
        shapes = {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
    for name in ("attention", "feed_forward", "embeddings", "rms_norm"):
        for line in shapes_of(name, facts):
            tensor, _, sizes = line.partition("  ")
            if tensor.endswith("weight") and tensor != "weight":
                found[tensor] = tuple(int(part) for part in sizes.split("= (")[1][:-1].split(", "))
    assert len(found) == 8
    for tensor, shape in found.items():
        assert {value for key, value in shapes.items() if key.endswith(tensor)} == {shape}, tensor


def test_shapes_of_experts_are_those_of_the_weights(runs: Path) -> None:
    from workbench.model.weights import load_model

    model = load_model(runs / "experts" / "pretrain" / "model")
    state = {name.partition("mlp.")[2]: tuple(value.shape) for name, value in model.state_dict().items()}
    lines = dict(line.split("  ", 1) for line in shapes_of("experts", facts_of_run(runs / "experts")))
    for tensor, name in (
        ("gate.weight", "gate.weight"),
        ("gate_up_proj", "experts.gate_up_proj"),
        ("down_proj", "experts.down_proj"),
    ):
        assert lines[tensor].endswith(f"= ({', '.join(map(str, state[name]))})")


def test_a_profile_explains_itself_before_it_runs() -> None:
    facts = facts_of_profile(read_profile("quickstart"), "pretrain", "quickstart")
    assert value("tokens_per_step", facts) == 32 * 128
    told = explain(all_topics()["stage.learning_rate"], facts, "en")
    assert told.here == "learning_rate = 0.005" and told.allowed == "default 0.001" and not told.incomplete
    assert str(told.place).startswith("workbench/schedule.py:")
    assert explain(all_topics()["mfu"], facts, "en").incomplete


def test_an_explanation_is_text_in_either_language(runs: Path) -> None:
    facts = facts_of_run(runs / "life", "pretrain")
    known = topic("val_perplexity")
    assert known is not None
    english = plain_text(explain(known, facts, "en"), facts.run)
    assert "perplexity = exp(val_loss)" in english and "workbench/evaluation/perplexity.py:" in english
    assert f"= {facts.figures['val_perplexity']:.5g}" in english
    assert "困惑度" in plain_text(explain(known, facts, "zh"), facts.run)


def test_without_a_run_formulas_stay_symbols() -> None:
    assert formulas_of("val_perplexity", Facts()) == [Formula("perplexity = exp(val_loss)")]
    for name in RULES:
        formulas_of(name, Facts())  # raises nothing
        shapes_of(name, Facts())


def test_what_is_not_finite_stays_out() -> None:
    facts = Facts(figures={"loss": math.inf, "val_loss": 5000.0})
    assert formulas_of("loss", facts)[0].value is None
    assert formulas_of("val_perplexity", facts)[0].value is None


def test_a_changed_peak_is_the_one_that_counts() -> None:
    profile = parse_profile('[[stage]]\nkind = "pretrain"\ndata = "x"\nsteps = 10\nschedule = "constant"\n', "p")
    facts = replace(facts_of_profile(profile), peak=5e-4)
    assert value("learning_rate", facts) == 5e-4
