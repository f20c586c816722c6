"""The whole suite on one model: each measure by its own rule, all together by name."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from workbench.config import EvaluateSettings
from workbench.errors import DataError
from workbench.evaluation.battery import Battery, Measuring, Outcome
from workbench.evaluation.file_perplexity import check_measurable
from workbench.inference.generate import generate_greedy_batch
from workbench.model.transformer import Transformer
from workbench.tokenizer.chat_template import encode_conversation, encode_prompt
from workbench.tokenizer.tokenizer import Tokenizer


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def measured(
    model: Transformer, tokenizer: Tokenizer, tmp_path: Path, battery: Battery, told: list[Any] | None = None
) -> Outcome:
    outcome = Measuring(
        model,
        tokenizer,
        battery,
        precision="fp32",
        cache=tmp_path / "cache",
        on_progress=lambda *progress: None if told is None else told.append(progress),
        should_stop=lambda: False,
    ).run()
    assert outcome is not None
    return outcome


def nats(model: Transformer, ids: list[int], targets: list[bool]) -> tuple[float, int]:
    with torch.no_grad():
        logs = model(torch.tensor([ids]))[0].double().log_softmax(-1)
    chosen = [float(logs[place - 1, token]) for place, token in enumerate(ids) if place and targets[place]]
    return -sum(chosen), len(chosen)


def test_perplexity_of_texts_is_that_of_their_tokens(model: Transformer, tokenizer: Tokenizer, tmp_path: Path) -> None:
    texts = ["A short text.", "And another one, longer than that.", "三"]
    file = write(tmp_path / "texts.jsonl", [{"text": text} for text in texts])
    battery = Battery(EvaluateSettings(batch_size=2), perplexity=[file])
    scores = measured(model, tokenizer, tmp_path, battery)
    each = [[*tokenizer.encode(text), tokenizer.eos_token_id] for text in texts]
    parts = [nats(model, ids, [True] * len(ids)) for ids in each]
    mean = sum(part for part, _ in parts) / sum(count for _, count in parts)
    assert scores.counts["tokens"] == sum(count for _, count in parts)
    assert scores.scores["perplexity"] == pytest.approx(torch.tensor(mean).exp().item(), rel=1e-3)


def test_perplexity_of_conversations_counts_the_answers(
    model: Transformer, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    messages: Any = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}]
    file = write(tmp_path / "talk.jsonl", [{"messages": messages}])
    outcome = measured(model, tokenizer, tmp_path, Battery(EvaluateSettings(), perplexity=[file]))
    ids, trained = encode_conversation(tokenizer, messages)
    total, count = nats(model, ids, trained)
    assert outcome.counts["tokens"] == count < len(ids) - 1
    assert outcome.scores["perplexity"] == pytest.approx(torch.tensor(total / count).exp().item(), rel=1e-3)


def test_several_files_are_told_apart_and_together(model: Transformer, tokenizer: Tokenizer, tmp_path: Path) -> None:
    files = [write(tmp_path / f"{name}.jsonl", [{"text": name * 9}]) for name in ("one", "two")]
    scores = measured(model, tokenizer, tmp_path, Battery(EvaluateSettings(), perplexity=files)).scores
    assert set(scores) == {
        *("perplexity", "perplexity.one.jsonl", "perplexity.two.jsonl"),
        *("bits_per_byte", "bits_per_byte.one.jsonl", "bits_per_byte.two.jsonl"),
    }
    low, high = sorted([scores["perplexity.one.jsonl"], scores["perplexity.two.jsonl"]])
    assert low < scores["perplexity"] < high


def test_preferences_have_no_perplexity(tmp_path: Path) -> None:
    file = write(tmp_path / "pairs.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"}])
    with pytest.raises(DataError, match="holds preferences"):
        check_measurable(file)


def test_everything_at_once_is_told_by_name_and_kept(model: Transformer, tokenizer: Tokenizer, tmp_path: Path) -> None:
    settings = EvaluateSettings(
        prompts=["Once", "Twice upon"], prompt_tokens=7, max_new_tokens=3, throughput=True, batch_size=2
    )
    battery = Battery(
        settings,
        perplexity=[write(tmp_path / "t.jsonl", [{"text": "Some text."}])],
        choices=[write(tmp_path / "c.jsonl", [{"question": "?", "choices": ["a", "b"], "answer": 0}] * 3)],
        questions=[write(tmp_path / "q.jsonl", [{"question": "?", "answer": "a"}] * 4)],
        chat=True,
        limit=2,
    )
    told: list[Any] = []
    outcome = measured(model, tokenizer, tmp_path, battery, told)
    assert {name.partition(".")[0] for name in outcome.scores} == {
        *("perplexity", "bits_per_byte", "choice_accuracy", "choice_accuracy_by_length", "exact_match"),
        *("repetition", "distinct_1", "distinct_2", "distinct_3"),
        *("tokens_per_second_read", "tokens_per_second_written"),
    }
    assert (outcome.counts["choices"], outcome.counts["questions"], outcome.counts["prompts"]) == (2, 2, 2)
    assert all(done <= total for _, done, total, _ in told)
    outcome.write_records(tmp_path)
    records = [json.loads(line) for line in (tmp_path / "continuations.jsonl").read_text("utf-8").splitlines()]
    ids = encode_prompt(tokenizer, [{"role": "user", "content": "Once"}])
    (said,) = generate_greedy_batch(model, [ids], 7, tokenizer.stop_token_ids) or [[]]
    assert records[0]["text"] == tokenizer.decode(said, skip_special_tokens=True)
    assert {path.name for path in tmp_path.glob("*.jsonl")} >= {"answers.jsonl", "choices.jsonl"}


def test_a_stop_gives_nothing(model: Transformer, tokenizer: Tokenizer, tmp_path: Path) -> None:
    settings = EvaluateSettings(prompts=["Once"], throughput=True)
    for battery in (Battery(settings), Battery(EvaluateSettings(throughput=True))):
        measuring = Measuring(
            model,
            tokenizer,
            battery,
            precision="fp32",
            cache=tmp_path,
            on_progress=lambda *_: None,
            should_stop=lambda: True,
        )
        assert measuring.run() is None


def test_an_empty_battery_says_so() -> None:
    assert Battery(EvaluateSettings()).empty
    assert Battery(EvaluateSettings(verse_samples=3)).empty, "nothing begins the verses"
    assert not Battery(EvaluateSettings(throughput=True)).empty
