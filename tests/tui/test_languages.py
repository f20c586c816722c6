"""Every screen in Chinese: no English sentence is left, wide characters stand right, and languages change in place."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from workbench import events
from workbench.language import use_language
from workbench.preferences import preference
from workbench.tui.actions import MODES
from workbench.tui.app import WorkbenchApp
from workbench.tui.bridge import JobRequest
from workbench.tui.language_choice import speak
from workbench.tui.modals.help import HelpModal
from workbench.tui.widgets.row_detail import RowDetail
from workbench.tui.widgets.row_list import RowList
from workbench.tui.widgets.run_table import RunTable
from workbench.tui.widgets.toml_editor import TomlEditor

MakeApp = Callable[..., WorkbenchApp]
ReadScreen = Callable[[WorkbenchApp], str]
Wait = Callable[..., Any]
SIZES = [(80, 24), (120, 36), (200, 50)]
DATA = (TomlEditor, RowList, RowDetail)
BOXES = "─━│┃╭╮╰╯┏┓┗┛"
KEPT = re.compile(
    r"Once upon a time.*|Intel.*|expected .*|llm-workbench[a-z -]*|bundled:[a-z.]+|Logit lens|quickstart.*|"
    r"# .*|[a-z_]+ = .*|tiny pretrain|(enter|esc|tab|space|end)( |$)"
)
"""English that stays: what models and people wrote, names, keys, TOML."""


@pytest.fixture
def chinese() -> Iterator[None]:
    """Speak Chinese for one test."""
    use_language("zh")
    yield
    use_language("en")


def script(beginning: list[events.Event], make_step: Callable[..., events.Event]) -> list[events.Event]:
    """A run of which every pane has something to tell."""
    return [
        *beginning,
        events.DataReady(
            stage="pretrain",
            documents=1200,
            validation_documents=20,
            tokens_trained=90_000,
            documents_truncated=0,
            tokens=90_000,
            rows_read=1300,
            rows_rejected=3,
            from_cache=False,
            seconds=2.0,
        ),
        events.Warned(stage="pretrain", message="reading the data"),
        *(make_step(number, 5 - number / 20) for number in range(1, 40)),
        events.Validated(
            stage="pretrain", step=39, val_loss=3.1, val_perplexity=22.2, val_bits_per_byte=1.4, best=True, seconds=1.0
        ),
        events.SampleMade(stage="pretrain", step=39, prompt="Once upon a time ", text="there was a fox", seed=1),
        events.CheckpointSaved(stage="pretrain", step=39, path="x", size_bytes=10**7, seconds=0.4),
        events.Diagnosed(
            stage="pretrain",
            step=39,
            finding="learning_rate_high",
            severity="error",
            since=20,
            cause="the loss is 5.20, above the 3.10 it started with: at a learning rate of 1e-2 the steps are too long",
            cure="start the stage again with a learning rate of about 1e-3, or a longer warmup (now 5 steps)",
        ),
    ]


def words_on(app: WorkbenchApp) -> str:
    """The characters on the screen but those of panes that show files and data as they are."""
    strips: Any = app.screen._compositor.render_strips(app.screen.size)
    data = [widget.region for kind in DATA for widget in app.screen.query(kind)]
    boxes = [box.region for box in app.screen.query(".box")]  # of a modal; around it the screen below shines through
    lines = []
    for y, strip in enumerate(strips):
        x, line = 0, ""
        for character in "".join(segment.text for segment in strip):
            hidden = any(region.contains(x, y) for region in data)
            outside = bool(boxes) and not any(region.contains(x, y) for region in boxes)
            line += " " if hidden or outside else character
            x += cell_len(character)
        lines.append(line.rstrip())
    return "\n".join(lines)


def english_in(text: str) -> list[str]:
    """Pairs of English words that are not to be there."""
    found = []
    for line in text.splitlines():
        for part in re.split(rf"[{BOXES}]|\s{{2,}}|[\u4e00-\u9fff，。；：！？（）“”]+", line):
            rest = KEPT.sub("", part.strip(" ▸●✓✗!·"))
            found += re.findall(r"\b[a-zA-Z]{3,} [a-z]{3,}.*", rest)
    return found


def misaligned(text: str, width: int) -> list[str]:
    """Lines that do not reach from edge to edge of a box drawn to both."""
    lines = [line for line in text.splitlines() if line[:1] in "│┃" and line[:1]]
    return [line for line in lines if cell_len(line) != width]


async def shown(app: WorkbenchApp, pilot: Any, mode: str, request: JobRequest, wait: Wait) -> None:
    if mode == "train":
        await app.start_job(request)
        await wait(pilot, lambda: app.current.MODE == "train" and bool(app.bridge.shown.state.highlights))  # type: ignore[union-attr]
        await wait(pilot, lambda: any(stage.findings for stage in app.bridge.shown.state.stages.values()))  # type: ignore[union-attr]
    elif mode != "home":
        await app.action_go(mode)
    await pilot.pause(1.2)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", MODES)
async def test_no_english_is_left_and_boxes_close(
    mode: str,
    size: tuple[int, int],
    chinese: None,
    workbench: MakeApp,
    request_of_tiny: JobRequest,
    run_beginning: Callable[..., Any],
    make_step: Callable[..., Any],
    wait_until: Wait,
    screen_text: ReadScreen,
) -> None:
    app = workbench(script(run_beginning(), make_step))
    async with app.run_test(size=size) as pilot:
        await shown(app, pilot, mode, request_of_tiny, wait_until)
        text = screen_text(app)
        assert english_in(words_on(app)) == []
        assert misaligned(text, size[0]) == []
        await pilot.press("f1")
        await wait_until(pilot, lambda: isinstance(app.screen, HelpModal))
        await pilot.pause(0.1)
        assert english_in(words_on(app)) == []


@pytest.mark.parametrize("mode", MODES)
async def test_english_screens_have_no_chinese_words_and_closed_boxes(
    mode: str,
    workbench: MakeApp,
    request_of_tiny: JobRequest,
    run_beginning: Callable[..., Any],
    make_step: Callable[..., Any],
    wait_until: Wait,
    screen_text: ReadScreen,
) -> None:
    app = workbench(script(run_beginning(), make_step))
    async with app.run_test(size=SIZES[0]) as pilot:
        await shown(app, pilot, mode, request_of_tiny, wait_until)
        assert not re.search(r"[\u4e00-\u9fff]", words_on(app))
        assert misaligned(screen_text(app), SIZES[0][0]) == []


async def test_the_language_changes_where_one_stands_and_is_remembered(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, tmp_path: Path
) -> None:
    config = tmp_path / "home" / "config" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('# mine\n[keymap]\n"app.jump" = "f7"\n', encoding="utf-8")
    app = workbench()
    try:
        async with app.run_test(size=(120, 36)) as pilot:
            await app.action_go("profile")
            await pilot.pause(0.5)
            await app.action_go("home")
            await wait_until(pilot, lambda: "No runs yet." in screen_text(app))
            speak(app, "zh")
            await wait_until(pilot, lambda: "还没有任何运行" in screen_text(app))
            text = screen_text(app)
            assert "运行" in str(app.screen.query_one(RunTable).border_title) and english_in(text) == []
            await app.action_go("profile")
            await wait_until(pilot, lambda: "估算" in screen_text(app) and english_in(words_on(app)) == [])
            speak(app, "en")
            await wait_until(pilot, lambda: not re.search(r"[\u4e00-\u9fff]", words_on(app)))
            assert "Estimate" in screen_text(app)
    finally:
        use_language("en")
    assert preference("language") == "en"
    assert config.read_text(encoding="utf-8").startswith('# mine\nlanguage = "en"\n')


async def test_the_palette_finds_actions_by_either_language(
    chinese: None, workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.press("ctrl+p", *"语言")
        await wait_until(pilot, lambda: "工作台：语言" in screen_text(app))
        await pilot.press("ctrl+u", *"theme")
        await wait_until(pilot, lambda: "工作台：配色" in screen_text(app))
