"""`python -m workbench.data.world FOLDER --seed N`: write the sample data."""

import argparse
from pathlib import Path

from workbench.data.world.write import SEED, write_world


def main() -> None:
    """Write the files of the sample data into the folder that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m workbench.data.world", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="where the files go; the committed ones lie in data")
    parser.add_argument("--seed", type=int, default=SEED, help="another seed is another valley (default: %(default)s)")
    arguments = parser.parse_args()
    write_world(arguments.folder, arguments.seed)


if __name__ == "__main__":
    main()
