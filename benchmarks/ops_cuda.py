"""Operators on a GPU against their peers, interleaved in one process.

    python benchmarks/ops_cuda.py [--only ms_deform_attn] [--full] [--points points.pt] [--resume] [--device cpu]

Each implementation is captured as a CUDA graph and replayed at least 100 times, fewer only where a call takes more than
9 ms, with the inputs in the second-level cache where they fit and after other data had flushed it; and called as it is.
What cannot be captured is called as it is all along, which its record says.

Prints a table and writes ``benchmarks/results/ops_cuda_<device>.json`` after each measured pass: one record for each
operator, shape, dtype, model of where points lie, pass and implementation, with quartiles in microseconds, the peak of
memory, the largest error against float64 of what the replays wrote, counts of the least work
(``ops/on_cuda/counts.py``) and which parts of the roofs that makes (``ops/on_cuda/roofs.py``). Peers that are missing
are named with the reason, those that fail have a record that says how. ``--resume`` goes on with the file of a run that
was cut off. ``--device cpu`` rehearses all of it on small shapes and writes only where told.

Exit status 3: an implementation left the GPU unusable; its record says which, and ``--resume`` leaves it out.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch
from ops.on_cuda.case import Row
from ops.on_cuda.measuring import Bench, DeviceLost, measure
from ops.on_cuda.peers import Peer, find_peers, reason
from ops.on_cuda.results import HEADER, KEY, Results, table_row
from ops.on_cuda.roofs import ask_device, describe, roofs_of
from ops.on_cuda.rows import rows
from ops.on_cuda.timing import Cpu, Gpu
from record import COMMIT, RESULTS, environment

from stn_det.ops import status

ROUNDS = 20
COPY_BYTES = 2 << 30


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', default='cuda', choices=('cuda', 'cpu'))
    parser.add_argument('--only', nargs='+', help='operators whose names begin with one of these')
    parser.add_argument('--full', action='store_true', help='every shape with every dtype and model of points')
    parser.add_argument('--points', type=Path, help='file of points captured from a layer, see ops/on_cuda/points.py')
    parser.add_argument('--rounds', type=int, default=ROUNDS, help='of 5 replays each way (default 20)')
    parser.add_argument('--resume', action='store_true', help='keep what the file of this run has')
    parser.add_argument('--seconds', type=float, help='begin no pass after so long; --resume then does the rest')
    parser.add_argument(
        '--results',
        type=Path,
        help='folder of the file (default: benchmarks/results; none for a CPU, nor with --only but without --resume)',
    )
    parser.add_argument('--list', action='store_true', help='print the rows and measure nothing')
    arguments = parser.parse_args()
    if arguments.device == 'cuda' and not arguments.list and not torch.cuda.is_available():
        parser.error('no GPU; --device cpu rehearses on small shapes')
    if arguments.rounds < 1:
        parser.error(f'--rounds is {arguments.rounds}, expected 1 or more')
    return arguments


def start(arguments: argparse.Namespace, peers: dict[str, Peer]) -> tuple[Bench, Results]:
    """What is measured with, and the file with the description of the run."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    on_gpu = arguments.device == 'cuda'
    found = ask_device() if on_gpu else None
    device, roofs = Gpu() if on_gpu else Cpu(), roofs_of(found)
    measured: dict[str, Any] = {}
    if isinstance(device, Gpu):
        measured['copy_bytes_per_second'] = device.bandwidth(COPY_BYTES, 1)
        measured['l2_copy_bytes_per_second'] = device.bandwidth(found.l2_bytes // 2, 20) if found.l2_bytes else None
        measured['least_graph_us'] = device.least_us()
    name = found.name.lower().replace('nvidia ', '').replace(' ', '_') if found else 'cpu'
    whole = on_gpu and (arguments.resume or not arguments.only)
    folder = arguments.results or (RESULTS if whole else None)
    header = {
        'identity': {
            'commit': COMMIT.removesuffix('-dirty'),  # a file of results that is under version control makes it dirty
            'device': name,
            'torch': torch.__version__,
            'rounds': arguments.rounds,
            'peers': {peer: entry.found for peer, entry in peers.items()},
        },
        **describe(found, roofs),
        'measured': measured,
        'tf32': False,
        'implementations': status(),
        'environment': environment(),
    }
    path = folder / f'ops_cuda_{name}.json' if folder else None
    return Bench(device, arguments.rounds, roofs, measured.get('copy_bytes_per_second')), Results(path, header)


def run_row(row: Row, bench: Bench, results: Results, deadline: float) -> bool:
    """Measure the passes of a row that are not in the file; False: the time was over before the last."""
    missing = [which for which in row.passes if not results.done(row.key, which)]
    if not missing:
        return True
    if time.monotonic() > deadline:
        return False
    try:
        case = row.build()
        exact = case.exact()
    except torch.OutOfMemoryError as error:
        key = dict(zip(KEY, row.key))
        results.add([{**key, 'pass': which, 'implementation': 'all', 'failed': reason(error)} for which in missing])
        return True
    for which in missing:
        if time.monotonic() > deadline:
            return False
        try:
            records = measure(row, case, exact, which, bench, results.lost_in(row.key))
        except DeviceLost as error:
            results.add(error.records)
            raise
        results.add(records)
        ours = records[0]
        for record in records:
            print(table_row(record, ours), flush=True)
    del case, exact
    bench.device.release()
    return True


def main() -> int:
    """Measure, print, write."""
    arguments = parse()
    deadline = time.monotonic() + (arguments.seconds if arguments.seconds is not None else float('inf'))
    peers = find_peers()
    for name, peer in peers.items():
        print(f'{name}: {peer.found}')
    try:
        planned = list(rows(arguments.device, peers, arguments.full, arguments.points))
    except (OSError, ValueError) as error:  # the file of points
        print(f'error: {error}', file=sys.stderr)
        return 1
    if arguments.only:
        planned = [row for row in planned if row.operator.startswith(tuple(arguments.only))]
    if arguments.list:
        print(*(', '.join(filter(None, row.key)) for row in planned), sep='\n')
        return 0
    bench, results = start(arguments, peers)
    if arguments.resume:
        print(results.resume())
    print(HEADER)
    for done, row in enumerate(planned):
        try:
            finished = run_row(row, bench, results, deadline)
        except DeviceLost as error:
            print(f'{error}; --resume goes on without it', file=sys.stderr)
            return 3
        if not finished:
            print(f'{len(planned) - done} of {len(planned)} rows are left for --resume: the time is over')
            break
    print(results.path or 'nothing was written')
    return 0


if __name__ == '__main__':
    sys.exit(main())
