"""The faults that `mutations.py` seeds: one place of a kernel's source changed in a way that a slip of the hand might."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """In triton_ops/`module`.py, `old` becomes `new`.

    Args:
        tests: the files, without .py, whose tests must notice.
        at: which of several places that hold `old`, from 0; -1 where there must be only one.
    """

    module: str
    name: str
    old: str
    new: str
    tests: tuple[str, ...]
    at: int = -1

    @property
    def place(self) -> int:
        """The index of the place."""
        return max(self.at, 0)

    @property
    def counted(self) -> bool:
        """Whether several places may hold `old`."""
        return self.at >= 0

    @property
    def key(self) -> str:
        """Names it in `EQUIVALENT`."""
        return f"{self.module}: {self.name}"


def _in(module: str, tests: tuple[str, ...], *changes: tuple[str, str, str] | tuple[str, str, str, int]) -> list[Fault]:
    return [
        Fault(module, name, old, new, tests, *rest) for name, old, new, *rest in changes  # type: ignore[misc]
    ]


_NORMS = _in(
    "rms_norm",
    ("test_rms_norm",),
    ("rows masked by <=", "    row_exists = rows < row_count\n    first", "    row_exists = rows <= row_count\n    first", 0),
    ("columns unmasked", "    if HIDDEN % BLOCK_HIDDEN == 0:", "    if True:"),
    ("columns masked by <=", "(columns < HIDDEN)[None, :]", "(columns <= HIDDEN)[None, :]"),
    ("the weight read past its end", "tl.load(weight + columns, mask=columns < HIDDEN, other=0.0)", "tl.load(weight + columns)"),
    ("the residual left out", "        values += load_rows(residual", "        values += 0 * load_rows(residual"),
    ("the sum not rounded as stored", "        values = values.to(total.dtype.element_ty).to(tl.float32)\n", ""),
    ("eps outside of the root", "tl.math.rsqrt(squares / HIDDEN + eps)", "tl.math.rsqrt(squares / HIDDEN) + eps"),
    ("divided by the block, not the row", "tl.math.rsqrt(squares / HIDDEN + eps)", "tl.math.rsqrt(squares / BLOCK_HIDDEN + eps)"),
    ("statistics stored without a mask", "tl.store(inverse_rms + rows, scale, mask=row_exists)", "tl.store(inverse_rms + rows, scale)"),
    ("the sum stored without a mask", "values.to(total.dtype.element_ty), mask=mask)", "values.to(total.dtype.element_ty))", 0),
    ("the output stored without a mask", "normed.to(out.dtype.element_ty), mask=mask)", "normed.to(out.dtype.element_ty))", 0),
    ("a wide row's first block skipped", "        for start in range(0, HIDDEN, BLOCK_HIDDEN):\n            mask", "        for start in range(BLOCK_HIDDEN, HIDDEN, BLOCK_HIDDEN):\n            mask"),
    ("rows taken twice by two programs", "    step = tl.num_programs(0) * BLOCK_ROWS", "    step = BLOCK_ROWS"),
    ("the mean of backward dropped", "result = (wide - normed * mean) * scale", "result = wide * scale"),
    ("backward without the weight", "wide = upstream * scales", "wide = upstream"),
    ("the sum's own gradient dropped", "            result += load_rows(grad_total", "            result += 0 * load_rows(grad_total", 0),
    ("the weight's gradient of the last rows only", "weight_part += upstream * normed", "weight_part = upstream * normed"),
    ("the weight's parts one over another", "weight_parts + tl.program_id(0).to(tl.int64) * HIDDEN + columns", "weight_parts + columns"),
    ("wide backward: scale dropped", "* scale * mean) * scale", "* scale * mean)"),
    ("wide weight gradient without statistics", "columns, mask) * scale\n    part", "columns, mask)\n    part"),
    ("the sum of parts leaves the last out", "    for start in range(0, part_count, BLOCK_PARTS)", "    for start in range(0, part_count - 1, BLOCK_PARTS)"),
)

_ROTARY = _in(
    "rotary",
    ("test_rotary",),
    ("the sine's sign", "real * cosines - imaginary * sines", "real * cosines + imaginary * sines"),
    ("backward turns forward", "        sines = -sines", "        sines = sines"),
    ("positions not taken modulo the sequence", "    angles = (tokens % seq) * table_stride\n    cosines", "    angles = tokens * table_stride\n    cosines"),
    ("tokens masked by <=", "    token_exists = tokens < token_count\n    angles", "    token_exists = tokens <= token_count\n    angles"),
    ("heads past the last one stored", "        exists = token_exists & (head < heads)\n        rows", "        exists = token_exists\n        rows"),
    ("keys counted from the heads, not their blocks", "first_head -= tl.cdiv(heads, BLOCK_HEADS) * BLOCK_HEADS", "first_head -= heads"),
    ("half masked by <=", "(tl.arange(0, BLOCK) < SIZE)[None, :]", "(tl.arange(0, BLOCK) <= SIZE)[None, :]"),
    ("the batch's stride forgotten", "(tokens // seq).to(tl.int64) * batch_stride + head", "head"),
    ("the rest of a head not copied", "store_tile(out, out_rows, exists, rest, 2 * HALF, REST, BLOCK_REST)", "store_tile(out, out_rows, exists, 0 * rest, 2 * HALF, REST, BLOCK_REST)"),
    ("the norm without the rest", "                squares += tl.sum(rest * rest, axis=1)\n            scale", "                squares += 0.0\n            scale", 0),
    ("the norm without its weight", "            real *= scale * load_weight(weight, 0, HALF, BLOCK_HALF)", "            real *= scale"),
    ("norm and rotary: the mean dropped", "(wide_real - real * mean) * scale", "wide_real * scale"),
    ("norm and rotary: backward turns forward", "turned_real * cosines + turned_imaginary * sines", "turned_real * cosines - turned_imaginary * sines"),
    ("norm and rotary: work left out", "range(tl.program_id(0), work, tl.num_programs(0))", "range(tl.program_id(0), work - 1, tl.num_programs(0))"),
    ("norm and rotary: parts one over another", "parts + tl.program_id(0).to(tl.int64) * (2 * HEAD_DIM)", "parts"),
)

_GATED = _in(
    "swiglu",
    ("test_swiglu",),
    ("masked by <=", "tl.arange(0, BLOCK) < columns - start", "tl.arange(0, BLOCK) <= columns - start"),
    ("stored without a mask", "(g * tl.sigmoid(g) * u).to(out.dtype.element_ty), mask=mask)", "(g * tl.sigmoid(g) * u).to(out.dtype.element_ty))"),
    ("gate and up exchanged", "(g * tl.sigmoid(g) * u)", "(u * tl.sigmoid(u) * g)"),
    ("up's row found by gate's stride", "load_wide(up + row * up_stride", "load_wide(up + row * gate_stride", 0),
    ("the gate's gradient without its slope", "gated * (1.0 + g * (1.0 - gated))", "gated"),
    ("the gradient of up without the gate", "(upstream * g * gated)", "(upstream * gated)"),
)

_ATTENTION_TESTS = ("test_attention",)
_RANGES = _in(
    "attention_ranges",
    ("test_attention", "test_attention_backward"),
    ("causal without the diagonal", "        seen = keys <= positions", "        seen = keys < positions"),
    ("causal one too far", "        seen = keys <= positions", "        seen = keys <= positions + 1"),
    ("keys past the end seen", "        seen = keys < kv_seq", "        seen = keys < kv_seq + 1"),
    ("lowest key left out", "seen & (keys >= lowest)", "seen & (keys > lowest)"),
    ("the window one wider", "lowest = queries + kv_seq - seq + 1 - window", "lowest = queries + kv_seq - seq - window"),
    ("a window's last block taken for whole", "        whole = tl.maximum(last_query + shift + 1 - window, 0)", "        whole = tl.maximum(first_query + shift + 1 - window, 0)"),
    ("the diagonal's block taken for whole", "        whole_end = tl.maximum(first_query + shift + 1, 0)", "        whole_end = tl.maximum(last_query + shift + 1, 0)"),
    ("the walk ends a key early", "        end = tl.maximum(last_query + shift + 1, 0)", "        end = tl.maximum(last_query + shift, 0)"),
    ("decoding's shift forgotten", "    shift = kv_seq - seq\n    first = 0\n    whole = 0\n    whole_end = kv_seq", "    shift = 0\n    first = 0\n    whole = 0\n    whole_end = kv_seq"),
    ("documents not in the mask", "        lowest = tl.maximum(lowest, tl.load(starts + queries, mask=queries < seq, other=0).to(tl.int32))\n", "        lowest = lowest\n"),
    ("a document's first block skipped", "    first = first // BLOCK_N * BLOCK_N", "    first = tl.cdiv(first, BLOCK_N) * BLOCK_N"),
    ("queries of later documents counted", "(start <= first_key).to(tl.int32)", "(start <= last_key).to(tl.int32)"),
    ("backward: the diagonal's block skipped", "    first = first // BLOCK_M * BLOCK_M", "    first = tl.cdiv(first, BLOCK_M) * BLOCK_M"),
    ("backward: a window ends early", "tl.minimum(last_key + window - shift, seq)", "tl.minimum(first_key + window - shift, seq)"),
    ("rows not masked in a masked tile", "        return tl.load(pointers, mask=rows_exist, other=0.0)", "        return tl.load(pointers)"),
    ("columns not masked in a padded tile", "        return tl.load(pointers, mask=columns_exist, other=0.0)", "        return tl.load(pointers)"),
)

_ATTENTION = _in(
    "attention",
    _ATTENTION_TESTS,
    ("sum not rescaled", "total = total * shrink + tl.sum(p, 1)", "total = total + tl.sum(p, 1)"),
    ("values not rescaled", "        acc = acc * shrink[:, None]\n", ""),
    ("no running maximum", "new_highest = tl.maximum(highest, tl.max(scores, 1) * scale_2)", "new_highest = tl.zeros_like(highest)"),
    ("scale dropped in whole blocks", "p = tl.math.exp2(scores * scale_2 - origin[:, None])", "p = tl.math.exp2(scores - origin[:, None])"),
    ("wrong head of keys", "kv_head = (first_head // GROUP).to(tl.int64)", "kv_head = (first_head % (heads // GROUP)).to(tl.int64)"),
    ("the batch's keys forgotten", "k_base = k_pointer + batch * (stride_kb * UNIT) + kv_head", "k_base = k_pointer + kv_head"),
    ("the first part twice", "q, k_base, v_base, whole, whole_end, positions", "q, k_base, v_base, first, whole_end, positions"),
    ("the last part left out", "q, k_base, v_base, whole_end, end, positions", "q, k_base, v_base, end, end, positions"),
    ("output not divided by the sum", "acc = acc / tl.where(blind, 1.0, total)[:, None]", "acc = acc"),
    ("logarithm without the maximum", "highest + tl.math.log2(total))", "tl.math.log2(total))"),
    ("statistics stored without a mask", "queries, lse, mask=queries < seq)", "queries, lse)"),
    ("output stored without a mask", "columns[None, :], out, mask=exists)", "columns[None, :], out)"),
    ("queries masked by <=", "    exists = (queries < seq)[:, None]", "    exists = (queries <= seq)[:, None]"),
    ("documents of the first row for all", "        starts += batch * seq", "        starts += 0 * seq"),
)

_ATTENTION_BACKWARD = _in(
    "attention_backward",
    ("test_attention_backward",),
    ("delta of half the columns", "delta = tl.sum(out.to(tl.float32) * grad.to(tl.float32), 1)", "delta = tl.sum(out.to(tl.float32) * grad.to(tl.float32), 1) * 0.5"),
    ("delta stored without a mask", "statistics, delta, mask=queries < seq)", "statistics, delta)"),
    ("delta dropped for q", "        ds = p * (dp - delta[:, None])", "        ds = p * dp"),
    ("delta dropped for k", "        ds = p * (dp - delta[None, :])", "        ds = p * dp"),
    ("scale dropped for q", "dq = (dq * scale).to", "dq = dq.to"),
    ("scale dropped for k", "dk = (dk * scale).to", "dk = dk.to"),
    ("no mask on the probabilities of q", "            p = tl.where(sees(positions", "            p = tl.where(True | sees(positions"),
    ("no mask on the probabilities of k", "            p = tl.where(seen, p, 0.0)", "            p = p"),
    ("one query head of a group twice", "        head = kv_head * GROUP + member", "        head = kv_head * GROUP"),
    ("wrong head of keys", "k_base = k_pointer + batch * (stride_kb * UNIT) + head // GROUP * (stride_kh * UNIT)", "k_base = k_pointer + batch * (stride_kb * UNIT) + head % (heads // GROUP) * (stride_kh * UNIT)"),
    ("the masked part of q left out", "k_base, v_base, whole_end, end, positions", "k_base, v_base, end, end, positions"),
    ("the tail of k twice", "lse_base, delta_base, whole_end, end, keys", "lse_base, delta_base, whole, end, keys"),
    ("the whole part of k left out", "lse_base, delta_base, whole, whole_end, keys", "lse_base, delta_base, whole_end, whole_end, keys"),
    ("dv with the gradient of scores", "dv = tl.dot(p.to(grad.dtype), grad, dv", "dv = tl.dot(p.to(grad.dtype), q, dv"),
    ("dk stored without a mask", "columns[None, :], dk, mask=exists)", "columns[None, :], dk)"),
    ("dq stored without a mask", "columns[None, :], dq, mask=exists)", "columns[None, :], dq)"),
    ("statistics of the first head for all", "lse_base = lse_pointer + (batch * heads + head) * seq", "lse_base = lse_pointer + batch * heads * seq"),
)

_CROSS_ENTROPY = _in(
    "cross_entropy",
    ("test_cross_entropy",),
    ("padding counted", "return tl.where(at < vocab_size, x, LOWEST)", "return x", 0),
    ("sum not rescaled", "total = total * tl.math.exp2(largest * LOG2E - shift) + ", "total = total + "),
    ("no running maximum", "    higher = tl.maximum(largest, tl.max(x, 0))", "    higher = largest * 0.0"),
    ("the tail left out", "    if ONE_BLOCK or tail < vocab_size:", "    if ONE_BLOCK:"),
    ("the first block skipped", "        for start in range(0, tail, BLOCK):", "        for start in range(BLOCK, tail, BLOCK):"),
    ("the last whole block's gradient left out", "range(BLOCK, tail + BLOCK, BLOCK)", "range(BLOCK, tail, BLOCK)"),
    ("stored without a mask", "        tl.store(logits + at, gradient, mask=at < stride)", "        tl.store(logits + at, gradient)"),
    ("the label's one left out", "- log_sum_2) - 1.0", "- log_sum_2)"),
    ("z-loss out of the loss", "log_sum - picked + z_loss * log_sum * log_sum", "log_sum - picked"),
    ("z-loss's gradient halved", "        factor = 1.0 + 2.0 * z_loss * log_sum", "        factor = 1.0 + z_loss * log_sum"),
    ("upstream dropped from a weighted loss", "- tl.where(at == label, 1.0, 0.0)) * upstream", "- tl.where(at == label, 1.0, 0.0))"),
)

_KL = _in(
    "kl",
    ("test_kl",),
    ("temperature dropped", "    scale = inverse_temperature * LOG2E", "    scale = LOG2E + 0 * inverse_temperature"),
    ("directions exchanged", "    if REVERSE:\n        left = student", "    if not REVERSE:\n        left = student"),
    ("expectation not rescaled", "moment = moment * rescale + ", "moment = moment + "),
    ("the other side's sum not rescaled", "total_b = total_b * tl.math.exp2(largest_b - higher_b) + ", "total_b = total_b + "),
    ("padding counted", "return tl.where(at < vocab_size, x * scale, LOWEST)", "return x * scale"),
    ("divergence without the sums", "divergence = moment / total_a - (log_sum_a - log_sum_b)", "divergence = moment / total_a"),
    ("the gradient without the temperature", "        slope = inverse_temperature\n", "        slope = 1.0 + 0 * inverse_temperature\n"),
    ("the tail's gradient left out", "        if tail < vocab_size:\n            at = tail + columns", "        if tail > vocab_size:\n            at = tail + columns"),
    ("upstream of the first row for all", "tl.load(UPSTREAM + row)", "tl.load(UPSTREAM)"),
)

_GROUPED = _in(
    "grouped_matmul",
    ("test_grouped_matmul",),
    ("an expert's end not kept", "        end = tl.minimum(start + count, tokens)", "        end = tokens"),
    ("blocks before counted by <", "before = tl.cumsum(blocks, 0) <= block_m", "before = tl.cumsum(blocks, 0) < block_m"),
    ("the wrong expert's weights", "weight = WEIGHT + expert.to(tl.int64) * stride_expert", "weight = WEIGHT + (experts - 1 - expert).to(tl.int64) * stride_expert"),
    ("depth past the end read", "a = tl.load(x, mask=keep_rows & (inner[None, :] < left), other=0.0)", "a = tl.load(x, mask=keep_rows, other=0.0)"),
    ("columns stored without a mask", "mask=keep_rows & keep_cols)", "mask=keep_rows)", -1),
    ("rows stored without a mask", "mask=keep_rows & keep_cols)", "mask=keep_cols)", -1),
    ("the sum of the last block only", "total = tl.dot(a, b, total, input_precision=PRECISION)", "total = tl.dot(a, b, input_precision=PRECISION)"),
    ("rest's rows not made zero", "        depth = 0\n", "        depth = depth\n"),
    ("the weight's gradient from the wrong token on", "    start = tl.sum(tl.where(each < expert, counts, 0), 0)\n    count = tl.minimum", "    start = tl.sum(tl.where(each <= expert, counts, 0), 0)\n    count = tl.minimum"),
    ("the weight's gradient over other experts' tokens", "(inner[:, None] < left), other=0.0)\n        total = tl.dot(tl.trans(a)", "(inner[:, None] < tokens), other=0.0)\n        total = tl.dot(tl.trans(a)"),
)

_INT8 = _in(
    "int8_matmul",
    ("test_int8_matmul",),
    ("scale dropped from a vector", "y = tl.sum(total, 2)[:, :, None] * scale", "y = tl.sum(total, 2)[:, :, None]"),
    ("rows of x masked by <=", "    keep_row = row < rows\n", "    keep_row = row <= rows\n"),
    ("the last columns read twice", "        keep = column < in_features", "        keep = column < in_features + 1"),
    ("scale of another row", "tl.load(SCALE + out, mask=out < out_features, other=0.0)", "tl.load(SCALE + out * 0, mask=out < out_features, other=0.0)"),
    ("stored without a mask", "mask=keep_out & keep_row)", "mask=keep_row)", 1),
    ("the pointer of x not moved on", "        weight += BLOCK_IN\n        x += BLOCK_IN", "        weight += BLOCK_IN"),
)

FAULTS = [
    *_NORMS,
    *_ROTARY,
    *_GATED,
    *_RANGES,
    *_ATTENTION,
    *_ATTENTION_BACKWARD,
    *_CROSS_ENTROPY,
    *_KL,
    *_GROUPED,
    *_INT8,
]

EQUIVALENT: dict[str, str] = {}
"""The faults that no test can notice, each with the reason."""
