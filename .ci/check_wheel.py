"""Tries a built wheel away from the checkout: its contents, and configs that inherit from it.

Usage: python .ci/check_wheel.py dist/stn_det-*.whl
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

NEEDED = (
    'stn_det/__init__.py',
    'stn_det/py.typed',
    'stn_det/register.py',
    'stn_det/cli/main.py',
    'stn_det/ops/csrc/cpu/ms_deform_attn_forward_kernel.cpp',
    'stn_det/ops/csrc/cuda/ms_deform_attn_forward.cu',
    'stn_det/.mim/model-index.yml',
    'stn_det/.mim/tools/train.py',
    'stn_det/.mim/tools/test.py',
)

# Runs with the unpacked wheel first on the path: every shipped config must load by its ``stn_det::`` name.
PROBE = """
import sys
from pathlib import Path
import stn_det
package = Path(stn_det.__file__).parent
if Path(sys.argv[1]) not in package.parents:
    sys.exit(f'stn_det was imported from {package}, not from the wheel')
from stn_det.apis import list_configs, load_config
names = list_configs()
if not names:
    sys.exit('the wheel ships no configs')
for number, name in enumerate(names):
    child = Path(f'child_{number}.py')
    child.write_text(f"_base_ = 'stn_det::{name}'\\n")
    load_config(child)
from stn_det.ops import status
compiled = [name for name, kind in status().items() if kind != 'python']
if any((package / 'ops' / 'lib').glob('*.so')) and not compiled:
    sys.exit('the wheel holds compiled operators that do not load')
print(f'{len(names)} configs load from {package}, {len(compiled)} operators are compiled')
"""


def check_contents(wheel: Path) -> list[str]:
    """Names of the needed files that the wheel lacks, and of files that must not be in it."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    lacking = [f'lacks {name}' for name in NEEDED if name not in names]
    stray = [f'holds {name}' for name in sorted(names) if '__pycache__' in name or name.startswith('tests/')]
    if not any(name.startswith('stn_det/.mim/configs/') and name.endswith('.py') for name in names):
        lacking.append('lacks stn_det/.mim/configs/**/*.py')
    if not any(name.endswith('licenses/LICENSE') for name in names):
        lacking.append('lacks the license file')
    return lacking + stray


def check_inheritance(wheel: Path) -> int:
    """Unpack the wheel into a folder of its own and load its configs from there; the probe's exit code."""
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch).resolve() / 'site'
        install = [sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--no-index']
        subprocess.run([*install, '--target', target, wheel.resolve()], check=True)
        environment = {**os.environ, 'PYTHONPATH': str(target)}
        return subprocess.run([sys.executable, '-c', PROBE, target], cwd=scratch, env=environment).returncode


def main(arguments: list[str]) -> int:
    """Check the one wheel named on the command line; 0 when it is sound."""
    if len(arguments) != 1:
        print(f'expected one wheel, got {len(arguments)}: {arguments}', file=sys.stderr)
        return 2
    wheel = Path(arguments[0])
    problems = check_contents(wheel)
    for problem in problems:
        print(f'{wheel.name} {problem}', file=sys.stderr)
    return 1 if problems else check_inheritance(wheel)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
