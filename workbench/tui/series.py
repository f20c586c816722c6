"""Curves in bounded memory: whatever the length of a run, a chart draws a few thousand points and loses no spike."""

import math
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(slots=True)
class Bucket:
    """Neighbouring points of a curve, remembered by their lowest, highest and mean value."""

    first_x: float
    last_x: float
    low_x: float
    low: float
    high_x: float
    high: float
    total: float
    count: int

    @classmethod
    def of(cls, x: float, y: float) -> "Bucket":
        """A bucket of one point."""
        return cls(x, x, x, y, x, y, y, 1)

    @property
    def mean(self) -> float:
        """Mean of the values."""
        return self.total / self.count

    def join(self, other: "Bucket") -> None:
        """Take in the bucket that follows."""
        self.last_x = other.last_x
        if other.low < self.low:
            self.low_x, self.low = other.low_x, other.low
        if other.high > self.high:
            self.high_x, self.high = other.high_x, other.high
        self.total += other.total
        self.count += other.count

    def points(self) -> Iterator[tuple[float, float]]:
        """The extremes in the order in which they came."""
        extremes = sorted({(self.low_x, self.low), (self.high_x, self.high)})
        yield from extremes


class Series:
    """A growing curve: the lowest, highest and mean value of each bucket of points.

    Non-finite values never enter; they are counted, and break the line where they came.

    Args:
        limit: buckets kept; when they are full, neighbours are joined and each bucket holds twice as many points.
            None keeps every point, for sparse curves such as the validation loss.
    """

    def __init__(self, limit: int | None = 1024) -> None:
        self.limit = limit
        self.buckets: list[Bucket] = []
        self.breaks: list[float] = []
        self.nonfinite = 0
        self.last: float | None = None
        self._points_by_bucket = 1

    def __len__(self) -> int:
        return len(self.buckets)

    def append(self, x: float, y: float | None) -> None:
        """Add a point; one at or before the last x replaces what stood from there on."""
        if self.buckets and x <= self.buckets[-1].last_x:
            self.cut_back(x)
        if y is None or not math.isfinite(y) or not math.isfinite(x):
            self._note_nonfinite(x)
            return
        self.last = y
        tail = self.buckets[-1] if self.buckets else None
        broken = tail is not None and self.breaks and self.breaks[-1] > tail.last_x
        if tail is not None and tail.count < self._points_by_bucket and not broken:
            tail.join(Bucket.of(x, y))
        else:
            self.buckets.append(Bucket.of(x, y))
        if self.limit is not None and len(self.buckets) > self.limit:
            self._join_neighbours()

    def cut_back(self, x: float) -> None:
        """Forget everything from `x` on, as a resumed run writes it again."""
        while self.buckets and self.buckets[-1].last_x >= x:
            self.buckets.pop()
        self.breaks = [place for place in self.breaks if place < x]
        self.last = self.buckets[-1].mean if self.buckets else None

    def lines(self) -> list[list[tuple[float, float]]]:
        """The curve as unbroken lines of (x, y), extremes kept."""
        return [[point for bucket in run for point in bucket.points()] for run in self._runs()]

    def smoothed(self, weight: float) -> list[list[tuple[float, float]]]:
        """The running mean as unbroken lines; `weight` between 0 and 1 is what the past counts."""
        lines = []
        for run in self._runs():
            mean, line = run[0].mean, []
            for bucket in run:
                mean = weight * mean + (1 - weight) * bucket.mean
                line.append((bucket.last_x, mean))
            lines.append(line)
        return lines

    def means(self) -> list[float]:
        """The mean of each bucket, for a small picture."""
        return [bucket.mean for bucket in self.buckets]

    def _note_nonfinite(self, x: float) -> None:
        self.nonfinite += 1
        if math.isfinite(x) and len(self.breaks) < 256:
            self.breaks.append(x)

    def _runs(self) -> list[list[Bucket]]:
        """Buckets between breaks; none is empty."""
        runs: list[list[Bucket]] = []
        breaks = iter(self.breaks)
        place = next(breaks, math.inf)
        for bucket in self.buckets:
            if not runs or place < bucket.first_x:
                runs.append([])
                while place < bucket.first_x:
                    place = next(breaks, math.inf)
            runs[-1].append(bucket)
        return runs

    def _join_neighbours(self) -> None:
        joined: list[Bucket] = []
        for run in self._runs():
            for index, bucket in enumerate(run):
                if index % 2:
                    joined[-1].join(bucket)
                else:
                    joined.append(bucket)
        self.buckets = joined
        self._points_by_bucket *= 2
