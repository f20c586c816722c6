"""What holds for all tests, and what must be decided before the first test module is imported."""

import os
import sys

import pytest
import torch
from hypothesis import settings

assert "triton" not in sys.modules, "Triton fixes its mode when it is imported: too late to ask for the interpreter"
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
# Tests of everything but the kernels are about the reference; the interpreter would make them crawl.
os.environ.setdefault("WORKBENCH_KERNELS", "reference")
os.environ["LLM_WORKBENCH_LANG"] = "en"  # whatever the machine's locale: tests say so where they want another language

settings.register_profile("unhurried", deadline=None)  # a busy machine is no failure
settings.load_profile("unhurried")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a change of the screens that is meant be taken over."""
    parser.addoption("--renew", action="store_true", help="keep the pictures of the screens as they are now")
