"""The repairs hold, and each sanitizer catches a fault planted for it."""

import pytest
import torch
import triton
import triton.language as tl

from tests.kernels import interpreter
from tests.kernels.interpreter import SanitizerError, sanitize

pytestmark = pytest.mark.skipif(not interpreter.interpreted(), reason="kernels are compiled here")


@triton.jit
def copy_rows(source, target, size, step, BLOCK: tl.constexpr, MASK_LOAD: tl.constexpr, MASK_STORE: tl.constexpr):
    columns = tl.program_id(0) * step + tl.arange(0, BLOCK)
    if MASK_LOAD:
        values = tl.load(source + columns, mask=columns < size)
    else:
        values = tl.load(source + columns)
    if MASK_STORE:
        tl.store(target + columns, values, mask=columns < size)
    else:
        tl.store(target + columns, values)


def launch(source, target, size, *, step=8, mask_load=True, mask_store=True) -> None:
    copy_rows[(2,)](source, target, size, step, BLOCK=8, MASK_LOAD=mask_load, MASK_STORE=mask_store)


def test_a_correct_copy_passes_every_check() -> None:
    source, target = torch.randn(13), torch.zeros(13)
    with sanitize():
        launch(source, target, 13)
    assert torch.equal(source, target)


def test_a_load_past_the_end_is_reported() -> None:
    with sanitize(), pytest.raises(SanitizerError, match=r"load .* 3 of 8 addresses out of bounds"):
        launch(torch.randn(13), torch.zeros(16), 13, mask_load=False)


def test_a_store_past_the_end_is_reported_before_it_happens() -> None:
    with sanitize(), pytest.raises(SanitizerError, match=r"store .* 3 of 8 addresses out of bounds"):
        launch(torch.randn(16), torch.zeros(13), 13, mask_store=False)


def test_a_load_from_another_argument_is_reported() -> None:
    pool = torch.randn(32)
    with sanitize(), pytest.raises(SanitizerError, match="out of bounds"):
        launch(pool[:13], pool[16:], 13, mask_load=False)


def test_a_load_before_the_start_is_reported() -> None:
    with sanitize(seed=None), pytest.raises(SanitizerError, match="out of bounds"):
        launch(torch.randn(32)[8:], torch.zeros(16), 13, step=-1)


def test_two_programs_that_write_one_address_are_reported() -> None:
    with sanitize(), pytest.raises(SanitizerError, match="write-write race on 4 addresses"):
        launch(torch.randn(12), torch.zeros(12), 12, step=4)


def test_reading_what_another_program_writes_is_reported() -> None:
    row = torch.randn(17)
    with sanitize(), pytest.raises(SanitizerError, match="read-write race on 1 addresses"):
        launch(row[:16], row[1:], 16)


@triton.jit
def scatter(target, value_of_last, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    tl.store(target + lanes // 2, tl.where(lanes == BLOCK - 1, value_of_last, 1))


def test_one_store_of_two_values_to_one_address_is_reported() -> None:
    with sanitize(), pytest.raises(SanitizerError, match="several values"):
        scatter[(1,)](torch.zeros(8, dtype=torch.int32), 2, BLOCK=16)
    with sanitize():
        scatter[(1,)](torch.zeros(8, dtype=torch.int32), 1, BLOCK=16)


@triton.jit
def add_up(source, target, size, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    tl.store(target, tl.sum(tl.load(source + lanes, mask=lanes < size).to(tl.float32), axis=0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_result_that_uses_masked_off_lanes_is_nan(dtype: torch.dtype) -> None:
    source, target = torch.ones(5, dtype=dtype), torch.zeros(1)
    add_up[(1,)](source, target, 5, BLOCK=8)
    assert target.item() == 5
    with sanitize():
        add_up[(1,)](source, target, 5, BLOCK=8)
    assert target.isnan()


@triton.jit
def take_turns(order, counter):
    turn = tl.atomic_add(counter, 1)
    tl.store(order + tl.program_id(0) * 4 + tl.program_id(1), turn)


def test_programs_run_in_the_shuffled_order() -> None:
    def turns(seed: int | None) -> list[int]:
        order, counter = torch.zeros(12, dtype=torch.int32), torch.zeros(1, dtype=torch.int32)
        with sanitize(seed):
            take_turns[(3, 4)](order, counter)
        return order.tolist()

    assert turns(None) == list(range(12))
    assert turns(1) != turns(2)
    assert sorted(turns(1)) == list(range(12))


@triton.jit
def fill_if(target, size, wide, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    tl.store(target + lanes, 1.0, mask=(lanes < size) & (tl.program_id(0).to(tl.int64) < wide))


def test_a_comparison_of_scalars_masks_a_block() -> None:
    target = torch.zeros(8)
    fill_if[(1,)](target, 5, 0, BLOCK=8)
    assert target.sum() == 0
    fill_if[(1,)](target, 5, 1, BLOCK=8)
    assert target.tolist() == [1] * 5 + [0] * 3


@triton.jit
def bfloat16_work(a, b, product, total, scale, SIZE: tl.constexpr):
    rows, columns = tl.arange(0, SIZE)[:, None], tl.arange(0, SIZE)[None, :]
    left, right = tl.load(a + rows * SIZE + columns), tl.load(b + rows * SIZE + columns)
    tl.store(product + rows * SIZE + columns, tl.dot(left, right).to(tl.bfloat16))
    tl.store(total + rows * SIZE + columns, (left + right) * scale.to(tl.bfloat16))


def test_bfloat16_products_sums_and_rounding_are_those_of_a_gpu() -> None:
    a, b = torch.randn(2, 16, 16).bfloat16()
    product, total = torch.empty_like(a), torch.empty_like(a)
    bfloat16_work[(1,)](a, b, product, total, 0.1, SIZE=16)
    assert torch.equal(total, (a + b) * torch.tensor(0.1).bfloat16())
    torch.testing.assert_close(product, (a.float() @ b.float()).bfloat16(), rtol=2**-8, atol=0)


def test_float32_rounds_to_the_nearest_bfloat16() -> None:
    values = torch.cat((torch.randn(4096), torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, float("inf"), float("nan")])))
    bits = torch.from_numpy(interpreter.float32_to_bfloat16(values.numpy()).view("int16")).view(torch.bfloat16)
    assert torch.equal(bits[:-1], values[:-1].bfloat16())
    assert bits[-1].isnan()
