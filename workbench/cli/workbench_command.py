"""The workbench itself, and where it keeps things."""

import argparse
import sys
from pathlib import Path

from workbench.cli.arguments import DEFAULT_WORKSPACE
from workbench.cli.terminal import table
from workbench.errors import UsageError
from workbench.language import tr


def take_tour(arguments: argparse.Namespace) -> int:
    """`tour`: open the screens on the five-minute tour, where it was left."""
    if arguments.restart:
        from workbench.learn.tour import leave_at

        leave_at(0)
    return open_workbench(arguments, tour=True)


def open_workbench(arguments: argparse.Namespace, tour: bool = False) -> int:
    """Open the screens on this terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("llm-workbench", "the screens need a terminal", "use --profile NAME here, or see --help")
    from workbench.tui.app import run_app

    tty_before = sys.__stderr__
    try:
        return run_app(Path(arguments.workspace or DEFAULT_WORKSPACE), tour, ascii_signs=arguments.ascii)
    finally:
        if sys.__stderr__ is not tty_before and sys.__stderr__ and sys.__stdout__:
            # The screens took the terminal for themselves; what is said from here on belongs there again.
            sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__


def locate(arguments: argparse.Namespace) -> int:
    """Print the folders."""
    from workbench import bundled, locations

    folders = {
        tr("runs"): Path(arguments.workspace or DEFAULT_WORKSPACE).absolute(),
        tr("config"): locations.config_folder(),
        tr("state"): locations.state_folder(),
        tr("cache"): locations.cache_folder(),
        tr("fetched data"): locations.fetched_folder(),
        tr("token cache"): locations.tokenised_folder(),
        tr("models"): locations.models_folder(),
        tr("profiles"): bundled.profiles_folder(),
        tr("sample data"): bundled.data_folder(),
    }
    print(table([(name, str(path)) for name, path in folders.items()]))
    return 0
