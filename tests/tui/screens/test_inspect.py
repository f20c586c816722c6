"""The Inspect screen, driven by keys over a real tiny model on the disk."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workbench.config import TokenizerSettings
from workbench.tui.app import WorkbenchApp
from workbench.tui.inspected import earlier_model

MakeApp = Callable[..., WorkbenchApp]
ReadScreen = Callable[[WorkbenchApp], str]
Wait = Callable[..., Any]
TEXT = "the old fish [/INST]"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with a random model of two layers and a small byte-pair tokenizer."""
    import torch

    from workbench.model.configuration import ModelConfig
    from workbench.model.initialize import initialize
    from workbench.model.transformer import Transformer
    from workbench.model.weights import save_model
    from workbench.tokenizer.bpe import train_tokenizer

    torch.set_num_threads(1)
    texts = ["the old fish and the old fisherman sell fish"] * 20
    settings = TokenizerSettings(kind="bpe", vocab_size=300)
    tokenizer = train_tokenizer(settings, texts, on_progress=lambda *_: None, should_stop=lambda: False)
    assert tokenizer is not None
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=64,
    )
    transformer = Transformer(config)
    initialize(transformer, seed=1)
    run = tmp_path_factory.mktemp("runs") / "tiny"
    directory = run / "pretrain/model"
    directory.mkdir(parents=True)
    save_model(transformer, directory)
    tokenizer.save(directory)
    (run / "profile.toml").write_text('[[stage]]\nname = "pretrain"\nkind = "pretrain"\n', encoding="utf-8")
    return run


async def opened(app: WorkbenchApp, pilot: Any, wait: Wait, model: Path) -> Any:
    """The screen with the model loaded and the text read."""
    shutil.copytree(model, app.workspace / "tiny")
    await pilot.press("6")
    screen: Any = app.current
    await wait(pilot, lambda: screen.inspected is not None)
    screen.query_one("#text").value = TEXT
    await pilot.press("e", "enter")
    await wait(pilot, lambda: screen.inspected.text == TEXT)
    return screen


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_every_view_is_computed_and_drawn(
    model: Path, workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, size: tuple[int, int]
) -> None:
    app = workbench()
    async with app.run_test(size=size) as pilot:
        screen = await opened(app, pilot, wait_until, model)
        expected = {
            "tokens": "bytes a token",
            "next": "entropy",
            "attention": "layer 0 of 2, mean of all heads",
            "lens": "layer 1",
            "experts": "no experts",
            "norms": "what is added to it",
            "weights": "layers.0.self_attn.q_proj",
            "kernels": "linear_cross_entropy",
        }
        for view, words in expected.items():
            assert screen.view == view
            await wait_until(pilot, lambda words=words: words in screen_text(app))
            await pilot.press("f2")
        assert screen.view == "tokens"


async def test_token_layer_and_head_are_chosen_by_keys(
    model: Path, workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, model)
        last = len(screen.inspected.ids) - 1
        assert screen.token == last
        await pilot.press("left", "right", "right", "left")
        assert screen.token == last - 1
        await wait_until(pilot, lambda: f"token {last - 1}" in screen_text(app))
        assert "its word is merged in" in screen_text(app)
        await pilot.press("f2", "f2", "l", "l", "d")
        await wait_until(pilot, lambda: "layer 1 of 2, head 0 of 4" in screen_text(app))
        await pilot.press("u", "h")
        await wait_until(pilot, lambda: "layer 0 of 2, mean" in screen_text(app))


async def test_the_kernel_lab_tells_what_computes_here_and_what_was_compiled(
    model: Path, workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 50)) as pilot:
        screen = await opened(app, pilot, wait_until, model)
        await pilot.press("f3")
        assert screen.view == "kernels"
        await wait_until(pilot, lambda: "compiled for sm_80" in screen_text(app))
        text = screen_text(app)
        assert "PyTorch" in text and "✗" not in text and "attention backward" in text
        await pilot.press("l")
        await wait_until(pilot, lambda: "compiled for sm_90" in screen_text(app))


def test_changes_are_told_from_the_oldest_checkpoint_or_the_stage_before(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for name in ("pretrain/model", "sft/checkpoints/step-000010", "sft/checkpoints/step-000020", "sft/model"):
        (run / name).mkdir(parents=True)
        (run / name / "config.json").touch()
    (run / "state.json").write_text('{"stages": ["pretrain", "sft"]}', encoding="utf-8")
    (run / "profile.toml").touch()
    first = run / "sft/checkpoints/step-000010"
    assert earlier_model(run / "sft/model") == ("step 10", first)
    assert earlier_model(run / "sft/checkpoints/step-000020") == ("step 10", first)
    assert earlier_model(first) == ("pretrain", run / "pretrain/model")
    assert earlier_model(run / "pretrain/model") is None
    assert earlier_model(tmp_path / "elsewhere") is None


async def test_an_empty_text_is_told_in_words(
    model: Path, workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, model)
        await pilot.press("e", "ctrl+u", "enter")
        await wait_until(pilot, lambda: "it has no tokens" in screen_text(app))
        await pilot.press("left", "right", "l", "f2", "d", "y")
        await pilot.pause()
        assert screen.inspected.ids == [] and app.is_running


async def test_without_a_model_it_says_how_to_get_one(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait
) -> None:
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("6")
        await wait_until(pilot, lambda: "No model yet" in screen_text(app))
        await pilot.press("f2", "left", "l", "y", "m")
        await pilot.pause()
        assert app.is_running


async def test_a_damaged_model_is_told_and_the_workbench_lives(
    model: Path, workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait
) -> None:
    app = workbench()
    shutil.copytree(model, app.workspace / "tiny")
    (app.workspace / "tiny/pretrain/model/model.safetensors").write_bytes(b"[/broken]")
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.press("6")
        await wait_until(pilot, lambda: "could not be opened" in screen_text(app))


async def test_the_keys_of_a_view_are_named_below_it(
    model: Path, workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, model)
        await wait_until(pilot, lambda: "→ Token" in screen_text(app).splitlines()[-1])
        before = screen.token
        await pilot.press("left")
        assert screen.token == before - 1


async def test_an_attention_map_uses_the_room_and_names_its_columns(
    model: Path, workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait
) -> None:
    app = workbench()
    async with app.run_test(size=(200, 50)) as pilot:
        screen = await opened(app, pilot, wait_until, model)
        screen.view = "tokens"
        await pilot.press("f2", "f2")
        await wait_until(pilot, lambda: "mean of all heads" in screen_text(app))
        lines = screen_text(app).splitlines()
        labels = screen.inspected.labels
        heads = next(line for line in lines if line.count(labels[0][:5]) and line.count(labels[1][:5]))
        first = next(line for line in lines[lines.index(heads) + 1 :] if labels[0] in line)
        assert "█" * 6 in first  # the first token can only look at itself


async def test_tokens_are_told_apart_without_a_background(
    model: Path, workbench: MakeApp, wait_until: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXTUAL_THEME", "workbench-light")
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        await opened(app, pilot, wait_until, model)
        await pilot.pause(0.2)
        strips: Any = app.screen._compositor.render_strips(app.screen.size)
        grounds = {segment.style.bgcolor.triplet for strip in strips[4:14] for segment in strip if segment.style}
        assert all(sum(ground) > 450 for ground in grounds if ground), grounds  # light, but for the cursor


async def test_other_vocabularies_take_other_shares(
    model: Path, workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, model)
        view = screen.inspected.known("tokens")
        inner = sum(
            v.numel() for n, v in screen.inspected.model.named_parameters() if "embed" not in n and "head" not in n
        )
        each = (view.parameters - inner) / view.vocab_size
        assert view.share_at(65_536) == pytest.approx(each * 65_536 / (each * 65_536 + inner))
        assert f"65,536 {view.share_at(65_536):.1%}" in screen_text(app)
