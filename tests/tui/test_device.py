"""Gauges of the machine."""

from pathlib import Path

from workbench.tui.device import DeviceMeter


def test_processor_memory_and_disk_are_read_even_before_the_workspace_exists(tmp_path: Path) -> None:
    meter = DeviceMeter(tmp_path / "not" / "yet")
    gauges = {gauge.name: gauge for gauge in meter.read()}
    assert {"cpu", "memory", "disk"} <= gauges.keys()
    assert all(0 <= share <= 1 for gauge in gauges.values() for share in gauge.shares)


def test_the_past_is_bounded(tmp_path: Path) -> None:
    meter = DeviceMeter(tmp_path)
    for _ in range(50):
        gauges = meter.read()
    assert {len(gauge.shares) for gauge in gauges} == {32}
