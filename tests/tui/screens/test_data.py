"""The Data screen over real files."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Static

from workbench.config import TokenizerSettings
from workbench.errors import WorkbenchError
from workbench.profile import find_profile, read_profile
from workbench.runs.store import create_run
from workbench.tokenizer.bpe import train_tokenizer
from workbench.tui.app import WorkbenchApp
from workbench.tui.data_file import DataFile
from workbench.tui.modals.choice import ChoiceModal
from workbench.tui.modals.confirm import ConfirmModal
from workbench.tui.screens.data import DataScreen
from workbench.tui.widgets.key_bar import KeyBar
from workbench.tui.widgets.length_pane import LengthPane
from workbench.tui.widgets.row_detail import RowDetail
from workbench.tui.widgets.row_list import TOKEN_CELLS, RowList, _tokens
from workbench.tui.widgets.rows_pane import RowsPane

MakeApp = Callable[..., WorkbenchApp]
ReadScreen = Callable[[WorkbenchApp], str]
Wait = Callable[..., Any]


@pytest.fixture
def run_with_tokenizer(tmp_path: Path) -> Path:
    """A run of quickstart's profile whose tokenizer is one token a byte."""
    run = create_run(tmp_path / "runs", "alpha", find_profile("quickstart").read_text(encoding="utf-8"))
    settings = TokenizerSettings(kind="bytes")
    tokenizer = train_tokenizer(settings, [], on_progress=lambda *_: None, should_stop=lambda: False)
    assert tokenizer is not None
    tokenizer.save(run.tokenizer_path)
    return run.path


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    """300 rows with the needle in two of them, and a blank line that is no row."""
    path = tmp_path / "rows.jsonl"
    texts = [f"row number {n}" + (" with a NEEDLE" if n in (40, 250) else "") for n in range(300)]
    lines = [json.dumps({"text": text}) for text in texts]
    path.write_text("\n".join([*lines[:10], "", *lines[10:]]) + "\n", encoding="utf-8")
    return path


async def opened(app: WorkbenchApp, pilot: Any, wait: Wait, path: Path, rows: int) -> DataScreen:
    await app.action_go("data", path)
    screen = app.current
    assert isinstance(screen, DataScreen)
    await wait(pilot, lambda: screen.file is not None and screen.query_one(RowList).total == rows)
    return screen


def told(app: WorkbenchApp) -> list[str]:
    return [str(notification.message) for notification in app._notifications]


def detail(screen: DataScreen) -> str:
    return screen.query_one(RowDetail).shown.plain


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 50), (60, 18)])
async def test_the_bundled_files_are_there_and_the_first_is_open(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, size: tuple[int, int]
) -> None:
    app = workbench()
    async with app.run_test(size=size) as pilot:
        await pilot.press("2")
        await wait_until(pilot, lambda: "pretrain.jsonl" in screen_text(app) and "row 0 of" in screen_text(app))
        assert max(map(len, screen_text(app).splitlines())) <= size[0]


async def test_keys_move_through_the_rows(workbench: MakeApp, wait_until: Wait, rows_file: Path) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, rows_file, 300)
        await pilot.press("j", "down")
        await wait_until(pilot, lambda: detail(screen) == "row number 2")
        await pilot.press("G")
        await wait_until(pilot, lambda: detail(screen) == "row number 299")
        await pilot.press("g", *"123", "enter")
        await wait_until(pilot, lambda: detail(screen) == "row number 123")
        await pilot.press("home")
        await wait_until(pilot, lambda: detail(screen) == "row number 0")


async def test_a_row_that_is_no_number_is_told(workbench: MakeApp, wait_until: Wait, rows_file: Path) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        await opened(app, pilot, wait_until, rows_file, 300)
        await pilot.press("g", *"[x]", "enter")
        await wait_until(pilot, lambda: "[x] is not a row's number" in told(app))


async def test_only_rows_in_view_are_read(workbench: MakeApp, wait_until: Wait, rows_file: Path) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, rows_file, 300)
        rows = screen.query_one(RowList)
        await wait_until(pilot, lambda: 0 in rows._previews)
        assert len(rows._previews) <= rows.size.height


async def test_search_finds_rows_and_n_goes_round(workbench: MakeApp, wait_until: Wait, rows_file: Path) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, rows_file, 300)
        rows, pane = screen.query_one(RowList), screen.query_one(RowsPane)
        await pilot.press("slash", *"needle", "enter")
        await wait_until(pilot, lambda: pane.matches == [40, 250] and rows.cursor == 40)
        await pilot.press("n")
        assert rows.cursor == 250
        await pilot.press("n")
        assert rows.cursor == 40
        await pilot.press("N")
        assert rows.cursor == 250
        await pilot.press("escape")
        assert pane.matches == [] and app.current is screen


async def test_what_stands_nowhere_is_told(workbench: MakeApp, wait_until: Wait, rows_file: Path) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        await opened(app, pilot, wait_until, rows_file, 300)
        await pilot.press("slash", *"[/INST]", "enter")
        await wait_until(pilot, lambda: "[/INST] stands in no row" in told(app))


async def test_text_like_markup_is_shown_as_it_is(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, tmp_path: Path
) -> None:
    path = tmp_path / "[red]odd[b].jsonl"
    turns = [{"role": "user", "content": "[INST] hi [/INST]"}, {"role": "assistant", "content": "[/b]"}]
    path.write_text(json.dumps({"messages": turns}) + "\n", encoding="utf-8")
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, path, 1)
        for _ in range(3):
            await wait_until(pilot, lambda: "[/INST]" in detail(screen) or screen.view == "tokens")
            await pilot.press("t")
        assert "[red]odd[b].jsonl" in screen_text(app)


async def test_the_token_view_tells_trained_tokens_from_the_others_by_form(
    workbench: MakeApp, wait_until: Wait, tmp_path: Path, run_with_tokenizer: Path
) -> None:
    path = tmp_path / "one.jsonl"
    turns = [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "xy"}]
    path.write_text(json.dumps({"messages": turns}) + "\n", encoding="utf-8")
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, path, 1)
        await wait_until(pilot, lambda: screen.tokenizer is not None and screen.survey is not None)
        await pilot.press("t")
        await wait_until(pilot, lambda: "trained" in detail(screen))
        shown = screen.query_one(RowDetail).shown
        underlined = "".join(shown.plain[a:b] for a, b, style in shown.spans if "underline" in str(style))
        assert underlined.removeprefix("trained") == "xy<|im_end|>"
        await pilot.press("i")
        await wait_until(pilot, lambda: "<|im_end|>:2" in detail(screen))


async def test_tokens_behind_the_row_are_struck(
    workbench: MakeApp, wait_until: Wait, tmp_path: Path, run_with_tokenizer: Path
) -> None:
    path = tmp_path / "long.jsonl"
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b" * 60 + "c" * 40}]
    path.write_text(json.dumps({"messages": turns}) + "\n", encoding="utf-8")
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, path, 1)
        await wait_until(pilot, lambda: screen.tokenizer is not None and screen.survey is not None)
        assert screen.limit == read_profile("quickstart").stage[1].sequence_length
        await pilot.press("t", "s", "ctrl+u", *"80", "enter")
        await wait_until(pilot, lambda: "row of 80" in detail(screen))
        shown = screen.query_one(RowDetail).shown
        struck = [shown.plain[a:b] for a, b, style in shown.spans if "strike" in str(style)][1:]
        assert screen.survey is not None
        assert len(struck) == screen.survey.lengths[0] - 81  # the last of 80 + 1 tokens is a target only
        assert set(struck[:-2]) == {"c"}


async def test_bad_rows_have_a_sign_a_line_and_a_reason(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, tmp_path: Path
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'{"text": "fine"}\n\n{"text": broken\n{"text": "\xff"}\n[1]\n{"nothing": 1}\n')
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, path, 5)
        await wait_until(pilot, lambda: screen.survey is not None and screen.survey.bad == 4)
        await wait_until(pilot, lambda: "✗ line 3: broken JSON" in screen_text(app))
        assert "✗ line 4: not UTF-8" in screen_text(app) and "4 ✗" in screen_text(app)
        await pilot.press("j")
        await wait_until(pilot, lambda: f"{path}, line 3" in detail(screen))


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("empty.jsonl", b"", "it is empty"),
        ("picture.bin", b"\x89PNG\x00\x01\x02", "binary file"),
        ("packed.jsonl", b"\x1f\x8b\x08\x00", "is compressed"),
        ("missing.jsonl", None, "no such file"),
    ],
)
async def test_a_file_without_rows_is_one_message(
    workbench: MakeApp,
    screen_text: ReadScreen,
    wait_until: Wait,
    tmp_path: Path,
    name: str,
    content: bytes | None,
    problem: str,
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        await app.action_go("data", path)
        message = app.current.query_one("#message", Static)
        await wait_until(pilot, lambda: problem in str(message.content))
        await wait_until(pilot, lambda: "✗" in screen_text(app))
        for key in ("t", "i", "j", "n", "y", "G", "f"):
            await pilot.press(key)
        assert message.display


async def test_a_path_is_added_by_key(workbench: MakeApp, wait_until: Wait, rows_file: Path) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.press("2")
        await wait_until(pilot, lambda: app.current.query_one(RowList).total > 0)
        await pilot.press("a", *str(rows_file), "enter")
        await wait_until(pilot, lambda: app.current.query_one(RowList).total == 300)


async def test_findings_lead_to_their_rows(workbench: MakeApp, wait_until: Wait, tmp_path: Path) -> None:
    path = tmp_path / "twice.jsonl"
    path.write_text('{"text": "once"}\n\n{"text": "two"}\n{"text": "once"}\n', encoding="utf-8")
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, path, 3)
        await pilot.press("f")
        await wait_until(pilot, lambda: isinstance(app.screen, ChoiceModal))
        await pilot.press("enter")
        await wait_until(pilot, lambda: screen.query_one(RowList).cursor == 2)


async def test_copying_takes_the_row_as_it_is_shown(
    workbench: MakeApp, wait_until: Wait, rows_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = workbench()
    copied: list[str] = []
    monkeypatch.setattr(app, "copy_to_clipboard", copied.append)
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, rows_file, 300)
        await wait_until(pilot, lambda: detail(screen) == "row number 0")
        await pilot.press("y")
        assert copied == ["row number 0"]


async def test_without_a_tokenizer_the_token_view_says_what_to_do(
    workbench: MakeApp, wait_until: Wait, rows_file: Path
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, rows_file, 300)
        await pilot.press("t")
        await wait_until(pilot, lambda: "No run has a tokenizer yet" in detail(screen))


async def test_where_it_is_narrow_the_sources_open_by_key(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait
) -> None:
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2")
        await wait_until(pilot, lambda: "row 0 of" in screen_text(app))
        assert "sft.jsonl" not in screen_text(app)
        await pilot.press("f9")
        await pilot.pause()
        assert "sft.jsonl" in screen_text(app)
        await pilot.press("j", "enter")
        await wait_until(pilot, lambda: app.current.file is not None and app.current.file.path.name == "sft.jsonl")  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_a_folder_is_told_and_its_first_file_opened(
    workbench: MakeApp, wait_until: Wait, rows_file: Path, size: tuple[int, int]
) -> None:
    folder = rows_file.parent / "folder"
    folder.mkdir()
    for name in ("b.jsonl", "a.jsonl"):
        (folder / name).write_text('{"text": "one"}\n', encoding="utf-8")
    app = workbench()
    async with app.run_test(size=size) as pilot:
        screen = await opened(app, pilot, wait_until, folder, 1)
        assert screen.file is not None and screen.file.path.name == "a.jsonl"
        await wait_until(pilot, lambda: any("2 files of folder" in message for message in told(app)))
        (rows_file.parent / "empty").mkdir()
        screen.receive(rows_file.parent / "empty")
        await wait_until(pilot, lambda: any("empty holds no data files" in message for message in told(app)))


async def test_keys_that_need_rows_are_offered_as_soon_as_there_are_rows(
    workbench: MakeApp, wait_until: Wait, rows_file: Path, tmp_path: Path
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.press("2")
        screen = app.current
        assert isinstance(screen, DataScreen)
        await wait_until(pilot, lambda: screen.file is not None)
        offered = lambda: {hint.label for hint in screen.query_one(KeyBar)._hints()[0] if hint.enabled}  # noqa: E731
        await wait_until(pilot, lambda: {"View", "Search", "Go to", "Findings"} <= offered())
        screen.receive(tmp_path / "none.bad")
        await wait_until(pilot, lambda: "Search" not in offered())
        screen.receive(rows_file)
        await wait_until(pilot, lambda: "Search" in offered())


@pytest.mark.parametrize(("tokens", "shown"), [(9_999, "9,999"), (210_019, "210k"), (1_000_000_000, "1G")])
def test_large_counts_leave_a_gap_to_the_number(tokens: int, shown: str) -> None:
    assert _tokens(tokens) == shown and len(shown) < TOKEN_CELLS


def test_lengths_of_the_first_rows_only_say_so() -> None:
    pane = LengthPane()
    pane.show_lengths([1, 2, 3], 2, complete=False)
    assert str(pane.border_subtitle) == "first 3 rows, 33.3% over 2"
    pane.show_lengths([1, 2, 3], None)
    assert str(pane.border_subtitle) == "3 rows"


async def test_lengths_are_those_of_all_rows_once_the_end_was_seen(
    workbench: MakeApp, wait_until: Wait, rows_file: Path, run_with_tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    surveyed = threading.Event()
    scan = DataFile.scan

    def late(file: DataFile, should_stop: Callable[[], bool]) -> None:
        surveyed.wait(60)
        scan(file, should_stop)

    monkeypatch.setattr(DataFile, "scan", late)
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        await app.action_go("data", rows_file)
        pane = app.screen.query_one(LengthPane)
        await wait_until(pilot, lambda: str(pane.border_subtitle).startswith("first 300 rows"))
        surveyed.set()
        await wait_until(pilot, lambda: str(pane.border_subtitle).startswith("300 rows"))


async def test_both_answers_of_a_pair_are_shown_with_what_is_trained_of_each(
    workbench: MakeApp, wait_until: Wait, tmp_path: Path, run_with_tokenizer: Path
) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"prompt": "ab", "chosen": "xy", "rejected": "z"}) + "\n", encoding="utf-8")
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, path, 1)
        await wait_until(pilot, lambda: screen.tokenizer is not None and screen.survey is not None)
        await wait_until(pilot, lambda: "✓ chosen" in detail(screen) and "✗ rejected" in detail(screen))
        await pilot.press("t")
        await wait_until(pilot, lambda: "trained" in detail(screen))
        shown = screen.query_one(RowDetail).shown
        underlined = "".join(shown.plain[a:b] for a, b, style in shown.spans if "underline" in str(style))
        assert underlined.split("trained") == ["", "xy<|im_end|>", "z<|im_end|>"]


async def test_what_was_counted_is_shown(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, tmp_path: Path
) -> None:
    path = tmp_path / "talk.jsonl"
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi there"}]
    chinese = [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "你好，请坐"}]
    empty = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": ""}]
    rows = [{"messages": each} for each in (turns, turns, chinese, empty)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    app = workbench()
    async with app.run_test(size=(120, 50)) as pilot:
        await opened(app, pilot, wait_until, path, 4)
        await wait_until(pilot, lambda: "written in" in screen_text(app))
        text = screen_text(app)
        assert "33.3%" in text and "1 answers" in text and "67%" in text and "Latin" in text


@pytest.mark.parametrize("works", [True, False])
async def test_a_data_set_is_got_by_key_and_opened(
    workbench: MakeApp,
    screen_text: ReadScreen,
    wait_until: Wait,
    rows_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    works: bool,
) -> None:
    from workbench.data import fetch as fetching

    asked: list[str] = []

    def fetch(name: str, *_: Any) -> list[Path]:
        asked.append(name)
        if not works:
            raise WorkbenchError("pip", "has no network", "try again")
        return [rows_file]

    monkeypatch.setattr(fetching, "fetch", fetch)
    monkeypatch.setattr(fetching, "fetched_path", lambda _: None)
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2", "F")
        await wait_until(pilot, lambda: isinstance(app.screen, ChoiceModal))
        await pilot.press("enter")
        await wait_until(pilot, lambda: isinstance(app.screen, ConfirmModal))
        assert "Licence" in screen_text(app)
        await pilot.press("escape")
        await wait_until(pilot, lambda: not isinstance(app.screen, ConfirmModal))
        assert asked == []
        await pilot.press("F")
        await wait_until(pilot, lambda: isinstance(app.screen, ChoiceModal))
        await pilot.press("enter")
        await wait_until(pilot, lambda: isinstance(app.screen, ConfirmModal))
        await pilot.press("y")
        if works:
            screen: Any = app.current
            await wait_until(pilot, lambda: screen.file is not None and screen.file.path == rows_file)
        else:
            await wait_until(pilot, lambda: "has no network" in screen_text(app))
        assert asked == [fetching.list_datasets()[0].name]
