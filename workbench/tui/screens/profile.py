"""The Profile screen: one file for a whole run, as a form and as text, with what it would take."""

import logging
from collections.abc import Callable
from pathlib import Path

from textual import work
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.timer import Timer
from textual.widgets import Static, TextArea
from textual.worker import get_current_worker

from workbench.config import Profile
from workbench.errors import WorkbenchError
from workbench.language import mark, retell, tr
from workbench.profile import list_profiles
from workbench.tui.actions import bindings
from workbench.tui.modals.dry_run import measure
from workbench.tui.modals.profiles import ProfilesModal, profile_files
from workbench.tui.places import Place
from workbench.tui.profile_draft import Location, ProfileDraft, Section, found_again
from workbench.tui.profile_examination import Examination, Problem, examine, values_at
from workbench.tui.profile_saving import copy_command, keys_arrived, may_leave, run_draft, save_draft, show_changes
from workbench.tui.profile_telling import tell_result
from workbench.tui.screens.base import Subject, WorkbenchScreen
from workbench.tui.setting_fields import SettingField, fields_shown
from workbench.tui.stage_templates import ask_stage, may_remove
from workbench.tui.widgets.estimate_pane import EstimatePane
from workbench.tui.widgets.problem_list import ProblemList
from workbench.tui.widgets.section_list import SectionEntry, SectionList
from workbench.tui.widgets.settings_form import FieldRow, SettingsForm
from workbench.tui.widgets.toml_editor import TomlEditor
from workbench.tui.wrapping import Prose

logger = logging.getLogger(__name__)

FIRST_PROFILE = "quickstart"
QUIET_SECONDS = 0.3  # without a keystroke before the text is looked at


class ProfileScreen(WorkbenchScreen):
    """Parts, form, text, checks, estimate: all of one draft."""

    MODE = SCOPE = "profile"
    ABOUT = mark(
        "One file holds a whole run: tokenizer, model, stages, evaluation. Form and TOML edit the same text, comments "
        "are kept, and every value is checked while you type. What comes with the workbench is saved as a copy."
    )
    BINDINGS = bindings("profile")

    def __init__(self) -> None:
        super().__init__()
        self.draft: ProfileDraft | None = None
        self.examination: Examination | None = None
        self.values: Profile | None = None
        self._section = 1
        self._built: tuple[int, str, str] | None = None
        self._timer: Timer | None = None
        self._tell_result = False
        self._returns: dict[str, str] = {}  # by a stage that was added: the part shown before, for undoing it
        self._examined: tuple[ProfileDraft, int] | None = None
        self.lead_to = ""  # the part to be shown of what is opened next

    def compose_panes(self) -> ComposeResult:
        """Parts, form over checks, text over estimate."""
        with Container(id="columns"):
            yield SectionList(id="sections")
            with Vertical(id="fields", classes="pane"):
                yield SettingsForm()
                yield Prose(id="help")
            yield TomlEditor(id="toml")
            yield EstimatePane(id="estimate")
            yield ProblemList(id="checks")
            yield Static(id="estimate-line")

    async def on_mount(self) -> None:
        """Begin with the profile for beginners."""
        if self.draft is None:
            await self._open(FIRST_PROFILE)
        self.query_one(SectionList).focus()

    def receive(self, subject: Subject) -> None:
        """Edit a profile by name or path."""
        self._exchange(str(subject))

    def place(self) -> Place:
        """The profile and the part that is shown."""
        draft = self.draft
        if draft is None:
            return {}
        profile = draft.path.stem if draft.bundled else str(draft.path.absolute())
        return {"profile": profile, "part": self.section.title}

    def return_to(self, place: Place) -> None:
        """Open the profile again, if it still is there."""
        profile, part = str(place["profile"]), str(place["part"])
        if Path(profile).is_file() or any(each.name == profile for each in list_profiles()):
            self.lead_to = part
            self._exchange(profile)

    def unsaved(self) -> str:
        """Edits that no file holds yet."""
        edited = self.draft is not None and self.draft.edited
        return tr("{profile} has unsaved edits", profile=self.draft.name) if self.draft and edited else ""

    # --- opening and saving -----------------------------------------------------------------------------------------

    @work(exclusive=True, group="open")
    async def action_choose_profile(self) -> None:
        """Choose a profile from a list, or by path."""
        chosen = await self.workbench.push_screen_wait(ProfilesModal(list_profiles(), profile_files(Path())))
        if chosen is not None:
            self._exchange(chosen)

    @work(exclusive=True, group="exchange")
    async def _exchange(self, name_or_path: str) -> None:
        if not self.unsaved() or await may_leave(self.workbench, self.draft):
            await self._open(name_or_path)

    async def _open(self, name_or_path: str) -> None:
        try:
            draft = ProfileDraft.read(name_or_path)
        except (WorkbenchError, OSError, UnicodeDecodeError) as error:
            self.workbench.show_error(tr("This profile cannot be opened"), retell(str(error)))
            return
        self.draft, self.examination, self.values, self._built = draft, None, None, None
        titles = [section.title for section in draft.sections()]
        self._section = titles.index(self.lead_to) if self.lead_to in titles else min(self._section, len(titles) - 1)
        self.lead_to = ""
        await self._show()
        self._examine()

    @work(exclusive=True, group="save")
    async def action_save(self) -> None:
        """Save; what comes with the workbench as a copy whose place is asked for."""
        await keys_arrived(self)
        if self.draft is not None and await save_draft(self.workbench, self.draft):
            self._show_titles()
            self._examine()

    # --- editing ----------------------------------------------------------------------------------------------------

    async def on_section_list_chosen(self, message: SectionList.Chosen) -> None:
        """Show another part."""
        self._section = message.number
        await self._show()
        if message.enter:
            self.query_one(SettingsForm).focus_field()

    def on_field_row_changed(self, message: FieldRow.Changed) -> None:
        """Write what was given in the form into the text."""
        if self.draft is None:
            return
        if self.draft.broken:
            self.notify(tr("The TOML text is broken; put it right first (f3)."), severity="warning")
            return
        location = (*self.section.location, *message.row.field.key)
        if message.value is None:
            self.draft.clear(location)
        else:
            self.draft.put(location, message.value)
        self._changed(refill=False)
        self._point_to(location)

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        """Take the text over into the form."""
        if self.draft is not None and event.text_area.text != self.draft.text:
            self.draft.edit(event.text_area.text)
            self._changed()

    def on_settings_form_pointed(self, message: SettingsForm.Pointed) -> None:
        """Explain the field, and show its line in the text."""
        self._explain(message.field)
        self._point_to((*self.section.location, *message.field.key))

    def action_undo(self) -> None:
        """Take the last change back."""
        if self.draft is not None:
            self._travel(self.draft.undo)

    def action_redo(self) -> None:
        """Do it again."""
        if self.draft is not None:
            self._travel(self.draft.redo)

    def _travel(self, step: Callable[[], bool]) -> None:
        """Undo or redo; the part that was shown stays shown where it still is there."""
        assert self.draft is not None
        before = self.section
        if step():
            self._section = found_again(before, self.draft.sections(), self._section, self._returns)
            self._changed()

    def action_use_default(self) -> None:
        """Take the setting under the cursor out of the file, so that its default holds."""
        row = self.query_one(SettingsForm).current
        if row is not None and self.draft is not None and not self.draft.broken:
            self.draft.clear((*self.section.location, *row.field.key))
            self._changed()

    @work(exclusive=True, group="stage")
    async def action_add_stage(self) -> None:
        """A new stage behind the one that is shown: a person says which kind."""
        draft, before = self.draft, self.section.title
        template = await ask_stage(self.workbench, draft) if draft is not None and not draft.broken else None
        if draft is not None and template is not None:
            self._show_stage(draft.add_stage(self._stage_number(), template))
            self._returns[self.section.title] = before

    @work(exclusive=True, group="stage")
    async def action_remove_stage(self) -> None:
        """Take the stage that is shown out of the profile, after asking."""
        number = self._stage_number()
        if self.draft is None or number is None or self.draft.broken:
            return
        if await may_remove(self.workbench, self.section.title):
            self.draft.remove_stage(number)
            self._section -= 1
            self._changed()

    def action_move_stage(self, step: int) -> None:
        """Let the stage that is shown run earlier or later."""
        number = self._stage_number()
        if self.draft is not None and number is not None and not self.draft.broken:
            self._show_stage(self.draft.move_stage(number, step))

    def _show_stage(self, number: int) -> None:
        assert self.draft is not None
        self._section = [section.location for section in self.draft.sections()].index(("stage", number))
        self._changed()

    def _stage_number(self) -> int | None:
        location = self.section.location
        return location[1] if len(location) == 2 and isinstance(location[1], int) else None

    # --- showing ----------------------------------------------------------------------------------------------------

    @property
    def section(self) -> Section:
        """The part that is shown."""
        assert self.draft is not None
        sections = self.draft.sections()
        return sections[min(self._section, len(sections) - 1)]

    def _changed(self, *, refill: bool = True) -> None:
        """Draw the draft anew now, and look at it once the person stops typing."""
        self.call_next(self._show, refill=refill)
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(QUIET_SECONDS, self._examine)

    async def _show(self, *, refill: bool = True) -> None:
        """Bring list, form and text to the state of the draft."""
        draft = self.draft
        if draft is None or not self.is_attached:
            return
        section = self.section
        self.query_one(TomlEditor).show(draft.text)
        self._show_titles()
        kind = draft.get((*section.location, "kind"))
        identity = (self._section, section.schema, str(kind))
        form = self.query_one(SettingsForm)
        if identity != self._built:
            self._built = identity
            fields = fields_shown(section.schema, kind)
            await form.build(fields)
            self._explain(fields[0])
        self._show_values(form, refill=refill)

    def _show_values(self, form: SettingsForm, *, refill: bool) -> None:
        draft, section = self.draft, self.section
        if draft is None:
            return
        broken = {self._location_of(problem) for problem in self.problems}
        for row in form.rows():
            if not row.is_mounted:
                continue
            location = (*section.location, *row.field.key)
            default = row.field.default or ""
            effective = row.field.show(values_at(self.values, location)) or default
            row.show(draft.get(location), effective, location in broken, refill=refill)

    def _show_titles(self) -> None:
        draft = self.draft
        if draft is None:
            return
        problems = [place for problem in self.problems if (place := self._location_of(problem))]
        sections = draft.sections()
        broken = draft.section_of_break(sections)
        entries = [
            SectionEntry(each.shown, sum(map(each.holds, problems)) + (each == broken), known=not draft.broken)
            for each in sections
        ]
        self.query_one(SectionList).show(entries, min(self._section, len(entries) - 1))
        self.query_one("#fields").border_title = self.section.shown.replace("[", r"\[")
        edited = f"  ● {tr('edited')}" if draft.edited else ""
        name = f"{draft.path.name}{edited}".replace("[", r"\[")
        self.query_one("#fields").border_subtitle = name
        self.query_one(TomlEditor).border_title = name
        self.query_one(TomlEditor).border_subtitle = tr("comes with the workbench") if draft.bundled else ""

    def _explain(self, field: SettingField) -> None:
        self.query_one("#help", Prose).update(field.explanation)

    def _point_to(self, location: Location) -> None:
        """Show the line of a value in the text, unless the person is at work there."""
        editor = self.query_one(TomlEditor)
        line = self.draft.line_of(location) if self.draft is not None else None
        if line is not None and not editor.has_focus:
            self.call_next(editor.go_to_line, line)

    # --- checking ---------------------------------------------------------------------------------------------------

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What must be put right, as far as it was looked at."""
        return self.examination.problems if self.examination is not None else ()

    @property
    def examined(self) -> bool:
        """Whether the draft was looked at as it stands now."""
        return self.draft is not None and self._examined == (self.draft, self.draft.version)

    def _location_of(self, problem: Problem) -> Location | None:
        return self.draft.location_of(problem.key) if self.draft is not None and problem.key else None

    def _examine(self) -> None:
        if self.draft is not None and self.is_attached:
            self._look(self.draft, self.draft.version, self.draft.text, self.draft.path)

    @work(thread=True, exclusive=True, exit_on_error=False, group="examine")
    def _look(self, draft: ProfileDraft, version: int, text: str, path: Path) -> None:
        try:
            found = examine(text, path, self.workbench.workspace)
        except Exception as error:  # a surprise in a text that is half typed must not end the workbench
            logger.exception("%s could not be examined", path)
            found = Examination((Problem("", f"{type(error).__name__}: {error}"),))
        if not get_current_worker().is_cancelled:
            self.app.call_later(self._looked, draft, version, found)

    def _looked(self, draft: ProfileDraft, version: int, found: Examination) -> None:
        if draft is not self.draft or version != draft.version or not self.is_attached or not self.query(ProblemList):
            return  # another text by now, or the workbench is closing: a screen's widgets leave before it does
        self.examination, self._examined = found, (draft, version)
        self.values = found.values or self.values  # while something is wrong, what held before it was
        estimate = found.estimate
        self.query_one(ProblemList).show(found.problems, estimate.problems if estimate else (), ready=True)
        pane = self.query_one(EstimatePane)
        pane.show_estimate(estimate, found.profile)
        self.query_one("#estimate-line", Static).update(pane.line)
        self._show_titles()
        self._show_values(self.query_one(SettingsForm), refill=False)
        if self._tell_result:
            self._tell_result = False
            if tell_result(self, found):
                self.query_one(ProblemList).focus()

    async def on_problem_list_chosen(self, message: ProblemList.Chosen) -> None:
        """Go to the field of a problem, or to its line."""
        location = self._location_of(message.problem)
        sections = self.draft.sections() if self.draft is not None else []
        for number, section in enumerate(sections):
            if location and section.holds(location):
                self._section = number
                await self._show()
                label = ".".join(str(part) for part in location[len(section.location) :])
                if not self.has_class("-toml") and self.query_one(SettingsForm).focus_field(label):
                    return
        self._go_to_text(message.problem, location)

    def _go_to_text(self, problem: Problem, location: Location | None) -> None:
        line = problem.line - 1 if problem.line else None
        if line is None and location is not None and self.draft is not None:
            line = self.draft.line_of(location)
        self.add_class("-toml")
        editor = self.query_one(TomlEditor)
        editor.focus()
        if line is not None:
            editor.go_to_line(line)

    def speak_again(self) -> None:
        """Draw parts, fields, checks and estimate in the new language."""
        super().speak_again()
        self._built = None
        self._changed()

    # --- actions ----------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Stages are moved and removed only while one is shown."""
        if action in ("add_stage", "remove_stage", "move_stage") and self._in_form():
            return False  # a letter that is meant for a field must not change the stages
        if action in ("remove_stage", "move_stage"):
            return True if self.draft is not None and self._stage_number() is not None else None
        return True

    def _in_form(self) -> bool:
        return (form := self.query_one_optional(SettingsForm)) is not None and form.current is not None

    async def action_outward(self) -> None:
        """From a field or the text to the parts; from there home."""
        if self.focused is None or self.focused is self.query_one(SectionList):
            await super().action_outward()
        else:
            self.remove_class("-toml")
            self.query_one(SectionList).focus()

    def action_toggle_text(self) -> None:
        """Between form and text."""
        editor = self.query_one(TomlEditor)
        if editor.has_focus:
            self.remove_class("-toml")
            self.query_one(SettingsForm).focus_field()
        else:
            self.add_class("-toml")
            editor.focus()

    async def action_browse(self, step: int) -> None:
        """The part before or behind."""
        if self.draft is not None:
            self._section = max(0, min(len(self.draft.sections()) - 1, self._section + step))
            await self._show()

    def action_check(self) -> None:
        """Look at everything now, and tell."""
        self._tell_result = True
        self._examine()

    def action_diff(self) -> None:
        """What was changed since the profile was opened or saved."""
        if self.draft is not None:
            show_changes(self.workbench, self.draft)

    def action_copy_command(self) -> None:
        """Copy the command that runs the profile headless."""
        if self.draft is not None:
            copy_command(self.workbench, self.draft)

    def action_measure(self) -> None:
        """Take a few real steps of every stage, and show what the whole takes by them."""
        measure(self, self.examination if self.examined else None)

    @work(exclusive=True, group="run")
    async def action_run(self) -> None:
        """Start a run of the profile as it stands, saved or not."""
        await keys_arrived(self)
        if self.draft is not None:
            await run_draft(self.workbench, self.draft)
