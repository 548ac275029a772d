"""`python -m autoreel` is `autoreel`."""

import sys

from autoreel.cli import main

sys.exit(main())
