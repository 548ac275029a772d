"""`python -m autoreel` is `autoreel`."""

import sys

from autoreel.cli import main

if __name__ == "__main__":
    sys.exit(main())
