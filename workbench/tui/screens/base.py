"""What every screen of the workbench has: the bar at the top, its own panes, the keys at the bottom."""

import logging
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on
from textual._context import NoActiveAppError
from textual.app import ComposeResult, RenderResult
from textual.containers import Container
from textual.css.query import NoMatches
from textual.events import Mount
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input, TextArea

from workbench.language import tr
from workbench.tui.places import Place
from workbench.tui.widgets.key_bar import KeyBar
from workbench.tui.widgets.top_bar import RunIndicator, TopBar
from workbench.tui.widgets.tour_pane import TourPane

if TYPE_CHECKING:
    from workbench.tui.app import WorkbenchApp

logger = logging.getLogger(__name__)

Subject = Path | str
"""What one screen hands another: a run directory, a data file, a profile by name."""

PLACES = frozenset({"first-child", "last-child", "first-of-type", "last-of-type", "odd", "even"})
"""Which child of the app a screen is: no sheet asks, and it changes with every screen that is opened first."""

PAINTED_SECONDS = 0.05  # after which a screen that is shown again has been painted


class TooSmall(Widget):
    """The one line that is left of a screen below 60 by 18."""

    def render(self) -> RenderResult:
        """What is needed, what there is, and that nothing is lost where there is something to lose."""
        width, height = self.app.size
        run = cast("WorkbenchApp", self.app).bridge.shown
        if run is not None and run.state.live:
            return tr("llm-workbench needs 60x18 (now {width}x{height}); the run goes on", width=width, height=height)
        return tr("llm-workbench needs 60x18 (now {width}x{height})", width=width, height=height)


class WorkbenchScreen(Screen[None]):
    """A screen of the workbench.

    A subclass sets `MODE`, `SCOPE` and `ABOUT`, declares `BINDINGS = bindings(SCOPE)` and yields its panes from
    `compose_panes`. It may override `show_numbers`, `show_charts`, `catch_up`, `speak_again`, `receive`, `unsaved`,
    `place`, `return_to` and `action_outward`.
    """

    MODE: ClassVar[str] = ""
    SCOPE: ClassVar[str] = ""
    ABOUT: ClassVar[str] = ""
    """What the screen is for, in one or two sentences, marked for `tr`: the head of its help."""
    ALLOW_IN_MAXIMIZED_VIEW = "TopBar, TourPane, KeyBar"

    def compose(self) -> ComposeResult:
        """The frame around the screen's own panes."""
        yield TopBar(self.MODE)
        with Container(id="body"):
            yield from self.compose_panes()
        yield TooSmall(id="too-small")
        yield TourPane()
        yield KeyBar()

    def compose_panes(self) -> Iterable[Widget]:
        """The screen's own widgets."""
        return ()

    def __init__(self) -> None:
        super().__init__()
        self._styled: tuple[object, ...] = ()
        with suppress(NoActiveAppError):
            self._take_size_of(self.workbench)
            # It will be styled in the colours of now; else Textual would style every screen anew to be sure.
            # Not so the first one: the app itself has no colours yet, and gets them together with it.
            if self.workbench.opened_screens():
                self._css_update_count = self.workbench._css_update_count

    def _take_size_of(self, app: "WorkbenchApp") -> None:
        """Take the classes of the terminal's size before the first painting; Textual gives them after it."""
        for length, breakpoints in (
            (app.size.width, app.HORIZONTAL_BREAKPOINTS),
            (app.size.height, app.VERTICAL_BREAKPOINTS),
        ):
            self.add_class(*self._get_breakpoint_classes(length, breakpoints))

    def update_node_styles(self, animate: bool = True) -> None:
        """Style everything on the screen, unless that would change nothing.

        Textual does so whenever a screen is shown again, which takes as long as all the rest of that. What has another
        class or another state by now was styled when it got it; sheets that other screens brought meanwhile are theirs.
        """
        app = self.workbench
        colours = (app.theme, app._css_update_count)
        states = (app.size, app.classes, app.pseudo_classes, self.classes, self.pseudo_classes - PLACES)
        styled = (*colours, *states)
        if styled != self._styled:
            self._styled = styled
            super().update_node_styles(animate)

    @property
    def workbench(self) -> "WorkbenchApp":
        """The app with its own type."""
        return cast("WorkbenchApp", self.app)

    def on_screen_resume(self) -> None:
        """Catch up with what happened while another screen was shown: figures at once, the rest once it is painted."""
        self.refresh_run()
        self.set_timer(PAINTED_SECONDS, self.catch_up)

    def catch_up(self) -> None:
        """Draw the curves anew, and look at the disk again where a screen shows what lies there."""
        self.refresh_charts()

    def refresh_run(self) -> None:
        """Draw the run's state: the indicator, and whatever numbers the screen shows."""
        with suppress(NoMatches):  # a timer may come while the screen is being built or torn down
            run = self.workbench.bridge.active or self.workbench.bridge.shown
            self.query_one(RunIndicator).show(run.state if run is not None else None)
            self.workbench.tour.refresh()
            self.show_numbers()

    def refresh_charts(self) -> None:
        """Draw the curves the screen shows."""
        with suppress(NoMatches):
            self.show_charts()

    def show_numbers(self) -> None:
        """Draw the figures of the run; called up to four times a second while something changes."""

    def show_charts(self) -> None:
        """Draw the curves of the run; called up to once a second while something changes."""

    def speak_again(self) -> None:
        """The language was changed: draw all words that are not drawn by themselves; fixed ones are said already."""
        self.refresh_run()
        self.refresh_charts()
        self.refresh_bindings()

    @on(Mount)
    def _note_the_colours(self) -> None:
        """It has been styled by now, the first screen too."""
        self._css_update_count = self.workbench._css_update_count

    @on(Mount)
    def _find_the_place(self) -> None:
        """Return to where somebody left the screen."""
        place = self.workbench.places.of(self.MODE)
        if place:
            try:
                self.return_to(place)
            except (KeyError, TypeError, ValueError):
                logger.exception("%s could not return to %s", self.MODE, place)

    def place(self) -> Place:
        """Where the screen is, as plain values, for the next start."""
        return {}

    def return_to(self, place: Place) -> None:
        """Go where `place` told once; what is gone meanwhile is passed over.

        Raises:
            KeyError, TypeError, ValueError: this is no place that this screen wrote.
        """

    def receive(self, subject: Subject) -> None:
        """Take what another screen hands over; called after the switch to this screen."""

    def unsaved(self) -> str:
        """What would be lost by leaving the program, in a few words; empty when nothing would."""
        return ""

    async def action_outward(self) -> None:
        """Leave the field that has the focus, or else go home."""
        if isinstance(self.focused, Input | TextArea):
            self.set_focus(None)
        elif self.MODE != "home":
            await self.workbench.action_go("home")
