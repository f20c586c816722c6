"""What the kernels become on every target, compiled ahead of time: no GPU, no driver, no interpreter."""

import pytest

from tests.kernels.cards import CARDS

pytestmark = [pytest.mark.aot, pytest.mark.slow]

TARGETS = tuple(CARDS)
WITH_PRODUCTS = ("attention", "grouped_matmul", "int8_matmul")
"""Operations whose own kernels multiply matrices; the losses leave their products to the vendor's library."""

WITHOUT_PRODUCTS = ("int8_vector_kernel",)
"""Their kernels that multiply too few rows for a matrix unit."""

SPILLS_ALLOWED: dict[tuple[str, str], int] = {}
"""Bytes by kernel and architecture that head size 128 may spill in backward: what the best peer spills there."""

NARROW: dict[str, float] = {}
"""By kernel, the share of wide accesses where less than most is right, with the reason beside it."""

_MOSTLY_WIDE = 0.8  # the rest are statistics: one number a row
_WIDE_ROWS = 8 * 32  # elements of bf16 that a warp moves in one 128-bit access: shorter rows cannot fill it


@pytest.fixture(scope="session")
def rows() -> list[dict]:
    from tests.kernels.static_report import report

    return [row for row in report(["table"], TARGETS) if row["kernel"] != "torch"]


def named(row: dict) -> str:
    return f"{row['kernel']} on {row['architecture']} ({row['note']}, {row['constants']}, {row['warps']} warps)"


def test_every_launch_compiles(rows: list[dict]) -> None:
    assert rows
    assert [f"{named(row)}: {row['error']}" for row in rows if row["error"]] == []


@pytest.mark.parametrize("architecture", TARGETS)
def test_every_entry_of_every_table_was_launched(rows: list[dict], architecture: str) -> None:
    from tests.kernels.static_specs import expected_launches

    launched = [
        {**row["constants"], "num_warps": row["warps"], "num_stages": row["stages"]}
        for row in rows
        if row["architecture"] == architecture
    ]
    missing = [
        entry
        for entry, options in expected_launches(architecture).items()
        if not any(options.items() <= each.items() for each in launched)
    ]
    assert missing == []


def test_no_launch_spills(rows: list[dict]) -> None:
    spilling = {named(row): row["spilled_bytes"] for row in rows if row["spilled_bytes"] > allowed_spill(row)}
    assert spilling == {}


def allowed_spill(row: dict) -> int:
    if row["constants"].get("HEAD_DIM") != 128:
        return 0
    return SPILLS_ALLOWED.get((row["kernel"], row["architecture"]), 0)


def test_shared_memory_fits_a_block(rows: list[dict]) -> None:
    too_much = {named(row): row["shared_bytes"] for row in rows if row["shared_bytes"] > limit(row)}
    assert too_much == {}


def limit(row: dict) -> int:
    return CARDS[row["architecture"]].block_shared_bytes


def test_products_run_on_the_matrix_units_of_the_target(rows: list[dict]) -> None:
    products = [row for row in rows if multiplies(row)]
    assert {row["kernel"] for row in products} >= {"attention_kernel", "grouped_rows_kernel", "int8_matrix_kernel"}
    wrong = {
        named(row): row["matrix_family"]
        for row in products
        if row["matrix_family"] != CARDS[row["architecture"]].matrix_family
    }
    assert wrong == {}


def multiplies(row: dict) -> bool:
    """Half precision only: float32 is exact where PyTorch's is, which matrix units are not."""
    half = "float32" not in row["note"]
    return half and row["operation"].startswith(WITH_PRODUCTS) and row["kernel"] not in WITHOUT_PRODUCTS


def test_memory_bound_kernels_move_128_bits_at_a_time(rows: list[dict]) -> None:
    bound = [row for row in rows if not multiplies(row) and fills_wide_accesses(row)]
    assert {row["kernel"] for row in bound} >= {"rms_norm_kernel", "rotary_kernel", "swiglu_kernel"}
    narrow = {
        named(row): (row["wide"], row["accesses"])
        for row in bound
        if row["wide"] is not None and row["wide"] < NARROW.get(row["kernel"], _MOSTLY_WIDE)
    }
    assert narrow == {}


def fills_wide_accesses(row: dict) -> bool:
    constants = row["constants"]
    if "float32" in row["note"]:
        return False
    if row["kernel"].startswith(("rms_norm", "sum_parts")):
        return constants.get("HIDDEN", constants.get("SIZE", 0)) >= _WIDE_ROWS
    if "HALF" in constants:
        return constants["HALF"] >= 32
    return not row["operation"].startswith(WITH_PRODUCTS)
