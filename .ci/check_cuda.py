"""Checks the compiled operators for CUDA without a GPU: architectures, registers, spills, instructions.

Usage: python .ci/check_cuda.py projects/stn_det/ops/lib

Needs nvcc, without which there is nothing to check, and cuobjdump: on the PATH, or as it comes with triton in the
environment of this interpreter.
"""

import importlib.util
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BUILD = runpy.run_path(str(Path(__file__).parents[1] / 'projects' / 'stn_det' / 'ops' / '_build.py'))

# Kernels on which speed rests: most registers a thread, and an instruction that has to be there. Names are regular
# expressions of demangled names.
HOT = {
    'ms_deform_attn_forward': {
        r'attention_forward<.*(Half|BFloat16), 8, (true|false)>': (64, r'LDG\.E\.128'),
        r'attention_forward<float, 4, (true|false)>': (64, r'LDG\.E\.128'),
    },
    'ms_deform_attn_backward_points': {
        r'attention_backward_points<.*(Half|BFloat16), 8, (true|false)>': (80, r'LDG\.E\.128'),
        r'attention_backward_points<float, 4, (true|false)>': (80, r'LDG\.E\.128'),
    },
    'ms_deform_attn_backward_value': {
        r'attention_backward_value<.*, 4, (true|false), .*PlainSum<float> ?>': (80, r'REDG\.E\.ADD\.F32x4'),
    },
}
MOST_SPILLED_BYTES = 4


def find_cuobjdump() -> str:
    """The tool, from the PATH or from triton."""
    spec = importlib.util.find_spec('triton')
    inside = Path(spec.origin).parent / 'backends' / 'nvidia' / 'bin' / 'cuobjdump' if spec and spec.origin else None
    found = shutil.which('cuobjdump') or (str(inside) if inside and inside.is_file() else None)
    if found is None:
        sys.exit('cuobjdump was not found on the PATH, nor triton, which brings it')
    return found


def output_of(*command: str) -> str:
    """What a command prints; the end of the program where it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f'{" ".join(command)} failed:\n{done.stderr[-2000:]}')
    return done.stdout + done.stderr


def check_architectures(library: Path, cuobjdump: str) -> list[str]:
    """What is wrong with the architectures of the library."""
    expected = [name.replace('.', '') for name in BUILD['CUDA_ARCHITECTURES']]
    found = set(re.findall(r'\.sm_(\d+)\.', output_of(cuobjdump, '--list-elf', str(library))))
    ptx = set(re.findall(r'\.sm_(\d+)\.', output_of(cuobjdump, '--list-ptx', str(library))))
    print(f'{library.name}: {library.stat().st_size >> 20} MiB, machine code for {sorted(found, key=int)}, PTX {ptx}')
    problems = [f'lacks machine code for {name}' for name in expected if name not in found]
    return problems + ([] if ptx == {expected[-1]} else [f'has PTX for {ptx}, expected {expected[-1]}'])


def compile_for_hopper(stem: str, folder: str) -> tuple[Path, dict[str, tuple[int, int]]]:
    """The object of a file, and registers and spilled bytes of its kernels by demangled name."""
    out, source = Path(folder) / f'{stem}.o', BUILD['SOURCES'] / 'cuda' / f'{stem}.cu'
    command = [BUILD['_nvcc'](), *BUILD['CUDA_FLAGS'], *BUILD['_cuda_targets'](['9.0'])[:1], '-Xptxas', '-v']
    log = output_of(*command, '-c', str(source), '-o', str(out))
    entry = re.compile(r"entry function '(\S+)'.*?(\d+) bytes spill stores.*?Used (\d+) registers", re.DOTALL)
    found = entry.findall(log)
    names = output_of('c++filt', *(name for name, _, _ in found)).splitlines()
    return out, {name: (int(used), int(spilled)) for name, (_, spilled, used) in zip(names, found)}


def check_kernels(stem: str, folder: str, cuobjdump: str) -> list[str]:
    """What is wrong with the hot kernels of a file."""
    out, resources = compile_for_hopper(stem, folder)
    listing = output_of(cuobjdump, '-sass', str(out))
    code = dict(re.findall(r'Function : (\S+)\n(.*?)(?=\n\t*Function : |\Z)', listing, re.DOTALL))
    names = dict(zip(output_of('c++filt', *code).splitlines(), code.values()))
    problems = []
    for pattern, (most, instruction) in HOT[stem].items():
        hits = [name for name in resources if re.search(pattern, name)]
        if not hits:
            problems.append(f'{stem}: no kernel {pattern}')
        for name in hits:
            used, spilled = resources[name]
            short = re.sub(r'\(anonymous namespace\)::|stn_det::cuda::|void ', '', name).partition('(')[0]
            count = len(re.findall(instruction, names[name]))
            print(f'{short}: {used} registers, {spilled} bytes spilled, {count} x {instruction}')
            if used > most or spilled > MOST_SPILLED_BYTES:
                problems.append(f'{short} takes {used} registers, {spilled} bytes spilled; expected {most} at most')
            if not count:
                problems.append(f'{short} has no {instruction}')
    return problems


def main(arguments: list[str]) -> int:
    """Check the library in the folder named on the command line; 0 when it is sound."""
    if len(arguments) != 1:
        print(f'expected one folder, got {len(arguments)}: {arguments}', file=sys.stderr)
        return 2
    library = Path(arguments[0]) / BUILD['library_name']('cuda')
    try:
        BUILD['_nvcc']()
    except BUILD['BuildError'] as error:
        print(f'nothing to check: {error}')
        return 0
    if not library.is_file():
        print(f'{library} does not exist; build it: python -m stn_det.ops.build --cuda', file=sys.stderr)
        return 1
    cuobjdump = find_cuobjdump()
    problems = check_architectures(library, cuobjdump)
    with tempfile.TemporaryDirectory() as folder:
        for stem in HOT:
            problems += check_kernels(stem, folder, cuobjdump)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
