"""What lm-evaluation-harness asks of a model: the same numbers as reading each text alone, by the harness too."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from workbench.errors import UsageError
from workbench.inference.generate import generate
from workbench.inference.sampling import SamplingSettings
from workbench.interop.harness import HarnessRequests, harness_model
from workbench.model.configuration import ModelConfig
from workbench.model.initialize import initialize
from workbench.model.transformer import Transformer
from workbench.model.weights import save_model
from workbench.tokenizer.characters import byte_tokenizer
from workbench.tokenizer.chatml import DEFAULT_TEMPLATE
from workbench.tokenizer.tokenizer import Tokenizer

CONFIG = ModelConfig(
    vocab_size=300,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=48,
)


@dataclass
class Request:
    """As the harness makes them, as far as a model looks at them."""

    args: tuple[Any, ...]


@pytest.fixture
def harness() -> HarnessRequests:
    model = Transformer(CONFIG)
    initialize(model, seed=3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8.0)  # far from uniform, so that a wrong position shows
    return HarnessRequests(model.eval(), Tokenizer(byte_tokenizer(), {}, DEFAULT_TEMPLATE), batch_size=3)


def by_hand(harness: HarnessRequests, context: list[int], continuation: list[int]) -> tuple[float, bool]:
    """The sum of the log-probabilities, one text alone, all logits at once, in float64."""
    ids = torch.tensor([[*context, *continuation]])
    with torch.no_grad():
        logs = harness.model(ids[:, :-1])[0].double().log_softmax(-1)  # the last token is predicted, not read
    places = range(len(context) - 1, ids.shape[1] - 1)
    wanted = ids[0, len(context) :].tolist()
    total = sum(float(logs[place, token]) for place, token in zip(places, wanted, strict=True))
    greedy = all(int(logs[place].argmax()) == token for place, token in zip(places, wanted, strict=True))
    return total, greedy


def test_likelihoods_are_those_of_each_text_alone(harness: HarnessRequests) -> None:
    pairs = [("The sky", " is blue"), ("A", " b"), ("", "no context"), ("ends in a space ", "x"), ("The sky", " is")]
    found = harness.loglikelihood([Request(pair) for pair in pairs])
    encode = harness.tokenizer.encode
    expected = [
        by_hand(harness, encode("The sky"), encode(" is blue")),
        by_hand(harness, encode("A"), encode(" b")),
        by_hand(harness, [harness.tokenizer.eos_token_id], encode("no context")),
        by_hand(harness, encode("ends in a space"), encode(" x")),
        by_hand(harness, encode("The sky"), encode(" is")),
    ]
    for (ours, our_greedy), (theirs, their_greedy) in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-3)  # float32 logits of some tens, ten of them
        assert our_greedy == their_greedy


def test_what_greedy_decoding_gives_is_called_greedy(harness: HarnessRequests) -> None:
    prompt = harness.tokenizer.encode("Once")
    ids = list(generate(harness.model, prompt, SamplingSettings(temperature=0, max_new_tokens=3), ()))
    from workbench.inference.likelihood import continuation_likelihoods

    found = continuation_likelihoods(harness.model, [(prompt, ids), (prompt, [ids[0], (ids[1] + 1) % 300])])
    assert found is not None
    assert [each.greedy for each in found] == [True, False]


@pytest.mark.parametrize("length", [1, 20, 48, 49, 96, 120])
def test_a_rolling_text_predicts_each_token_once_with_all_the_context_that_fits(
    harness: HarnessRequests, length: int
) -> None:
    text = "".join(chr(97 + place * 7 % 26) for place in range(length))
    ids, limit = harness.tokenizer.encode(text), 48
    whole = [harness.tokenizer.eos_token_id, *ids]
    expected = 0.0
    for place in range(1, len(whole)):
        window = (place - 1) // limit
        last = window == (len(ids) - 1) // limit
        begin = max(0, len(ids) - limit) if last else window * limit
        expected += by_hand(harness, whole[begin:place], whole[place : place + 1])[0]
    (found,) = harness.loglikelihood_rolling([Request((text,))])
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_text_ends_before_the_first_stop_and_at_its_length(harness: HarnessRequests) -> None:
    free, short = harness.generate_until(
        [Request(("abc", {"max_gen_toks": 12})), Request(("abc", {"max_gen_toks": 5, "until": []}))]
    )
    alone = list(
        generate(
            harness.model,
            harness.tokenizer.encode("abc"),
            SamplingSettings(temperature=0, max_new_tokens=12),
            harness.tokenizer.stop_token_ids,
        )
    )
    assert free == harness.tokenizer.decode(alone, skip_special_tokens=True)
    assert short == harness.tokenizer.decode(alone[:5], skip_special_tokens=True)
    middle = free[len(free) // 2]
    (cut,) = harness.generate_until([Request(("abc", {"max_gen_toks": 12, "until": [middle]}))])
    assert cut == free.split(middle)[0]


def test_chance_is_used_only_when_asked_for(harness: HarnessRequests) -> None:
    settings = {"max_gen_toks": 8, "temperature": 5.0, "do_sample": True, "seed": 1}
    greedy = {"max_gen_toks": 8, "temperature": 0.0, "do_sample": False}
    sampled, again, plain, cold = harness.generate_until(
        [Request(("abc", each)) for each in (settings, settings, {"max_gen_toks": 8}, greedy)]
    )
    assert sampled == again != plain == cold


def test_a_chat_is_read_with_its_control_tokens(harness: HarnessRequests) -> None:
    text = harness.apply_chat_template([{"role": "user", "content": "Hi"}])
    assert harness.encode(text) != harness.tokenizer.encode(text)
    bare = HarnessRequests(harness.model, Tokenizer(byte_tokenizer(), {}, None), 1, name="bare")
    with pytest.raises(UsageError, match="has no chat template"):
        bare.apply_chat_template([{"role": "user", "content": "Hi"}])


@pytest.fixture
def directory(harness: HarnessRequests, tmp_path: Path) -> Path:
    save_model(harness.model, tmp_path / "model")
    harness.tokenizer.save(tmp_path / "model")
    return tmp_path / "model"


def test_without_the_harness_it_says_what_to_install(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "lm_eval.api.model", None)
    with pytest.raises(UsageError, match=r"llm-workbench\[lm-eval\]"):
        harness_model(directory)


def test_the_harness_drives_a_model(directory: Path, harness: HarnessRequests, tmp_path: Path) -> None:
    """Its own tasks on its own code: multiple choice, rolling likelihood and generation."""
    lm_eval = pytest.importorskip("lm_eval", reason="the extra lm-eval is not installed")
    from lm_eval.tasks import TaskManager

    rows = [{"question": f"Letter {n}", "choices": ["b", "xyz"], "answer": n % 2} for n in range(6)]
    (tmp_path / "rows.jsonl").write_text("".join(f"{row}\n".replace("'", '"') for row in rows), encoding="utf-8")
    common = f"""
dataset_path: json
dataset_kwargs: {{data_files: {{test: {tmp_path / "rows.jsonl"}}}}}
test_split: test
"""
    tasks = {
        "choosing": common
        + """
task: choosing
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metric_list: [{metric: acc}, {metric: acc_norm}]
""",
        "rolling": common
        + """
task: rolling
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{question}}"
metric_list: [{metric: bits_per_byte}]
""",
        "writing": common
        + """
task: writing
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "b"
generation_kwargs: {max_gen_toks: 4, until: ["q"], do_sample: false}
metric_list: [{metric: exact_match}]
""",
    }
    folder = tmp_path / "tasks"
    folder.mkdir()
    for name, text in tasks.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    model = harness_model(directory, device="cpu")
    found = lm_eval.simple_evaluate(
        model=model, tasks=list(tasks), task_manager=manager, bootstrap_iters=0, log_samples=False
    )["results"]

    def weigh(row: dict[str, Any]) -> list[float]:
        pairs = [Request((row["question"], f" {choice}")) for choice in row["choices"]]
        return [score for score, _ in harness.loglikelihood(pairs)]

    right = sum(scores.index(max(scores)) == row["answer"] for row in rows for scores in [weigh(row)])
    assert found["choosing"]["acc,none"] == pytest.approx(right / len(rows))
    texts = [row["question"] for row in rows]
    nats = -sum(harness.loglikelihood_rolling([Request((text,)) for text in texts]))
    in_bytes = nats / torch.log(torch.tensor(2.0)).item() / sum(len(text.encode()) for text in texts)
    assert found["rolling"]["bits_per_byte,none"] == pytest.approx(in_bytes, rel=1e-5)
    assert found["writing"]["exact_match,none"] == 0.0
