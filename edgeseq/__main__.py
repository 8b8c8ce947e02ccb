"""`python -m edgeseq` is the command, too."""

import sys

from edgeseq.cli import main

if __name__ == "__main__":
    sys.exit(main())
