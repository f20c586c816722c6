"""Reading packages as plain archives: nothing is unpacked, imported or run.

A member's name only chooses what is read; it never becomes a path, so an archive cannot write anywhere.
"""

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from workbench.errors import DataError

MAX_MEMBER_BYTES = 128 * 2**20  # the largest member wanted here is a 40 MB JSON file
MAX_TOTAL_BYTES = 2**30


def read_members(archive: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Name and content of each regular file of a zip or tar archive that is `wanted`, in the archive's order.

    Raises:
        DataError: the archive is damaged, or a member is larger than any honest one.
    """
    try:
        total = 0
        for name, content in _zip_members(archive, wanted) if zipfile.is_zipfile(archive) else _tar(archive, wanted):
            total += len(content)
            if total > MAX_TOTAL_BYTES:
                raise DataError(archive.name, f"holds more than {MAX_TOTAL_BYTES:,} bytes", "it is not what it claims")
            yield name, content
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        raise DataError(archive.name, f"is not an archive that can be read ({error})", "fetch it again") from error


def _zip_members(archive: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            if not entry.is_dir() and wanted(entry.filename):
                with opened.open(entry) as stream:
                    yield entry.filename, _bounded(stream, entry.filename)


def _tar(archive: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(archive) as opened:
        for entry in opened:
            if entry.isreg() and wanted(entry.name) and (stream := opened.extractfile(entry)) is not None:
                yield entry.name, _bounded(stream, entry.name)


def _bounded(stream: IO[bytes], name: str) -> bytes:
    content = stream.read(MAX_MEMBER_BYTES + 1)  # the size that the archive states may be a lie
    if len(content) > MAX_MEMBER_BYTES:
        raise DataError(name, f"is larger than {MAX_MEMBER_BYTES:,} bytes", "it is not what it claims")
    return content
