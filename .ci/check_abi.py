"""Fails when a compiled library uses a C++ symbol of PyTorch, which would tie it to one release.

Usage: python .ci/check_abi.py projects/stn_det/ops/lib/*.so
"""

import re
import subprocess
import sys
from collections.abc import Sequence

# Mangled names of the namespaces at, c10, caffe2 and torch, also inside longer names.
UNSTABLE = re.compile(r'_Z\w*(?:2at|3c10|6caffe2|5torch)\w*')
PYTHON = re.compile(r'_?Py[A-Z]\w*')


def unstable_symbols(library: str) -> list[str]:
    """Undefined symbols of a library that only one release of PyTorch or Python provides."""
    command = ['nm', '--dynamic', '--undefined-only', '--format=posix', library]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names = [line.split()[0].split('@')[0] for line in listing.splitlines() if line]
    return [name for name in names if UNSTABLE.fullmatch(name) or PYTHON.fullmatch(name)]


def main(libraries: Sequence[str]) -> int:
    """Check every library; 0 when all are clean."""
    if not libraries or any('*' in name for name in libraries):
        print('no library to check: the operators were not built', file=sys.stderr)
        return 1
    found = {library: unstable_symbols(library) for library in libraries}
    for library, names in found.items():
        print(f'{library}: {len(names)} symbols outside the stable ABI {" ".join(names[:10])}')
    return 1 if any(found.values()) else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
