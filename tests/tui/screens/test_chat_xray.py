"""Token X-ray on the Chat screen, by keys."""

from typing import Any

import pytest
from rich.cells import cell_len

from workbench.tui.app import WorkbenchApp
from workbench.tui.widgets.token_flow import FlowToken, TokenFlow, band, level
from workbench.tui.widgets.xray_pane import XRayPane, percent

SIZES = ((80, 24), (120, 36))


async def looked_through(chat: Any) -> XRayPane:
    await chat.press("f7")
    pane: XRayPane = chat.screen.query_one(XRayPane)
    await chat.until(lambda: pane.found is not None)
    return pane


@pytest.mark.parametrize("size", SIZES)
async def test_a_token_is_looked_at_and_another_put_in_its_place(
    app_with_model: WorkbenchApp, drive: Any, screen_text: Any, size: tuple[int, int]
) -> None:
    async with app_with_model.run_test(size=size) as pilot:
        chat = await drive(app_with_model, pilot)
        chat.set(seed=3)
        await chat.say("hello")
        first = chat.screen.session.tree.nodes[1]
        pane = await looked_through(chat)
        assert pane.found is not None and len(pane.found.places) == 13
        await chat.press("right", "right", "right", "left", "down")
        await pilot.pause()
        shown = screen_text(app_with_model)
        assert "Token 3 of 13" in shown and "entropy" in shown and "bits" in shown and "drawn" in shown
        chosen = pane.alternative
        assert pane.at == 2 and chosen != first.writing.token_ids[2]
        await chat.press("enter")
        await chat.rest()
        tree = chat.screen.session.tree
        branched = tree.nodes[tree.last].writing
        assert branched.token_ids[:3] == (*first.writing.token_ids[:2], chosen) and branched.branched_at == 2
        assert tree.siblings(tree.last) == [1, tree.last] and tree.nodes[1] == first
        assert not chat.screen.has_class("-xray") and "2/2" in screen_text(app_with_model)


async def test_the_ends_and_the_place_behind_the_last_token(
    app_with_model: WorkbenchApp, drive: Any, screen_text: Any
) -> None:
    async with app_with_model.run_test(size=(80, 24)) as pilot:
        chat = await drive(app_with_model, pilot)
        await chat.say("hello")  # cut at max tokens
        pane = await looked_through(chat)
        await chat.press("end", "right")
        await pilot.pause()
        assert pane.at == 12 and "none: cut here" in screen_text(app_with_model)
        await chat.press("home", "left")
        assert pane.at == 0
        await chat.press("end", "enter")  # the likeliest that could follow: the answer goes on
        await chat.rest()
        tree = chat.screen.session.tree
        assert len(tree.nodes[tree.last].writing.token_ids) == 25


async def test_esc_and_f7_lead_back(app_with_model: WorkbenchApp, drive: Any) -> None:
    async with app_with_model.run_test(size=(80, 24)) as pilot:
        chat = await drive(app_with_model, pilot)
        await chat.press("f7")
        assert not chat.screen.has_class("-xray")  # there is no answer yet
        await chat.say("hello")
        for key in ("escape", "f7"):
            await looked_through(chat)
            await chat.press(key)
            assert not chat.screen.has_class("-xray") and app_with_model.current is chat.screen


async def test_bytes_of_a_cut_character_are_shown_as_such(
    app_with_model: WorkbenchApp, drive: Any, answers: list[str], screen_text: Any
) -> None:
    async with app_with_model.run_test(size=(80, 24)) as pilot:
        chat = await drive(app_with_model, pilot)
        answers += ["[/INST]你"]
        await chat.say("a")
        pane = await looked_through(chat)
        await chat.press(*["right"] * 7)
        await pilot.pause()
        shown = screen_text(app_with_model)
        assert pane.found is not None and pane.found.labels[7:10] == ["\\xe4", "\\xbd", "\\xa0"]
        assert "part of" in shown and "你" in shown and "e4" in shown
        assert pane.found.labels[:7] == list("[/INST]") and pane.found.labels[10].startswith("<|")


async def test_an_xray_that_fails_is_one_message(
    app_with_model: WorkbenchApp, drive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr("workbench.tui.screens.chat.look_through", fail)
    async with app_with_model.run_test(size=(80, 24), notifications=True) as pilot:
        chat = await drive(app_with_model, pilot)
        await chat.say("hello")
        await chat.press("f7")
        await chat.until(lambda: not chat.screen.has_class("-xray"))
        assert any("out of memory" in note.message for note in app_with_model._notifications)


def lines_of(flow: TokenFlow) -> list[str]:
    return ["".join(bar + text for _, bar, text in line) for line in flow._lines]


async def test_tokens_fill_lines_by_the_width_of_their_characters(app_with_model: WorkbenchApp, drive: Any) -> None:
    async with app_with_model.run_test(size=(80, 24)) as pilot:
        chat = await drive(app_with_model, pilot)
        flow = chat.screen.query_one(TokenFlow)
        chat.screen.add_class("-xray")
        await pilot.pause()
        width = flow.size.width
        texts = ["春天", "x" * 200, "", "河水" * 60, "a\\n", "b"]
        flow.show([FlowToken(text, 0.5, text.endswith("\\n")) for text in texts])
        lines = lines_of(flow)
        assert all(cell_len(line) <= width for line in lines)
        assert "".join(lines).replace(level(0.5), "") == "".join(texts)
        assert lines[-1] == f"{level(0.5)}b" and flow.virtual_size.height == len(lines)
        for at in range(len(texts)):
            flow.point_to(at)
            assert flow.scroll_offset.y <= flow._line_of[at] < flow.scroll_offset.y + flow.size.height
        flow.show([])
        flow.point_to(3)


def test_likelihood_is_told_by_shape_as_well_as_by_colour() -> None:
    shapes = [level(probability) for probability in (0.0, 0.2, 0.4, 0.6, 0.9, 1.0)]
    assert shapes == sorted(shapes, key="▁▂▃▄▅▆▇█".index) and len(set(shapes)) == 5
    assert [band(p) for p in (1.0, 0.5, 0.3, 0.05, 0.001, None)] == [
        "sure",
        "sure",
        "likely",
        "unlikely",
        "rare",
        "none",
    ]


def test_percentages_never_claim_what_is_not_so() -> None:
    assert [percent(p) for p in (1, 0.99999, 0.9994, 0.5, 0.0006, 1e-6, 0)] == [
        *("100 %", "100 %", "99.9%", "50.0%", "0.1%", "<0.1%", "0"),
    ]
