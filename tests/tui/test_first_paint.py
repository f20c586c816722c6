"""Starting is quick because it loads little: checked by what is loaded, not by the clock."""

import subprocess
import sys

CODE = """
import asyncio, sys, tempfile
from pathlib import Path
from workbench.tui.app import WorkbenchApp

async def main():
    app = WorkbenchApp(Path(tempfile.mkdtemp()))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause(0.5)
        for digit in "234567":
            await pilot.press(digit)
            await pilot.pause()
    heavy = {"torch", "transformers", "triton", "sympy"} & set(sys.modules)
    assert not heavy, heavy

asyncio.run(main())
"""


def test_no_screen_loads_torch() -> None:
    result = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
