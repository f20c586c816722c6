"""How much a model repeats itself: shares of n-grams over tokens, without anyone's judgement."""

from collections.abc import Sequence

REPEATED_NGRAM = 4  # shorter ones repeat in good prose too
DISTINCT_NGRAMS = (1, 2, 3)


def repetition(texts: Sequence[Sequence[int]]) -> float:
    """Share of the 4-grams of each text that stood in it before, averaged over texts that have one.

    Args:
        texts: token ids.
    Returns:
        0 where nothing repeats, close to 1 for a loop.
    Source: Welleck et al. 2019, arXiv:1908.04319 (seq-rep-4).
    """
    shares = [1 - len(set(grams)) / len(grams) for text in texts if (grams := ngrams(text, REPEATED_NGRAM))]
    return sum(shares) / len(shares) if shares else 0.0


def distinct(texts: Sequence[Sequence[int]], size: int) -> float:
    """Different n-grams of all texts together, as a share of all their n-grams; 0 where there are none.

    Source: Li et al. 2016, arXiv:1510.03055 (distinct-n).
    """
    grams = [gram for text in texts for gram in ngrams(text, size)]
    return len(set(grams)) / len(grams) if grams else 0.0


def text_scores(texts: Sequence[Sequence[int]]) -> dict[str, float]:
    """`repetition`, and `distinct_N` for N-grams of one to three tokens."""
    return {"repetition": repetition(texts), **{f"distinct_{size}": distinct(texts, size) for size in DISTINCT_NGRAMS}}


def ngrams(ids: Sequence[int], size: int) -> list[tuple[int, ...]]:
    """The runs of `size` tokens."""
    return [tuple(ids[start : start + size]) for start in range(len(ids) - size + 1)]
