"""Train a detector: mmdet's options, this package's checks. ``stn-det train`` does the same."""

import sys

from stn_det.cli.main import main

if __name__ == '__main__':
    sys.exit(main(['train', *sys.argv[1:]]))
