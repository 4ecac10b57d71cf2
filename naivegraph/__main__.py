"""`python -m naivegraph` is the command line, too."""

import sys

from naivegraph.cli import main

if __name__ == "__main__":
    sys.exit(main())
