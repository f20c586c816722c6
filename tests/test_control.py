import threading
import time

from workbench.control import Command, Control


def test_commands_are_taken_once_in_their_order() -> None:
    control = Control()
    control.request(Command("sample"))
    control.request(Command("learning_rate", 1e-4))
    assert control.take_commands() == [Command("sample"), Command("learning_rate", 1e-4)]
    assert control.take_commands() == []


def test_a_stop_wakes_a_paused_engine() -> None:
    control = Control()
    control.pause()
    threading.Timer(0.05, control.stop).start()
    start = time.monotonic()
    while not control.stop_requested:
        control.wait_while_paused(timeout_seconds=30)
    assert time.monotonic() - start < 10
