"""The one table of actions."""

import pytest
from textual.binding import Binding

from workbench.tui.actions import ACTIONS, MODES, actions_of, bindings, keymap_problems
from workbench.tui.app import WorkbenchApp, load_screen
from workbench.tui.screens.base import WorkbenchScreen

TAKING_TURNS = {
    frozenset(pair)
    for pair in (
        ("train.pause", "train.continue"),
        ("chat.token_after", "chat.other_after"),  # in an X-ray, and in the conversation
        ("chat.token_before", "chat.other_before"),
        ("chat.choice_after", "chat.turn_after"),
        ("chat.choice_before", "chat.turn_before"),
        ("chat.branch", "chat.fold"),
    )
}


def test_ids_are_unique() -> None:
    ids = [action.id for action in ACTIONS]
    assert len(ids) == len(set(ids))


def test_every_action_says_what_it_does() -> None:
    assert [action.id for action in ACTIONS if not action.label or not action.tooltip.endswith(".")] == []


@pytest.mark.parametrize("mode", MODES)
def test_no_two_actions_of_a_screen_share_a_key(mode: str) -> None:
    owners: dict[str, str] = {}
    clashes = set()
    for action in (*actions_of("app"), *actions_of(mode)):
        for key in filter(None, action.keys.split(",")):
            other = owners.setdefault(key, action.id)
            if other != action.id:
                clashes.add(frozenset({other, action.id}))
    assert clashes <= TAKING_TURNS


@pytest.mark.parametrize("mode", MODES)
def test_every_action_of_a_screen_can_be_run(mode: str) -> None:
    screen = load_screen(mode)
    assert isinstance(screen, WorkbenchScreen)
    for action in actions_of(mode):
        name = action.run.partition("(")[0]
        assert callable(getattr(screen, f"action_{name}", None)), action.id


def test_every_action_of_the_program_can_be_run() -> None:
    for action in actions_of("app"):
        owner, _, name = action.run.partition("(")[0].rpartition(".")
        target = {"app": WorkbenchApp, "screen": WorkbenchScreen}[owner]
        assert callable(getattr(target, f"action_{name}", None)), action.id


def test_palette_only_actions_have_no_binding() -> None:
    bound = {each.id for each in bindings("app") if isinstance(each, Binding)} - {None}
    assert bound == {action.id for action in actions_of("app") if action.keys}


def test_a_keymap_with_an_unknown_id_is_told_by_name() -> None:
    assert keymap_problems({"train.pauze": "f5"}) == ["keymap: unknown action train.pauze"]


def test_a_keymap_that_makes_two_actions_share_a_key_is_told() -> None:
    problems = keymap_problems({"train.stop": "e"})
    assert problems == ["keymap: e means both train.stop and train.evaluate"]


def test_a_keymap_that_fits_has_no_problems() -> None:
    assert keymap_problems({"train.stop": "f8", "app.quit": "f11"}) == []
