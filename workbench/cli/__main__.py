"""`python -m workbench.cli`: the command line, where the script's place is not known."""

import sys

from workbench.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
