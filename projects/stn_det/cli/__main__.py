"""``python -m stn_det.cli``, for places where the ``stn-det`` script is not on the path."""

import sys

from .main import main

sys.exit(main())
