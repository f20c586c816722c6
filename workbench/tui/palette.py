"""The palette's commands: every action of the screen and of the program, by name."""

from typing import TYPE_CHECKING, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider

from workbench.language import mark, tr
from workbench.tui.actions import MODES, Action, actions_of

if TYPE_CHECKING:
    from workbench.tui.app import WorkbenchApp


class ActionProvider(Provider):
    """Offers the actions that can be taken now, as `screen: what it does`."""

    async def discover(self) -> Hits:
        """All of them, before anything is typed."""
        for action, name in self._possible():
            yield DiscoveryHit(name, self._runner(action), text=name, help=tr(action.tooltip))

    async def search(self, query: str) -> Hits:
        """Those whose name or explanation matches."""
        matcher = self.matcher(query)
        for action, name in self._possible():
            told = {tr(action.tooltip), action.label, action.tooltip}  # the English words are found in any language
            score = max(matcher.match(name), *(matcher.match(words) * 0.8 for words in told))
            if score > 0:
                yield Hit(score, matcher.highlight(name), self._runner(action), text=name, help=tr(action.tooltip))

    def _possible(self) -> list[tuple[Action, str]]:
        app = cast("WorkbenchApp", self.app)
        screen = app.current
        found = []
        for scope in (screen.SCOPE, "app"):
            for action in actions_of(scope):
                if action.palette and app.can_run(action, screen):
                    found.append((action, _name(action)))
        return found

    def _runner(self, action: Action):  # type: ignore[no-untyped-def]
        app = cast("WorkbenchApp", self.app)
        screen = app.current

        async def run() -> None:
            await app.run_action(action.run, screen)

        return run


def _name(action: Action) -> str:
    """The action with where it belongs, as `train: pause`."""
    if action.run.startswith("app.go"):
        place = mark("Go")
    else:
        place = MODES.get(action.scope, mark("Workbench"))
    return tr("{place}: {action}", place=tr(place).lower(), action=tr(action.label).lower())
