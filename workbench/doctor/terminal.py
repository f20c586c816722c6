"""The terminal: size, colours, characters and their widths, copying, keys; what multiplexers and editors take away."""

import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping

from workbench.cells import width
from workbench.doctor.check import Check
from workbench.language import tr

ANSWER_SECONDS = 0.3  # a terminal answers in milliseconds; over a slow line in a tenth of a second
SLOW_ESCAPE_MS = 100
PROBES = ("中文", "─│●✓…", "⣿⡇▁█")
"""Chinese characters, signs of ambiguous width, and those that curves and bars are drawn with."""
_POSITION = re.compile(rb"\x1b\[(\d+);(\d+)R")


def terminal_checks(environment: Mapping[str, str], *, draws: bool = True) -> Iterator[Check]:
    """Everything that can be told of the terminal of this process.

    Args:
        environment: the process's variables.
        draws: whether characters may be drawn on it for a moment, to see how wide they are.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        yield _check(tr("terminal"), "ok", tr("none here: its checks are left out"))
        return
    yield _kind(environment)
    yield size_check(*shutil.get_terminal_size())
    yield colour_check(environment)
    yield encoding_check(sys.stdout.encoding or "")
    if draws:
        yield from _widths()
    yield copy_check(environment, _tmux_option("set-clipboard") if environment.get("TMUX") else "")
    yield from key_checks(environment, _tmux_option("escape-time") if environment.get("TMUX") else "")


def _check(name: str, level: str, found: str, advice: str = "") -> Check:
    return Check("terminal", name, level, found, advice)  # type: ignore[arg-type]


def _kind(environment: Mapping[str, str]) -> Check:
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    told = " ".join(filter(None, [term or tr("TERM is not set"), program]))
    if term in ("", "dumb", "unknown"):
        return _check(tr("kind"), "problem", told, tr("use another terminal, or llm-workbench --profile NAME here"))
    if term == "linux":
        return _check(
            tr("kind"), "warning", told, tr("the kernel's console shows few characters; use a terminal window")
        )
    return _check(tr("kind"), "ok", told)


def size_check(columns: int, lines: int) -> Check:
    """Whether the screens have room."""
    told = f"{columns}x{lines}"
    if columns < 60 or lines < 18:
        return _check(tr("size"), "problem", told, tr("the screens need 60x18; enlarge the window"))
    if columns < 80 or lines < 24:
        return _check(tr("size"), "warning", told, tr("80x24 shows more, 120x36 everything"))
    return _check(tr("size"), "ok", told)


def colour_check(environment: Mapping[str, str]) -> Check:
    """How many colours there are, as the terminal says."""
    term = environment.get("TERM", "")
    if environment.get("NO_COLOR"):
        return _check(tr("colours"), "ok", tr("NO_COLOR is set: shapes tell all that colours do"))
    if environment.get("COLORTERM", "") in ("truecolor", "24bit") or term.endswith("-direct"):
        return _check(tr("colours"), "ok", tr("16 million"))
    if "256color" in term:
        return _check(tr("colours"), "ok", "256")
    advice = tr("set TERM to one that ends in -256color, or choose a theme whose name begins with ansi")
    return _check(tr("colours"), "warning", tr("16 or fewer"), advice)


def encoding_check(encoding: str) -> Check:
    """Whether characters beyond ASCII arrive."""
    if encoding.lower().replace("-", "") == "utf8":
        return _check(tr("encoding"), "ok", "UTF-8")
    advice = tr("set LANG to a UTF-8 locale, such as C.UTF-8")
    return _check(tr("encoding"), "problem", encoding or tr("none"), advice)


def copy_check(environment: Mapping[str, str], set_clipboard: str) -> Check:
    """Whether what is copied reaches the clipboard, by the escape sequence OSC 52.

    Args:
        set_clipboard: tmux's option of that name; empty outside tmux.
    """
    if environment.get("TERM_PROGRAM") == "Apple_Terminal":
        advice = tr("use another terminal to copy, or select with the mouse")
        return _check(tr("copying"), "warning", tr("Apple's Terminal ignores OSC 52"), advice)
    if environment.get("STY"):
        return _check(tr("copying"), "warning", tr("GNU screen ignores OSC 52"), tr("use tmux, or select with shift"))
    if set_clipboard == "off":
        return _check(tr("copying"), "warning", tr("tmux keeps it back"), "tmux set -g set-clipboard on")
    where = tr("OSC 52, through ssh") if environment.get("SSH_CONNECTION") else "OSC 52"
    return _check(tr("copying"), "ok", where)


def key_checks(environment: Mapping[str, str], escape_time: str) -> Iterator[Check]:
    """Keys that something in between takes, or delays.

    Args:
        escape_time: tmux's option of that name, in milliseconds; empty outside tmux.
    """
    if escape_time.isdigit() and int(escape_time) > SLOW_ESCAPE_MS:
        told = tr("tmux holds esc back for {time} ms", time=escape_time)
        yield _check(tr("keys"), "warning", told, "tmux set -sg escape-time 10")
    elif environment.get("TERM_PROGRAM") == "vscode":
        advice = tr("q quits as well; or set terminal.integrated.sendKeybindingsToShell")
        yield _check(tr("keys"), "warning", tr("VS Code takes ctrl+q and ctrl+p"), advice)
    elif environment.get("ZELLIJ"):
        advice = tr("lock it with ctrl+g, or change keys under [keymap]")
        yield _check(tr("keys"), "warning", tr("zellij takes ctrl+p, ctrl+o and ctrl+q"), advice)
    else:
        through = [name for name, key in (("tmux", "TMUX"), ("ssh", "SSH_CONNECTION")) if environment.get(key)]
        yield _check(tr("keys"), "ok", tr("through {list}", list=" + ".join(through)) if through else tr("direct"))


def _widths() -> Iterator[Check]:
    """What the terminal itself says of how wide it draws, and a sample for the eye."""
    sample = "  ".join(PROBES)
    measured = drawn_widths(PROBES)
    if not measured:
        advice = tr("look for boxes or question marks in it; if there are some, choose a font with these characters")
        yield _check(tr("characters"), "ok", tr("{sample}: the terminal does not tell widths", sample=sample), advice)
        return
    wrong = [text for text, cells in zip(PROBES, measured, strict=True) if cells != width(text)]
    if wrong:
        advice = tr("let ambiguous characters be narrow, and use a font for terminals; lines would not meet")
        told = tr("{sample} are not as wide as they should be", sample="  ".join(wrong))
        yield _check(tr("characters"), "warning", told, advice)
        return
    yield _check(tr("characters"), "ok", tr("{sample} are as wide as they should be", sample=sample))
    yield from _fonts()


def _fonts() -> Iterator[Check]:
    """Fonts of this machine; those of the other end of an ssh connection cannot be seen."""
    if os.environ.get("SSH_CONNECTION") or not shutil.which("fc-list"):
        told = tr("they are those of the terminal you look at: the sample above must show no boxes")
        yield _check(tr("fonts"), "ok", told)
        return
    chinese, braille = _font_count(":lang=zh"), _font_count(":charset=28ff")
    told = tr("{chinese} with Chinese, {braille} with braille dots", chinese=chinese, braille=braille)
    if chinese and braille:
        yield _check(tr("fonts"), "ok", told)
    else:
        yield _check(tr("fonts"), "warning", told, tr("install fonts such as Noto Sans Mono CJK and DejaVu Sans Mono"))


def _font_count(pattern: str) -> int:
    listed = subprocess.run(["fc-list", pattern, "family"], capture_output=True, text=True, timeout=2, check=False)
    return len(set(listed.stdout.splitlines()))


def _tmux_option(name: str) -> str:
    """An option of the tmux around us; empty where it does not say."""
    try:
        asked = subprocess.run(
            ["tmux", "show-options", "-gqsv", name], capture_output=True, text=True, timeout=2, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout.strip()


def drawn_widths(texts: tuple[str, ...]) -> list[int]:
    """The cells that the terminal moves its cursor by for each text; empty where it does not answer."""
    try:
        import termios
        import tty
    except ImportError:  # Windows
        return []
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    found: list[int] = []
    try:
        tty.setcbreak(descriptor)
        for text in texts:
            sys.stdout.write(f"\r{text}\x1b[6n")
            sys.stdout.flush()
            column = _cursor_column(descriptor)
            if column is None:
                return []
            found.append(column - 1)
    finally:
        sys.stdout.write("\r\x1b[2K")
        sys.stdout.flush()
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
    return found


def _cursor_column(descriptor: int) -> int | None:
    heard, deadline = b"", time.monotonic() + ANSWER_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([descriptor], [], [], left)[0]:
            return None
        heard += os.read(descriptor, 64)
        if position := _POSITION.search(heard):
            return int(position[2])
    return None
