"""Faults seeded into what works row by row: the norms, rotary positions, the gated unit."""

from tests.kernels.fault import faults_in

NORMS = faults_in(
    "rms_norm",
    ("test_rms_norm",),
    (
        "rows masked by <=",
        "    row_exists = rows < row_count\n    first",
        "    row_exists = rows <= row_count\n    first",
        0,
    ),
    ("columns unmasked", "    if HIDDEN % BLOCK_HIDDEN == 0:", "    if True:"),
    ("columns masked by <=", "(columns < HIDDEN)[None, :]", "(columns <= HIDDEN)[None, :]"),
    (
        "the weight read past its end",
        "tl.load(weight + columns, mask=columns < HIDDEN, other=0.0)",
        "tl.load(weight + columns)",
    ),
    ("the residual left out", "        values += load_rows(residual", "        values += 0 * load_rows(residual"),
    ("the sum not rounded as stored", "        values = values.to(total.dtype.element_ty).to(tl.float32)\n", ""),
    ("eps outside of the root", "tl.math.rsqrt(squares / HIDDEN + eps)", "tl.math.rsqrt(squares / HIDDEN) + eps"),
    (
        "divided by the block, not the row",
        "tl.math.rsqrt(squares / HIDDEN + eps)",
        "tl.math.rsqrt(squares / BLOCK_HIDDEN + eps)",
    ),
    (
        "statistics stored without a mask",
        "tl.store(inverse_rms + rows, scale, mask=row_exists)",
        "tl.store(inverse_rms + rows, scale)",
    ),
    (
        "the sum stored without a mask",
        "values.to(total.dtype.element_ty), mask=mask)",
        "values.to(total.dtype.element_ty))",
        0,
    ),
    (
        "the output stored without a mask",
        "normed.to(out.dtype.element_ty), mask=mask)",
        "normed.to(out.dtype.element_ty))",
        0,
    ),
    (
        "a wide row's first block skipped",
        "        for start in range(0, HIDDEN, BLOCK_HIDDEN):\n            mask",
        "        for start in range(BLOCK_HIDDEN, HIDDEN, BLOCK_HIDDEN):\n            mask",
    ),
    (
        "rows taken twice by two programs",
        "tl.cdiv(row_count, BLOCK_ROWS), tl.num_programs(0))",
        "tl.cdiv(row_count, BLOCK_ROWS), 1)",
    ),
    ("the mean of backward dropped", "result = (wide - normed * mean) * scale", "result = wide * scale"),
    ("backward without the weight", "wide = upstream * scales", "wide = upstream"),
    (
        "the sum's own gradient dropped",
        "            result += load_rows(grad_total",
        "            result += 0 * load_rows(grad_total",
        0,
    ),
    (
        "the weight's gradient of the last rows only",
        "weight_part += upstream * normed",
        "weight_part = upstream * normed",
    ),
    (
        "the weight's parts one over another",
        "weight_parts + tl.program_id(0).to(tl.int64) * HIDDEN + columns",
        "weight_parts + columns",
    ),
    ("wide backward: scale dropped", "* scale * mean) * scale", "* scale * mean)"),
    ("wide weight gradient without statistics", "columns, mask) * scale\n    part", "columns, mask)\n    part"),
    (
        "the sum of parts leaves the last out",
        "    for start in range(0, part_count, BLOCK_PARTS)",
        "    for start in range(0, part_count - 1, BLOCK_PARTS)",
    ),
)


ROTARY = faults_in(
    "rotary",
    ("test_rotary",),
    ("the sine's sign", "real * cosines - imaginary * sines", "real * cosines + imaginary * sines"),
    ("backward turns forward", "        sines = -sines", "        sines = sines"),
    (
        "positions not taken modulo the sequence",
        "    angles = (tokens % seq) * table_stride\n    cosines",
        "    angles = tokens * table_stride\n    cosines",
    ),
    (
        "tokens masked by <=",
        "    token_exists = tokens < token_count\n    angles",
        "    token_exists = tokens <= token_count\n    angles",
    ),
    (
        "heads past the last one stored",
        "        exists = token_exists & (head < heads)\n        rows",
        "        exists = token_exists\n        rows",
    ),
    (
        "keys counted from the heads, not their blocks",
        "first_head -= tl.cdiv(heads, BLOCK_HEADS) * BLOCK_HEADS",
        "first_head -= heads",
    ),
    ("half masked by <=", "(tl.arange(0, BLOCK) < SIZE)[None, :]", "(tl.arange(0, BLOCK) <= SIZE)[None, :]"),
    ("the batch's stride forgotten", "(tokens // seq).to(tl.int64) * batch_stride + head", "head"),
    (
        "the rest of a head not copied",
        "store_tile(out, out_rows, exists, rest, 2 * HALF, REST, BLOCK_REST)",
        "store_tile(out, out_rows, exists, 0 * rest, 2 * HALF, REST, BLOCK_REST)",
    ),
    (
        "the norm without the rest",
        "                squares += tl.sum(rest * rest, axis=1)\n            scale",
        "                squares += 0.0\n            scale",
        0,
    ),
    ("the norm without its weight", "            real *= scale * real_weight", "            real *= scale"),
    ("norm and rotary: the mean dropped", "(wide_real - real * mean) * scale", "wide_real * scale"),
    (
        "norm and rotary: backward turns forward",
        "turned_real * cosines + turned_imaginary * sines",
        "turned_real * cosines - turned_imaginary * sines",
    ),
    (
        "norm and rotary: work left out",
        "range(tl.program_id(0), work, tl.num_programs(0))",
        "range(tl.program_id(0), work - 1, tl.num_programs(0))",
    ),
    ("norm and rotary: parts one over another", "parts + tl.program_id(0).to(tl.int64) * (2 * HEAD_DIM)", "parts"),
)


GATED = faults_in(
    "swiglu",
    ("test_swiglu",),
    ("masked by <=", "tl.arange(0, BLOCK) < columns - start", "tl.arange(0, BLOCK) <= columns - start"),
    (
        "stored without a mask",
        "(g * tl.sigmoid(g) * u).to(out.dtype.element_ty), mask=mask)",
        "(g * tl.sigmoid(g) * u).to(out.dtype.element_ty))",
    ),
    ("gate and up exchanged", "(g * tl.sigmoid(g) * u)", "(u * tl.sigmoid(u) * g)"),
    ("up's row found by gate's stride", "load_wide(up + row * up_stride", "load_wide(up + row * gate_stride", 0),
    ("the gate's gradient without its slope", "gated * (1.0 + g * (1.0 - gated))", "gated"),
    ("the gradient of up without the gate", "(upstream * g * gated)", "(upstream * gated)"),
)
