"""``python -m tricorn.control``: the same as ``tricornctl``."""

import sys

from .main import main

sys.exit(main())
