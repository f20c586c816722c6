"""What becomes of edits on the Profile screen while something is wrong, undone, or still being typed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.events import Key

from workbench.tui.app import WorkbenchApp
from workbench.tui.modals.choice import ChoiceModal
from workbench.tui.modals.diff import DiffModal
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


async def test_in_a_broken_text_only_the_broken_part_is_known(
    workbench: MakeApp, wait_until: Wait, small: Path, screen_text: ReadScreen
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, small)
        editor = screen.query_one(TomlEditor)
        broken = text(screen).replace("steps = 20", "steps = = 20")
        editor.focus()
        editor.load_text(broken)
        await wait_until(pilot, lambda: bool(screen.problems))
        await settled(screen, pilot, wait_until)
        signs = {entry.title: (entry.problems, entry.known) for entry in screen.query_one(SectionList).entries}
        assert signs["pretrain"] == (1, False)
        assert all(sign == (0, False) for title, sign in signs.items() if title != "pretrain")
        await wait_until(pilot, lambda: "the text is not valid TOML" in screen_text(app))


async def test_a_wrong_value_leaves_the_other_defaults_shown(workbench: MakeApp, wait_until: Wait, small: Path) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, small)
        await pilot.press("end", "left")  # the stage
        await wait_until(pilot, lambda: screen.section.title == "pretrain")
        await wait_until(pilot, lambda: control(screen, "name").placeholder == "pretrain")
        control(screen, "steps").value = "-3"
        await wait_until(pilot, lambda: bool(screen.problems))
        await settled(screen, pilot, wait_until)
        assert control(screen, "name").placeholder == "pretrain"


async def test_undoing_a_new_stage_returns_to_the_part_shown_before(
    workbench: MakeApp, wait_until: Wait, small: Path
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, small)
        await pilot.press("end", "left")
        await wait_until(pilot, lambda: screen.section.title == "pretrain")
        await pilot.press("a")
        await wait_until(pilot, lambda: isinstance(app.screen, ChoiceModal))
        await pilot.press("enter")  # the cursor stands on what most people add next
        await wait_until(pilot, lambda: screen.section.title == "sft")
        await settled(screen, pilot, wait_until)
        assert screen.problems == ()  # a new stage is sound: it is as long as its neighbour
        await pilot.press("ctrl+z")
        await wait_until(pilot, lambda: "sft" not in text(screen))
        assert screen.section.title == "pretrain"


async def test_letters_in_a_choice_change_no_stage(workbench: MakeApp, wait_until: Wait, small: Path) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, small)
        await pilot.press("end", "left")
        await wait_until(pilot, lambda: screen.section.title == "pretrain")
        await settled(screen, pilot, wait_until)
        screen.set_focus(control(screen, "format"))
        await pilot.press("a", "d", "J")
        await settled(screen, pilot, wait_until)
        assert text(screen) == SMALL and len(app.screen_stack) == 1


async def test_saving_waits_for_the_letters_before_it(workbench: MakeApp, wait_until: Wait, small: Path) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, small)
        await pilot.press("end", "left")
        await wait_until(pilot, lambda: screen.section.title == "pretrain")
        await settled(screen, pilot, wait_until)
        field = control(screen, "steps")
        screen.set_focus(field)
        field.cursor_position = len(field.value)
        for letter in "05":  # still on their way when the key that saves is here
            field.post_message(Key(letter, letter))
        screen.action_save()
        await wait_until(pilot, lambda: "steps = 2005" in small.read_text(encoding="utf-8"))
        assert not screen.unsaved()


async def test_f6_in_the_text_shows_the_difference(workbench: MakeApp, wait_until: Wait, small: Path) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, small)
        screen.query_one(TomlEditor).focus()
        await pilot.press("#")
        await wait_until(pilot, lambda: bool(screen.unsaved()))
        await pilot.press("f6")
        await wait_until(pilot, lambda: isinstance(app.screen, DiffModal))


@pytest.mark.parametrize(
    ("downs", "title", "fields", "hidden"),
    [
        (2, "lora", {"kind": "sft", "lora.rank": "16"}, "dpo.beta"),
        (3, "dpo", {"kind": "dpo", "dpo.loss": "sigmoid", "dpo.beta": "0.1", "lora.rank": ""}, None),
        (4, "dpo-lora", {"kind": "dpo", "lora.alpha": "32.0"}, None),
    ],
)
async def test_lora_and_preferences_are_picked_from_a_list_and_are_sound(
    workbench: MakeApp,
    wait_until: Wait,
    small: Path,
    downs: int,
    title: str,
    fields: dict[str, str],
    hidden: str | None,
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, small)
        await pilot.press("end", "left")
        await wait_until(pilot, lambda: screen.section.title == "pretrain")
        await pilot.press("a")
        await wait_until(pilot, lambda: isinstance(app.screen, ChoiceModal))
        await pilot.press("home", *["down"] * downs, "enter")
        await wait_until(pilot, lambda: screen.section.title == title)
        await settled(screen, pilot, wait_until)
        assert screen.problems == ()
        for label, value in fields.items():
            assert control(screen, label).value == value
        labels = [row.field.label for row in screen.query_one(SettingsForm).rows()]
        assert hidden is None or hidden not in labels
        assert "sequence_length = 64" in text(screen)


async def test_giving_a_rank_turns_lora_on_and_taking_it_out_off(
    workbench: MakeApp, wait_until: Wait, small: Path
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, wait_until, small)
        await pilot.press("a")
        await wait_until(pilot, lambda: isinstance(app.screen, ChoiceModal))
        await pilot.press("enter")
        await wait_until(pilot, lambda: screen.section.title == "sft")
        await settled(screen, pilot, wait_until)
        assert control(screen, "lora.alpha").placeholder == "", "there is no LoRA yet"
        screen.set_focus(control(screen, "lora.rank"))
        await pilot.press("1", "2")
        await settled(screen, pilot, wait_until)
        assert "[stage.lora]\nrank = 12" in text(screen)
        assert control(screen, "lora.alpha").placeholder == "16.0", "what now holds by itself"
        screen.set_focus(control(screen, "lora.rank"))
        await pilot.press("backspace", "backspace")
        await settled(screen, pilot, wait_until)
        assert "lora" not in text(screen)
