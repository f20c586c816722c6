"""What the processor's own list says of it."""

from pathlib import Path

import pytest

from workbench import machine

LIST = "processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: Some CPU\nflags\t\t: fpu {flags}\n\nprocessor\t: 1\n"


@pytest.mark.parametrize(
    ("vendor", "flags", "fast"),
    [
        ("AuthenticAMD", "avx512_bf16", True),
        ("GenuineIntel", "avx512_bf16", False),
        ("GenuineIntel", "avx512_bf16 amx_bf16", True),
        ("AuthenticAMD", "avx2", False),
    ],
)
def test_fast_bf16_is_told_by_maker_and_instructions(
    vendor: str, flags: str, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: LIST.format(vendor=vendor, flags=flags))
    assert machine.fast_at_bf16() is fast
    assert machine.cpu_name() == "Some CPU"


def test_without_such_a_list_nothing_is_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert machine.fast_at_bf16() is False
    assert machine.cpu_name()
