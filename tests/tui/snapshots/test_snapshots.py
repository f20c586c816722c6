"""Every screen, as it was looked at and found good: seven screens, three sizes, two languages, character by character.

The pictures are the text files in `pictures`. A change that is meant is taken over by `pytest tests/tui/snapshots
--renew`, and looked at in the difference that git shows.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.tui.conftest import FakeJob
from tests.tui.snapshots.drawing import RENEW, difference, picture
from tests.tui.snapshots.world import QUESTIONS, build_world, hold_still, story
from workbench.config import Profile
from workbench.language import Language, use_language
from workbench.tui.actions import MODES
from workbench.tui.app import WorkbenchApp
from workbench.tui.bridge import JobRequest
from workbench.tui.widgets.message_field import MessageField
from workbench.tui.widgets.row_detail import RowDetail

PICTURES = Path(__file__).parent / "pictures"
SIZES = ((80, 24), (120, 36), (200, 50))
LANGUAGES: tuple[Language, ...] = ("en", "zh")
LOOKS = 6000  # a busy machine may be slow
Until = Callable[[Callable[[], bool]], Awaitable[None]]


def place_of(mode: str, size: tuple[int, int], language: str) -> Path:
    return PICTURES / f"{mode}-{size[0]}x{size[1]}-{language}.txt"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with everything that the screens read."""
    folder = tmp_path_factory.mktemp("world")
    build_world(folder)
    return folder


@pytest.fixture(scope="module", params=[(size, language) for language in LANGUAGES for size in SIZES], ids=str)
def seen(request: pytest.FixtureRequest, world: Path) -> Iterator[dict[str, tuple[Path, str]]]:
    """All screens in one size and language: where the picture of each is kept, and what it shows now."""
    size, language = request.param
    use_language(language)
    try:
        with pytest.MonkeyPatch.context() as patch:
            hold_still(patch, world)
            shown = asyncio.run(look_around(world / "runs", size))
        yield {mode: (place_of(mode, size, language), drawn) for mode, drawn in shown.items()}
    finally:
        use_language("en")
        if hasattr(time, "tzset"):
            time.tzset()


@pytest.mark.parametrize("mode", MODES)
def test_a_screen_looks_as_it_did(seen: dict[str, tuple[Path, str]], mode: str, request: pytest.FixtureRequest) -> None:
    kept, now = seen[mode]
    if request.config.getoption("--renew"):
        kept.write_text(now, encoding="utf-8", newline="\n")
    found = difference(kept, now)
    assert not found, f"\n{found}\n\nIf this is meant: {RENEW}"


def test_no_picture_is_left_of_what_is_shown_no_more() -> None:
    expected = {place_of(mode, size, language) for mode in MODES for size in SIZES for language in LANGUAGES}
    assert set(PICTURES.iterdir()) == expected


def test_a_difference_is_told_line_by_line(tmp_path: Path) -> None:
    kept = tmp_path / "home.txt"
    kept.write_text("one\ntwo\n", encoding="utf-8")
    assert difference(kept, "one\ntwo\n") == ""
    assert difference(kept, "one\n2\n").splitlines()[2:] == ["@@ -2 +2 @@", "-two", "+2"]
    assert "+one" in difference(tmp_path / "missing.txt", "one\n")


# --- looking ------------------------------------------------------------------------------------------------------


async def look_around(workspace: Path, size: tuple[int, int]) -> dict[str, str]:
    """Go through all screens, Train last, with a run at work; a picture of each when it has come to rest."""
    app = WorkbenchApp(workspace, lambda request, folder, emitter, control: FakeJob(story(), emitter, control, None))
    shown = {}
    async with app.run_test(size=size) as pilot:

        async def until(condition: Callable[[], bool]) -> None:
            for _ in range(LOOKS):
                if condition():
                    return
                await pilot.pause(0.02)
            raise AssertionError(f"{app.current.MODE} never came to rest")

        for mode in (*(each for each in MODES if each != "train"), "train"):
            await app.action_go(mode)
            await until(lambda mode=mode: mode == app.current.MODE and app.current.is_mounted)
            await ARRANGE[mode](app, pilot, until)
            shown[mode] = await picture_at_rest(app, pilot, until)
    assert app.bridge.close(10.0)
    return shown


async def picture_at_rest(app: WorkbenchApp, pilot: Any, until: Until) -> str:
    """The picture, once nothing works any more and it stays the same."""
    app.clear_notifications()
    drawn: list[str] = []
    while len(drawn) < 4 or len(set(drawn[-4:])) > 1:
        assert len(drawn) < 200, f"{app.current.MODE} never stands still"
        await until(lambda: not any(worker.is_running for worker in app.workers))
        await pilot.pause(0.05)
        drawn.append(picture(app))
    return drawn[-1]


async def home(app: Any, pilot: Any, until: Until) -> None:
    screen = app.current
    await until(lambda: screen.run is not None and screen._details is not None and len(screen.profiles) > 0)
    screen._read_meter()


async def data(app: Any, pilot: Any, until: Until) -> None:
    screen = app.current
    await until(lambda: screen.tokenizer is not None and screen.survey is not None and bool(screen.survey.lengths))
    await until(lambda: screen.file.complete and "a fox tells" in picture(app))
    screen.action_next_view()
    await until(lambda: "<|endoftext|>" in screen.query_one(RowDetail).shown.plain)


async def profile(app: Any, pilot: Any, until: Until) -> None:
    await until(lambda: app.current.draft is not None and app.current.examined)


async def chat(app: Any, pilot: Any, until: Until) -> None:
    screen = app.current
    await until(lambda: screen.session is not None)
    for place, (asked, _) in enumerate(QUESTIONS, start=1):
        screen.query_one(MessageField).load_text(asked)
        screen.query_one(MessageField).focus()
        await pilot.press("enter")
        await until(lambda place=place: not screen.answering and len(screen.session.messages) == 2 * place)


async def inspect(app: Any, pilot: Any, until: Until) -> None:
    screen = app.current
    await until(lambda: screen.inspected is not None and screen.inspected.known(screen.view) is not None)
    screen._show_view()


async def compare(app: Any, pilot: Any, until: Until) -> None:
    await until(lambda: app.current.comparison is not None)


async def train(app: Any, pilot: Any, until: Until) -> None:
    await app.start_job(JobRequest(profile=cast(Profile, Profile.model_construct()), name="fisher-new"))
    await until(lambda: (stage := app.bridge.active.state.stage) is not None and stage.step == 60)
    app.current.refresh_run()
    app.current.refresh_charts()


ARRANGE: dict[str, Callable[[Any, Any, Until], Awaitable[None]]] = {
    **{"home": home, "data": data, "profile": profile, "chat": chat, "inspect": inspect, "compare": compare},
    "train": train,
}
