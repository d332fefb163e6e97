"""``python -m rl3d``."""

import sys

from rl3d.cli import main

sys.exit(main())
