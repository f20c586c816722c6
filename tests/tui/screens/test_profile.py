"""The Profile screen: form and text over one draft, driven by keys."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Checkbox, Input

from workbench.estimate import count_parameters
from workbench.narration import count
from workbench.profile import find_profile, read_profile
from workbench.tui import profile_draft
from workbench.tui.app import WorkbenchApp
from workbench.tui.bridge import JobRequest
from workbench.tui.modals.ask import AskModal
from workbench.tui.modals.choice import ChoiceModal
from workbench.tui.modals.confirm import ConfirmModal
from workbench.tui.modals.diff import DiffModal
from workbench.tui.modals.error import ErrorModal
from workbench.tui.screens.profile import ProfileScreen
from workbench.tui.widgets.section_list import SectionList
from workbench.tui.widgets.settings_form import SettingsForm
from workbench.tui.widgets.toml_editor import TomlEditor

MakeApp = Callable[..., WorkbenchApp]
ReadScreen = Callable[[WorkbenchApp], str]
Wait = Callable[..., Any]

SMALL = """# my first model [/INST]
description = "small"

[model]
hidden_size = 64  # narrow
num_attention_heads = 4

[[stage]]
kind = "pretrain"
data = "bundled:pretrain.jsonl"
steps = 20
sequence_length = 64

# the end
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A profile of one's own in an otherwise empty current folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "small.toml"
    path.write_text(SMALL, encoding="utf-8")
    return path


async def opened(app: WorkbenchApp, pilot: Any, wait: Wait, profile: Path | str) -> ProfileScreen:
    await app.action_go("profile", profile)
    screen = app.current
    assert isinstance(screen, ProfileScreen)
    await settled(screen, pilot, wait)
    assert screen.draft is not None and screen.draft.name == Path(profile).stem
    return screen


async def settled(screen: ProfileScreen, pilot: Any, wait: Wait) -> None:
    """Wait until the draft as it stands was examined."""
    await pilot.pause(0.05)
    await wait(pilot, lambda: screen.examined)
    await pilot.pause()


def text(screen: ProfileScreen) -> str:
    assert screen.draft is not None
    return screen.draft.text


def control(screen: ProfileScreen, label: str) -> Any:
    return next(row.control for row in screen.query_one(SettingsForm).rows() if row.field.label == label)


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 50), (60, 18)])
async def test_it_begins_with_the_profile_for_beginners_and_what_it_takes(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, size: tuple[int, int]
) -> None:
    app = workbench()
    async with app.run_test(size=size) as pilot:
        await pilot.press("3")
        await wait_until(pilot, lambda: "quickstart.toml" in screen_text(app))
        profile = read_profile("quickstart")
        parameters = count_parameters(profile.model, profile.tokenizer.vocab_size).total
        told = (count(parameters), f"{parameters:,}")
        await wait_until(pilot, lambda: any(text in screen_text(app) for text in told))
        assert "tokenizer" in screen_text(app) and "sft" in screen_text(app)
        assert max(map(len, screen_text(app).splitlines())) <= size[0]


async def test_what_is_typed_in_the_form_changes_the_text_and_nothing_else(
    workbench: MakeApp, wait_until: Wait, small: Path
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, small)
        await pilot.press("j", "j", "enter", "down", "down", "down")  # run, tokenizer, model; its fourth field
        await pilot.press("ctrl+u", *"128")
        await settled(screen, pilot, wait_until)
        assert text(screen) == SMALL.replace("hidden_size = 64", "hidden_size = 128")
        assert screen.query_one(TomlEditor).text == text(screen)


async def test_a_new_key_stands_behind_the_last_of_its_table_and_comments_stay(
    workbench: MakeApp, wait_until: Wait, small: Path
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, small)
        await pilot.press("j", "j", "j", "enter")
        control(screen, "learning_rate").focus()
        await pilot.press(*"3e-3")
        await settled(screen, pilot, wait_until)
        assert text(screen) == SMALL.replace("sequence_length = 64\n", "sequence_length = 64\nlearning_rate = 3e-3\n")


async def test_what_is_typed_in_the_text_shows_in_the_form(workbench: MakeApp, wait_until: Wait, small: Path) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, small)
        await pilot.press("j", "j", "f3")
        editor = screen.query_one(TomlEditor)
        assert editor.has_focus
        editor.move_cursor((4, len("hidden_size = 64")))
        await pilot.press("0")
        await settled(screen, pilot, wait_until)
        field = control(screen, "hidden_size")
        assert isinstance(field, Input) and field.value == "640"


async def test_defaults_that_follow_from_other_sizes_are_shown(
    workbench: MakeApp, wait_until: Wait, small: Path
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, small)
        await pilot.press("j", "j")
        await pilot.pause(0.2)
        assert control(screen, "intermediate_size").placeholder == "192"
        assert control(screen, "head_dim").placeholder == "16"


async def test_switches_and_choices_are_written_as_toml(workbench: MakeApp, wait_until: Wait, small: Path) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, small)
        await pilot.press("j", "j", "enter")
        box = control(screen, "tie_word_embeddings")
        assert isinstance(box, Checkbox) and box.value
        box.focus()
        await pilot.press("space")
        control(screen, "family").focus()
        await pilot.press("enter", "down", "enter")
        await settled(screen, pilot, wait_until)
        assert "tie_word_embeddings = false" in text(screen)
        assert 'family = "llama1"' in text(screen)


async def test_f8_lets_the_default_hold(workbench: MakeApp, wait_until: Wait, small: Path) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, small)
        await pilot.press("j", "j", "enter", "down", "down", "down", "f8")
        await settled(screen, pilot, wait_until)
        assert "hidden_size" not in text(screen)
        assert control(screen, "hidden_size").value == ""


async def test_undo_takes_form_and_text_edits_back_in_their_order(
    workbench: MakeApp, wait_until: Wait, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile_draft, "TOGETHER_SECONDS", float("inf"))  # however slowly the machine types
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, small)
        await pilot.press("j", "j", "enter", "down", "down", "down", "ctrl+u", *"128", "f3", *"# x")
        await settled(screen, pilot, wait_until)
        assert "# x" in text(screen) and "128" in text(screen)
        await pilot.press("ctrl+z")
        assert "# x" not in text(screen) and "128" in text(screen)
        await pilot.press("ctrl+z")
        await pilot.pause()
        assert text(screen) == SMALL == screen.query_one(TomlEditor).text
        await pilot.press("ctrl+y")
        assert "128" in text(screen)


async def test_a_problem_is_listed_with_its_key_and_leads_to_the_field(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, small: Path
) -> None:
    small.write_text(SMALL.replace("steps = 20", 'steps = "[/many]"'), encoding="utf-8")
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, small)
        assert "stage.pretrain.steps: '[/many]' is not allowed" in screen_text(app)
        await pilot.press("f4")
        await settled(screen, pilot, wait_until)
        await pilot.press("enter")
        await wait_until(pilot, lambda: screen.focused is control(screen, "steps"))


async def test_an_unknown_key_leads_to_its_line(workbench: MakeApp, wait_until: Wait, small: Path) -> None:
    small.write_text(SMALL.replace("hidden_size", "hiden_size"), encoding="utf-8")
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(app, pilot, wait_until, small)
        await pilot.press("f4")
        await settled(screen, pilot, wait_until)
        await pilot.press("enter")
        editor = screen.query_one(TomlEditor)
        await wait_until(pilot, lambda: editor.has_focus and editor.cursor_location[0] == 4)


async def test_text_that_is_no_toml_is_told_and_does_not_reach_the_form(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, small: Path
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, small)
        await pilot.press("j", "j", "f3", "ctrl+home", *"[[")
        await settled(screen, pilot, wait_until)
        assert "is not valid TOML" in screen_text(app)
        assert control(screen, "hidden_size").value == "64"
        await pilot.press("f5")
        await wait_until(pilot, lambda: isinstance(app.screen, ErrorModal))
        assert app.bridge.active is None


async def test_missing_files_are_problems_and_stop_a_run(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, small: Path
) -> None:
    small.write_text(SMALL.replace("bundled:pretrain.jsonl", "nowhere.jsonl"), encoding="utf-8")
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, small)
        assert [problem.key for problem in screen.problems] == ["stage.pretrain.data"]
        await pilot.press("f5")
        await wait_until(pilot, lambda: isinstance(app.screen, ErrorModal))
        assert "nowhere.jsonl" in screen_text(app) and app.bridge.active is None


async def test_a_bundled_profile_is_saved_as_a_copy(
    workbench: MakeApp, wait_until: Wait, small: Path, tmp_path: Path
) -> None:
    bundled = find_profile("quickstart")
    before = bundled.read_text(encoding="utf-8")
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, "quickstart")
        await pilot.press("h", "enter", *"X", "ctrl+s")  # the end of the description
        await wait_until(pilot, lambda: isinstance(app.screen, AskModal))
        await pilot.press("enter")
        copy = tmp_path / "profiles" / "quickstart.toml"
        await wait_until(pilot, copy.is_file)
        assert copy.read_text(encoding="utf-8") == text(screen) != before
        assert bundled.read_text(encoding="utf-8") == before
        assert screen.unsaved() == "" and screen.draft is not None and screen.draft.path == copy.resolve()


async def test_a_bundled_file_cannot_be_chosen_to_save_to(workbench: MakeApp, wait_until: Wait, small: Path) -> None:
    bundled = find_profile("quickstart")
    before = bundled.read_text(encoding="utf-8")
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, "quickstart")
        await pilot.press("h", "enter", *"X", "ctrl+s")
        await wait_until(pilot, lambda: isinstance(app.screen, AskModal))
        await pilot.press("ctrl+u", *str(bundled), "enter")
        await pilot.pause(0.2)
        assert bundled.read_text(encoding="utf-8") == before and screen.unsaved()


async def test_saving_writes_the_file_and_leaving_asks_only_before(
    workbench: MakeApp, wait_until: Wait, small: Path
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, small)
        await pilot.press("j", "j", "enter", "down", "down", "down", "ctrl+u", *"32", "ctrl+q")
        await wait_until(pilot, lambda: isinstance(app.screen, ConfirmModal))
        await pilot.press("escape", "ctrl+s")
        await wait_until(pilot, lambda: "hidden_size = 32  # narrow" in small.read_text(encoding="utf-8"))
        await wait_until(pilot, lambda: screen.unsaved() == "")


async def test_a_file_changed_by_another_program_is_not_overwritten_unasked(
    workbench: MakeApp, wait_until: Wait, small: Path
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        await opened(app, pilot, wait_until, small)
        small.write_text("# other", encoding="utf-8")
        await pilot.press("j", "j", "enter", "down", "down", "down", "ctrl+u", *"32", "ctrl+s")
        await wait_until(pilot, lambda: isinstance(app.screen, ConfirmModal))
        await pilot.press("n")
        await pilot.pause()
        assert small.read_text(encoding="utf-8") == "# other"


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[JobRequest]:
    """What the app was asked to run; nothing is."""
    asked: list[JobRequest] = []

    async def start_job(app: WorkbenchApp, request: JobRequest) -> None:
        asked.append(request)

    monkeypatch.setattr(WorkbenchApp, "start_job", start_job)
    return asked


async def test_f5_runs_the_unsaved_edits_as_they_stand(
    workbench: MakeApp, wait_until: Wait, small: Path, requests: list[JobRequest]
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        await opened(app, pilot, wait_until, small)
        await pilot.press("j", "j", "enter", "down", "down", "down", "ctrl+u", *"32", "f5")
        await wait_until(pilot, lambda: bool(requests))
        assert requests[0].name == "small"
        assert requests[0].profile is not None and requests[0].profile.model.hidden_size == 32


async def test_a_run_of_that_name_lets_another_be_chosen(
    workbench: MakeApp, wait_until: Wait, small: Path, requests: list[JobRequest]
) -> None:
    app = workbench()
    (app.workspace / "small").mkdir()
    async with app.run_test(size=(120, 36)) as pilot:
        await opened(app, pilot, wait_until, small)
        await pilot.press("f5")
        await wait_until(pilot, lambda: isinstance(app.screen, AskModal))
        await pilot.press("enter")
        await wait_until(pilot, lambda: bool(requests))
        assert requests[0].name == "small-2"


async def test_f6_shows_what_was_changed(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, small: Path
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        await opened(app, pilot, wait_until, small)
        await pilot.press("j", "j", "enter", "down", "down", "down", "ctrl+u", *"32", "f6")
        await wait_until(pilot, lambda: isinstance(app.screen, DiffModal))
        await pilot.pause(0.2)
        assert "-hidden_size = 64  # narrow" in screen_text(app) and "+hidden_size = 32  # narrow" in screen_text(app)


async def test_stages_are_added_moved_and_removed(workbench: MakeApp, wait_until: Wait, small: Path) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, small)
        assert screen.draft is not None
        await pilot.press("j", "j", "j", "a")
        await wait_until(pilot, lambda: isinstance(app.screen, ChoiceModal))
        await pilot.press("enter")  # what most people add next
        await wait_until(pilot, lambda: screen.section.title == "sft")
        await settled(screen, pilot, wait_until)
        assert [section.title for section in screen.draft.sections()][4:6] == ["pretrain", "sft"]
        assert screen.section.title == "sft" and not screen.problems
        await pilot.press("K")
        await settled(screen, pilot, wait_until)
        assert [section.title for section in screen.draft.sections()][4:6] == ["sft", "pretrain"]
        await pilot.press("d")
        await wait_until(pilot, lambda: isinstance(app.screen, ConfirmModal))
        await pilot.press("y")
        await settled(screen, pilot, wait_until)
        assert [section.title for section in screen.draft.sections()][4:5] == ["pretrain"]
        assert "# my first model [/INST]" in text(screen) and "# narrow" in text(screen)


async def test_a_profile_that_is_not_there_is_one_message(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        await app.action_go("profile", "no-such-thing[/b]")
        await wait_until(pilot, lambda: "no such profile" in screen_text(app))


async def test_where_it_is_narrow_f3_exchanges_form_and_text(workbench: MakeApp, wait_until: Wait, small: Path) -> None:
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(app, pilot, wait_until, small)
        assert screen.query_one(SettingsForm).region.height and not screen.query_one(TomlEditor).region.height
        await pilot.press("f3")
        await pilot.pause()
        assert screen.query_one(TomlEditor).region.height and not screen.query_one(SettingsForm).region.height
        await pilot.press("escape")
        assert screen.focused is screen.query_one(SectionList)


async def test_keys_faster_than_the_screen_are_not_lost(workbench: MakeApp, wait_until: Wait, small: Path) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, small)
        await pilot.press("j", "j", "enter", "down", "down", "down", "ctrl+u")
        for key in "1234":
            app.simulate_key(key)  # all of them before anything is drawn
        await settled(screen, pilot, wait_until)
        assert control(screen, "hidden_size").value == "1234" and "hidden_size = 1234  # narrow" in text(screen)
