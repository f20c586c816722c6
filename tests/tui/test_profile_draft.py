"""A profile as text and as values at once."""

from pathlib import Path

import pytest
import tomlkit

from workbench.bundled import profiles_folder
from workbench.profile import find_profile, parse_profile
from workbench.tui.profile_draft import ProfileDraft
from workbench.tui.profile_saving import base_of
from workbench.tui.setting_fields import fields_of, fields_shown
from workbench.tui.stage_templates import TEMPLATES

BUNDLED = sorted(path.stem for path in profiles_folder().glob("*.toml"))
TEXT = '# head\n[model]\nhidden_size = 64 # narrow\n\n# about the stage\n[[stage]]\nkind = "sft"\n\n# the end\n'


def draft(text: str = TEXT) -> ProfileDraft:
    return ProfileDraft("small", Path("small.toml"), text)


@pytest.mark.parametrize("name", BUNDLED)
def test_writing_every_value_again_changes_no_character(name: str) -> None:
    path = find_profile(name)
    subject = ProfileDraft.read(name)
    for section in subject.sections():
        for field in fields_of(section.schema):
            location = (*section.location, *field.key)
            value = subject.get(location)
            if value is not None and not isinstance(value, list):
                subject.put(location, field.read(field.show(value)))
    assert subject.text == path.read_text(encoding="utf-8")


def test_a_new_key_stands_in_its_table_before_the_comments_of_the_next() -> None:
    subject = draft()
    subject.put(("model", "num_hidden_layers"), 2)
    assert subject.text == TEXT.replace("# narrow\n", "# narrow\nnum_hidden_layers = 2\n")


def test_a_value_taken_out_and_given_anew_keeps_its_comment() -> None:
    subject = draft()
    subject.clear(("model", "hidden_size"))
    subject.put(("model", "hidden_size"), tomlkit.value("1_28"))
    assert subject.text == TEXT.replace("64", "1_28")


def test_missing_tables_are_made() -> None:
    subject = draft()
    subject.put(("run", "seed"), 3)
    subject.put(("stage", 0, "optimizer", "eps"), 0.1)
    values = tomlkit.parse(subject.text).unwrap()
    assert values["run"] == {"seed": 3} and values["stage"][0]["optimizer"] == {"eps": 0.1}
    assert "# head" in subject.text and "# about the stage" in subject.text and "# the end" in subject.text


def test_undo_and_redo_meet_every_state() -> None:
    subject = draft()
    states = [subject.text]
    for change in (
        lambda: subject.put(("run", "seed"), 3),
        lambda: subject.add_stage(None),
        lambda: subject.edit("x=1"),
    ):
        change()
        states.append(subject.text)
    for state in reversed(states[:-1]):
        assert subject.undo() and subject.text == state
    assert not subject.undo()
    for state in states[1:]:
        assert subject.redo() and subject.text == state


def test_a_new_stage_makes_a_sound_profile() -> None:
    subject = draft("")
    subject.add_stage(None)
    subject.add_stage(0)
    profile = parse_profile(subject.text, "new")
    assert [stage.name for stage in profile.stage] == ["pretrain", "sft"]


def test_broken_text_is_told_and_the_values_before_it_stand() -> None:
    subject = draft()
    subject.edit(TEXT + "[[")
    assert subject.broken and subject.get(("model", "hidden_size")) == 64


def test_lines_and_locations_are_found() -> None:
    subject = draft()
    assert subject.line_of(("model", "hidden_size")) == 2
    assert subject.line_of(("stage", 0, "kind")) == 6
    assert subject.location_of("stage.sft.steps") == ("stage", 0, "steps")
    assert subject.location_of("nothing.at.all") is None


def test_a_problem_of_one_data_set_is_shown_at_the_list() -> None:
    assert draft().location_of("stage.sft.data.0.weight") == ("stage", 0, "data")


def test_a_mixture_of_data_sets_is_edited_as_one_line() -> None:
    subject = draft()
    field = next(each for each in fields_of("StageSettings") if each.label == "data")
    text = '[{path = "a.jsonl", weight = 1}, {path = ["b.jsonl", "c d.jsonl"], weight = 2.5}]'
    subject.put(("stage", 0, "data"), field.read(text))
    assert field.show(subject.get(("stage", 0, "data"))) == text
    profile = parse_profile(subject.text, "here", ["stage.sft.steps=1"])
    assert [source.weight for source in profile.stage[0].data_sources] == [1.0, 2.5]


def test_a_student_is_added_behind_its_teacher_and_learns_from_that() -> None:
    subject = draft('[[stage]]\nname = "chat"\nkind = "sft"\ndata = "bundled:sft.jsonl"\nsteps = 5\n')
    by_name = {template.name: template for template in TEMPLATES}
    for name in ("distill", "generate", "student"):
        subject.add_stage(None, by_name[name])
    stages = parse_profile(subject.text, "here").stage
    assert [stage.name for stage in stages] == ["chat", "distill", "generate", "student"]
    assert stages[1].teacher == "chat" and stages[1].model is not None
    assert stages[3].data == ["stage:generate"]


def test_the_form_of_a_stage_has_the_fields_of_its_kind() -> None:
    tables = {kind: {field.key[0] for field in fields_shown("StageSettings", kind)} for kind in ("distill", "generate")}
    assert {"teacher", "distill", "model", "steps", "lora"} <= tables["distill"]
    assert tables["generate"] == {"name", "kind", "from", "data", "format", "batch_size", "generate"}
    assert not {"distill", "generate", "teacher"} & {field.key[0] for field in fields_shown("StageSettings", "sft")}


def test_a_saved_profile_is_held_against_the_one_it_began_as(tmp_path: Path) -> None:
    bundled = ProfileDraft.read("quickstart")
    assert base_of(bundled) is None
    draft = ProfileDraft("mine", tmp_path / "mine.toml", bundled.text.replace("2048", "4096"))
    base = base_of(draft)
    assert base is not None and base.stem == "quickstart"
    assert base_of(ProfileDraft("same", tmp_path / "same.toml", bundled.text)) is None
    assert base_of(ProfileDraft("other", tmp_path / "other.toml", 'description = "nothing of ours"\n')) is None
