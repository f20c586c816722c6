"""Faults seeded into attention and its backward."""

from tests.kernels.fault import faults_in

RANGES = faults_in(
    "attention_ranges",
    ("test_attention", "test_attention_backward"),
    ("causal without the diagonal", "        seen = keys <= positions", "        seen = keys < positions"),
    ("causal one too far", "        seen = keys <= positions", "        seen = keys <= positions + 1"),
    ("keys past the end seen", "        seen = keys < kv_seq", "        seen = keys < kv_seq + 1"),
    ("lowest key left out", "seen & (keys >= lowest)", "seen & (keys > lowest)"),
    (
        "the window one wider",
        "lowest = queries + kv_seq - seq + 1 - window",
        "lowest = queries + kv_seq - seq - window",
    ),
    (
        "a window's last block taken for whole",
        "        whole = tl.maximum(last_query + shift + 1 - window, 0)",
        "        whole = tl.maximum(first_query + shift + 1 - window, 0)",
    ),
    (
        "the diagonal's block taken for whole",
        "        whole_end = tl.maximum(first_query + shift + 1, 0)",
        "        whole_end = tl.maximum(last_query + shift + 1, 0)",
    ),
    (
        "the walk ends a key early",
        "        end = tl.maximum(last_query + shift + 1, 0)",
        "        end = tl.maximum(last_query + shift, 0)",
    ),
    (
        "decoding's shift forgotten",
        "    shift = kv_seq - seq\n    first = 0\n    whole = 0\n    whole_end = kv_seq",
        "    shift = 0\n    first = 0\n    whole = 0\n    whole_end = kv_seq",
    ),
    (
        "documents not in the mask",
        "        lowest = tl.maximum(lowest, tl.load(starts + queries, mask=queries < seq, other=0))\n",
        "        lowest = lowest\n",
    ),
    (
        "a document's first block skipped",
        "    first = first // BLOCK_N * BLOCK_N",
        "    first = tl.cdiv(first, BLOCK_N) * BLOCK_N",
    ),
    ("queries of later documents left out", "(start <= last_key).to(tl.int32)", "(start <= 0 * last_key).to(tl.int32)"),
    (
        "backward: the diagonal's block skipped",
        "    first = first // BLOCK_M * BLOCK_M",
        "    first = tl.cdiv(first, BLOCK_M) * BLOCK_M",
    ),
    (
        "backward: a window ends early",
        "tl.minimum(last_key + window - shift, seq)",
        "tl.minimum(first_key + window - shift, seq)",
    ),
    (
        "rows not masked in a masked tile",
        "        return tl.load(pointers, mask=rows_exist, other=0.0)",
        "        return tl.load(pointers)",
    ),
    (
        "columns not masked in a padded tile",
        "        return tl.load(pointers, mask=columns_exist, other=0.0)",
        "        return tl.load(pointers)",
    ),
)


ATTENTION = faults_in(
    "attention",
    ("test_attention",),
    ("sum not rescaled", "total = total * shrink + tl.sum(p, 1)", "total = total + tl.sum(p, 1)"),
    ("values not rescaled", "        acc = acc * shrink[:, None]\n", ""),
    (
        "no running maximum",
        "new_highest = tl.maximum(highest, tl.max(scores, 1) * scale_2)",
        "new_highest = tl.zeros_like(highest)",
    ),
    (
        "scale dropped in whole blocks",
        "p = tl.math.exp2(scores * scale_2 - origin[:, None])",
        "p = tl.math.exp2(scores - origin[:, None])",
    ),
    (
        "wrong head of keys",
        "kv_head = (first_head // GROUP).to(tl.int64)",
        "kv_head = (first_head % (heads // GROUP)).to(tl.int64)",
    ),
    (
        "the batch's keys forgotten",
        "k_base = k_pointer + batch * (stride_kb * UNIT) + kv_head",
        "k_base = k_pointer + kv_head",
    ),
    (
        "the first part twice",
        "q, k_base, v_base, whole, whole_end, positions",
        "q, k_base, v_base, first, whole_end, positions",
    ),
    (
        "the last part left out",
        "q, k_base, v_base, whole_end, end, positions",
        "q, k_base, v_base, end, end, positions",
    ),
    ("output not divided by the sum", "acc = acc / tl.where(blind, 1.0, total)[:, None]", "acc = acc"),
    ("logarithm without the maximum", "highest + tl.math.log2(total))", "tl.math.log2(total))"),
    ("statistics stored without a mask", "queries, lse, mask=queries < seq)", "queries, lse)"),
    ("output stored without a mask", "columns[None, :], out, mask=exists)", "columns[None, :], out)"),
    ("queries masked by <=", "    exists = (queries < seq)[:, None]", "    exists = (queries <= seq)[:, None]"),
    ("documents of the first row for all", "        starts += batch * seq", "        starts += 0 * seq"),
)


ATTENTION_BACKWARD = faults_in(
    "attention_backward",
    ("test_attention_backward",),
    (
        "delta of half the columns",
        "delta = tl.sum(out.to(tl.float32) * grad.to(tl.float32), 1)",
        "delta = tl.sum(out.to(tl.float32) * grad.to(tl.float32), 1) * 0.5",
    ),
    ("delta stored without a mask", "statistics, delta, mask=queries < seq)", "statistics, delta)"),
    ("delta dropped for q", "        ds = p * (dp - delta[:, None])", "        ds = p * dp"),
    ("delta dropped for k", "        ds = p * (dp - delta[None, :])", "        ds = p * dp"),
    ("scale dropped for q", "dq = (dq * scale).to", "dq = dq.to"),
    ("scale dropped for k", "dk = (dk * scale).to", "dk = dk.to"),
    (
        "no mask on the probabilities of q",
        "            p = tl.where(sees(positions",
        "            p = tl.where(True | sees(positions",
    ),
    ("no mask on the probabilities of k", "            p = tl.where(seen, p, 0.0)", "            p = p"),
    ("one query head of a group twice", "        head = kv_head * GROUP + member", "        head = kv_head * GROUP"),
    (
        "wrong head of keys",
        "k_base = k_pointer + batch * (stride_kb * UNIT) + head // GROUP * (stride_kh * UNIT)",
        "k_base = k_pointer + batch * (stride_kb * UNIT) + head % (heads // GROUP) * (stride_kh * UNIT)",
    ),
    (
        "the masked part of q left out",
        "k_base, v_base, whole_end, end, positions",
        "k_base, v_base, end, end, positions",
    ),
    (
        "the masked part of k twice",
        "lse_base, delta_base, whole, end, keys",
        "lse_base, delta_base, first, end, keys",
    ),
    (
        "the whole part of k left out",
        "lse_base, delta_base, whole, end, keys",
        "lse_base, delta_base, end, end, keys",
    ),
    ("dv with the gradient of scores", "dv = tl.dot(p.to(grad.dtype), grad, dv", "dv = tl.dot(p.to(grad.dtype), q, dv"),
    ("dk stored without a mask", "columns[None, :], dk, mask=exists)", "columns[None, :], dk)"),
    ("dq stored without a mask", "columns[None, :], dq, mask=exists)", "columns[None, :], dq)"),
    (
        "statistics of the first head for all",
        "lse_base = lse_pointer + (batch * heads + head) * seq",
        "lse_base = lse_pointer + batch * heads * seq",
    ),
)
