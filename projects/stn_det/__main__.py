"""Runs an unmodified OpenMMLab script with everything of this package in place before its first line.

``python -m stn_det path/to/tools/test.py CONFIG CHECKPOINT``

mmdet's ``tools/train.py`` reads the config, and so imports this package, before it needs mmcv's operators;
``tools/test.py`` and others import them first, and fail on an mmcv without compiled operators unless the bridge stands.
Configs may also inherit from ``stn_det::`` names in a script that is run this way.
"""

import runpy
import sys
from pathlib import Path

USAGE = (
    'usage: python -m stn_det SCRIPT [arguments of the script]\nFor the commands of this package see stn-det --help.'
)


def main() -> int:
    """Run the script that the first argument names, as if Python had been started with it."""
    if len(sys.argv) < 2 or sys.argv[1] in ('-h', '--help'):
        print(USAGE, file=sys.stderr)
        return 2
    script = Path(sys.argv[1])
    if not script.is_file():
        print(f'error: script {script} does not exist.\n{USAGE}', file=sys.stderr)
        return 2
    from . import mmcv_bridge, registry  # noqa: F401  importing them is all that is needed

    del sys.argv[0]
    sys.path[0] = str(script.resolve().parent)
    runpy.run_path(str(script), run_name='__main__')
    return 0


if __name__ == '__main__':
    sys.exit(main())
