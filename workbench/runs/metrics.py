"""metrics.jsonl and its kin: one JSON object a line, written as the run goes, read by anyone at any time.

A step stands once. Figures that come later for the step of the last line (its validation loss, say) are added to that
line in place; everything else is appended. A last line that was cut off by a crash is skipped by every reader.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from workbench.atomic import write_atomically

Record = dict[str, Any]


def encode_record(record: Mapping[str, Any]) -> str:
    """`record` as one line of JSON; numbers that are not finite become null and are named under "nonfinite"."""
    nonfinite = {key: str(value) for key, value in record.items() if _not_finite(value)}
    values = {key: _as_json(value) for key, value in record.items() if key != "nonfinite"}
    named = {**record.get("nonfinite", {}), **nonfinite}
    return json.dumps({**values, **({"nonfinite": named} if named else {})}, ensure_ascii=False) + "\n"


def decode_record(line: bytes) -> Record | None:
    """The object of one line, or None where the line is cut off or damaged."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


class RecordWriter:
    """Appends objects to a JSON-lines file and flushes each; `sync` brings them to the disk."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab+")
        self._end_cut_off_line()

    def write(self, record: Mapping[str, Any]) -> None:
        """Append `record`."""
        self._file.write(encode_record(record).encode("utf-8"))
        self._file.flush()

    def sync(self) -> None:
        """Wait until everything written so far is on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Bring everything to the disk and close the file."""
        if not self._file.closed:
            self.sync()
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _end_cut_off_line(self) -> None:
        """Keep a half line that a crash left from swallowing the first line written now."""
        if self._file.seek(0, os.SEEK_END) == 0:
            return
        self._file.seek(-1, os.SEEK_END)
        if self._file.read(1) != b"\n":
            self._file.write(b"\n")
            self._file.flush()


class MetricsWriter(RecordWriter):
    """Writes one object a step: a second record of the last step is merged into it.

    Args:
        path: the metrics.jsonl to go on with, or to begin.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._path = path
        self._last: Record = {}
        self._last_start = self._file.seek(0, os.SEEK_END)
        for start, record in _records_with_offsets(path):
            self._last_start, self._last = start, record

    def write(self, record: Mapping[str, Any]) -> None:
        """Append `record`, or add it to the last line where that is of the same step."""
        if self._last and record.get("step") == self._last.get("step"):
            self._amend(record)
        else:
            self._last_start = self._file.seek(0, os.SEEK_END)
            self._last = dict(record)
            super().write(record)

    def _amend(self, record: Mapping[str, Any]) -> None:
        self._last = {**self._last, **record}
        line = encode_record(self._last).encode("utf-8")
        # A second handle: writes of one opened for appending go to the end wherever it stands.
        with self._path.open("rb+") as file:
            file.seek(self._last_start)
            file.write(line)
            file.truncate()


def cut_back(path: Path, step: int) -> None:
    """Drop every record after `step`, and damaged lines; readers see the old file or the new one."""
    if not path.exists():
        return
    kept = (record for record in read_metrics(path) if isinstance(record.get("step"), int) and record["step"] <= step)
    write_atomically(path, "".join(encode_record(record) for record in kept))


def read_metrics(path: Path) -> list[Record]:
    """Every whole record of the file, oldest first; none where there is no file yet."""
    return [record for _, record in _records_with_offsets(path)]


def read_recent(path: Path, size_bytes: int = 65536) -> list[Record]:
    """The records in the last `size_bytes` of the file: a quick look at a long run."""
    try:
        with path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - size_bytes)
            file.seek(start)
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return []
    # Without its beginning the first line is no record, and without its newline the last is not yet one.
    whole = lines[1:-1] if start else lines[:-1]
    return [record for line in whole if (record := decode_record(line)) is not None]


class MetricsTail:
    """Follows a metrics file that another thread or process writes.

    `restarted` tells whether the last `read_new` began again at the top, because the file was cut back by a resume.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = 0  # of the last line handed out, which may still be amended
        self._line = b""
        self._file_id: tuple[int, int] | None = None
        self.restarted = False

    def read_new(self) -> list[Record]:
        """Records that came since the last call; an amended one is handed out again, whole, in place of the former."""
        self.restarted = False
        try:
            with self._path.open("rb") as file:
                self._notice_replacement(os.fstat(file.fileno()))
                file.seek(self._start)
                content = file.read()
        except FileNotFoundError:
            return []
        return self._take_lines(content[: content.rfind(b"\n") + 1])

    def _notice_replacement(self, status: os.stat_result) -> None:
        file_id = (status.st_dev, status.st_ino)
        shrunk = status.st_size < self._start + len(self._line)
        if self._file_id is not None and (file_id != self._file_id or shrunk):
            self._start, self._line, self.restarted = 0, b"", True
        self._file_id = file_id

    def _take_lines(self, content: bytes) -> list[Record]:
        lines = content.splitlines(keepends=True)
        if not lines:
            return []
        fresh = lines[1:] if lines[0] == self._line else lines
        self._start += len(content) - len(lines[-1])
        self._line = lines[-1]
        return [record for line in fresh if (record := decode_record(line)) is not None]


def _records_with_offsets(path: Path) -> Iterator[tuple[int, Record]]:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        start = 0
        for line in file:
            record = decode_record(line) if line.endswith(b"\n") else None
            if record is not None:
                yield start, record
            start += len(line)


def _as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_json(inner) for key, inner in value.items()}
    return None if _not_finite(value) else value


def _not_finite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
