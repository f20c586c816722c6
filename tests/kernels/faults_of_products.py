"""Faults seeded into the losses over a vocabulary and the products."""

from tests.kernels.fault import faults_in

CROSS_ENTROPY = faults_in(
    "cross_entropy",
    ("test_cross_entropy",),
    ("padding counted", "return tl.where(at < vocab_size, x, LOWEST)", "return x", 0),
    ("sum not rescaled", "total = total * tl.math.exp2(largest * LOG2E - shift) + ", "total = total + "),
    ("no running maximum", "    higher = tl.maximum(largest, tl.max(x, 0))", "    higher = largest * 0.0"),
    ("the tail left out", "    if ONE_BLOCK or tail < vocab_size:", "    if ONE_BLOCK:"),
    (
        "the first block skipped",
        "        for start in range(0, tail, BLOCK):",
        "        for start in range(BLOCK, tail, BLOCK):",
    ),
    ("the last whole block's gradient left out", "range(BLOCK, tail + BLOCK, BLOCK)", "range(BLOCK, tail, BLOCK)"),
    (
        "stored without a mask",
        "        tl.store(logits + at, gradient, mask=at < stride)",
        "        tl.store(logits + at, gradient)",
    ),
    ("the label's one left out", "- log_sum_2) - 1.0", "- log_sum_2)"),
    ("z-loss out of the loss", "log_sum - picked + z_loss * log_sum * log_sum", "log_sum - picked"),
    (
        "z-loss's gradient halved",
        "        factor = 1.0 + 2.0 * z_loss * log_sum",
        "        factor = 1.0 + z_loss * log_sum",
    ),
    (
        "upstream dropped from a weighted loss",
        "factor = (1.0 + 2.0 * z_loss * log_sum) * upstream",
        "factor = 1.0 + 2.0 * z_loss * log_sum",
    ),
    (
        "upstream dropped at the label",
        "exp2(picked * LOG2E - log_sum_2) - upstream",
        "exp2(picked * LOG2E - log_sum_2) - 1.0",
    ),
)


KL = faults_in(
    "kl",
    ("test_kl",),
    ("temperature dropped", "    scale = inverse_temperature * LOG2E", "    scale = LOG2E + 0 * inverse_temperature"),
    ("directions exchanged", "    if REVERSE:\n        left = student", "    if not REVERSE:\n        left = student"),
    ("expectation not rescaled", "moment = moment * rescale + ", "moment = moment + "),
    (
        "the other side's sum not rescaled",
        "total_b = total_b * tl.math.exp2(largest_b - higher_b) + ",
        "total_b = total_b + ",
    ),
    ("padding counted", "return tl.where(at < vocab_size, x * scale, LOWEST)", "return x * scale"),
    (
        "divergence without the sums",
        "(mean - (log_sum_a - log_sum_b)) * LN2",
        "mean * LN2",
    ),
    (
        "the gradient without the temperature",
        "        slope = inverse_temperature\n",
        "        slope = 1.0 + 0 * inverse_temperature\n",
    ),
    (
        "the tail's gradient left out",
        "        if tail < vocab_size:\n            at = tail + columns",
        "        if tail > vocab_size:\n            at = tail + columns",
    ),
    ("upstream of the first row for all", "tl.load(UPSTREAM + row)", "tl.load(UPSTREAM)"),
)


GROUPED = faults_in(
    "grouped_matmul",
    ("test_grouped_matmul",),
    ("an expert's end not kept", "tl.minimum(start + count, tokens), tokens)", "tokens, tokens)"),
    (
        "blocks before counted by <",
        "before = tl.cumsum(blocks, 0) <= block_m",
        "before = tl.cumsum(blocks, 0) < block_m",
    ),
    (
        "the wrong expert's weights",
        "weight = WEIGHT + expert.to(tl.int64) * stride_expert",
        "weight = WEIGHT + (experts - 1 - expert).to(tl.int64) * stride_expert",
    ),
    (
        "depth past the end read",
        "a = tl.load(x, mask=keep_rows & (inner[None, :] < left), other=0.0)",
        "a = tl.load(x, mask=keep_rows, other=0.0)",
    ),
    ("columns stored without a mask", "mask=keep_rows & keep_cols)", "mask=keep_rows)", -1),
    ("rows stored without a mask", "mask=keep_rows & keep_cols)", "mask=keep_cols)", -1),
    (
        "the sum of the last block only",
        "total = tl.dot(a, b, total, input_precision=PRECISION)",
        "total = tl.dot(a, b, input_precision=PRECISION)",
    ),
    ("rest's rows not made zero", "tl.where(expert < experts, depth, 0)", "depth"),
    (
        "the weight's gradient from the wrong token on",
        "    start = tl.sum(tl.where(each < expert, counts, 0), 0)\n    count = tl.minimum",
        "    start = tl.sum(tl.where(each <= expert, counts, 0), 0)\n    count = tl.minimum",
    ),
    (
        "the weight's gradient over other experts' tokens",
        "(inner[:, None] < left), other=0.0)\n        total = tl.dot(tl.trans(a)",
        "(inner[:, None] < tokens), other=0.0)\n        total = tl.dot(tl.trans(a)",
    ),
)


INT8 = faults_in(
    "int8_matmul",
    ("test_int8_matmul",),
    ("scale dropped from a vector", "y = tl.sum(total, 2)[:, :, None] * scale", "y = tl.sum(total, 2)[:, :, None]"),
    ("rows of x masked by <=", "    keep_row = row < rows\n", "    keep_row = row <= rows\n"),
    ("rows of a matrix masked by <=", "    keep_row = row[None, :] < rows\n", "    keep_row = row[None, :] <= rows\n"),
    ("the last columns read twice", "        keep = column < in_features", "        keep = column < in_features + 1"),
    (
        "scale of another row",
        "tl.load(SCALE + out, mask=out < out_features, other=0.0)",
        "tl.load(SCALE + out * 0, mask=out < out_features, other=0.0)",
    ),
    ("stored without a mask", "mask=keep_out & keep_row)", "mask=keep_row)", 1),
    (
        "the pointer of x not moved on",
        "        weight += BLOCK_IN\n        x += BLOCK_IN",
        "        weight += BLOCK_IN",
    ),
)
