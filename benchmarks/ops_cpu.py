"""Operators on the CPU against what one would use without them, in one process, interleaved.

    python benchmarks/ops_cpu.py [--only ms_deform_attn] [--name ops_cpu_torchvision]

Prints a table and writes ``benchmarks/results/ops_cpu.json``, or the name given: median and quartiles of each
implementation in ms, and the ratio of the medians. A peer that is not installed is left out. ``--only`` without a name
prints without writing.
"""

import argparse
from collections.abc import Callable, Iterator

import torch
from ops import attention, deform, roi, rotated, warp
from ops.case import Case, measure
from record import write_record

from stn_det.ops import status

FAMILIES = (attention, deform, warp, rotated, roi)
CASES: tuple[Callable[[], Iterator[Case]], ...] = tuple(family.cases for family in FAMILIES)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repetitions', type=int, default=15)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--only', nargs='+', help='operators whose names begin with one of these')
    parser.add_argument('--name', help='of the file; by default ops_cpu, or none with --only')
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    print('| operator | shape | pass | ours, ms | against | ms | ratio |\n|---|---|---|---|---|---|---|')
    for case in (case for cases in CASES for case in cases()):
        if arguments.only and not case.operator.startswith(tuple(arguments.only)):
            continue
        with torch.set_grad_enabled(case.which == 'backward'):
            row = measure(case, arguments.repetitions)
        rows.append(row)
        ours = row['times'][next(iter(row['times']))]['median_ms']
        for name, ratio in row['ratio_to_ours'].items():
            other = row['times'][name]['median_ms']
            print(
                f'| {case.operator} | {case.shape} | {case.which} | {ours:.4g} | {name} | {other:.4g} | {ratio:.1f} |'
            )
    name = arguments.name or ('' if arguments.only else 'ops_cpu')
    if name:
        record = {'implementations': status(), 'repetitions': arguments.repetitions, 'rows': rows}
        print(write_record(name, record))


if __name__ == '__main__':
    main()
