"""Evaluate a checkpoint: mmdet's options, this package's checks. ``stn-det test`` does the same."""

import sys

from stn_det.cli.main import main

if __name__ == '__main__':
    sys.exit(main(['test', *sys.argv[1:]]))
