"""`python -m pollerd` is the command `pollerd`."""

import sys

from pollerd.cli import main

if __name__ == "__main__":
    sys.exit(main())
