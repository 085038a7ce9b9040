"""Operators on a GPU against their peers, interleaved in one process.

    python benchmarks/ops_cuda.py [--only ms_deform_attn] [--device cpu]

Each implementation is captured as a CUDA graph and replayed, with the inputs in the second-level cache where they fit
("warm"), and after the cache was overwritten ("cold"); what cannot be captured is called as it is, which the record
says. Prints a table and writes ``benchmarks/results/ops_cuda_<device>.json``: one record for each operator, shape,
dtype, pass and implementation, with quartiles in microseconds, the peak of memory, the error against float64 and, where
bytes were counted, the fraction of the bandwidth that a copy reaches on the same GPU. ``--device cpu`` rehearses all of
it on small shapes and writes nothing.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from ops.on_cuda import GpuCase, cases
from record import write_record
from torch import Tensor

from stn_det.ops import status

ROUNDS = 20
FLUSH_BYTES = 256 << 20


def copy_bandwidth(device: str) -> float:
    """Bytes a second that a copy reads and writes."""
    if device == 'cpu':
        return float('nan')
    source = torch.empty(1 << 30, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    times = [_time_once(partial(target.copy_, source), device) for _ in range(10)]
    return 2 * source.numel() / (statistics.median(times[2:]) * 1e-6)


def _time_once(run: Callable[[], Any], device: str) -> float:
    """Microseconds of one call."""
    if device == 'cpu':
        start = time.perf_counter()
        run()
        return (time.perf_counter() - start) * 1e6
    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    first.record()
    run()
    last.record()
    last.synchronize()
    return first.elapsed_time(last) * 1e3


def prepare(function: Callable[..., Tensor], case: GpuCase, backward: bool, device: str) -> tuple[Callable, bool]:
    """The call to time, and whether it replays a graph."""
    leaves = [leaf.detach().requires_grad_(backward) for leaf in case.leaves]
    if device == 'cpu':
        if not backward:
            return partial(_forward, function, leaves), False
        output = function(*leaves)
        return partial(_backward, output, leaves, torch.ones_like(output)), False
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # a backward pass runs where its forward pass ran
        run = partial(_forward, function, leaves)
        if backward:
            output = function(*leaves)
            run = partial(_backward, output, leaves, torch.ones_like(output))
        for _ in range(3):
            run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, stream=stream):
            run()
    except RuntimeError as error:
        print(f'{case.operator}: not captured: {str(error).splitlines()[0]}', file=sys.stderr)
        torch.cuda.synchronize()
        return run, False
    return graph.replay, True


def _forward(function: Callable[..., Tensor], leaves: list[Tensor]) -> Tensor:
    with torch.no_grad():
        return function(*leaves)


def _backward(output: Tensor, leaves: list[Tensor], grad: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(output, leaves, grad, retain_graph=True, allow_unused=True)


def error_to_float64(case: GpuCase, function: Callable[..., Tensor]) -> float:
    """Largest difference of the result from ours in float64, as a part of the largest number."""
    if case.operator == 'nms_rotated':
        return 0.0
    with torch.no_grad():
        exact = next(iter(case.functions.values()))(*(leaf.double() for leaf in case.leaves))
        return ((function(*case.leaves).double() - exact).abs().max() / exact.abs().max()).item()


def measure(case: GpuCase, backward: bool, device: str, rounds: int, bandwidth: float) -> list[dict[str, Any]]:
    """Records of all implementations of one pass."""
    flush = None if device == 'cpu' else torch.empty(FLUSH_BYTES, dtype=torch.uint8, device=device)
    runs, peaks = {}, {}
    for name, function in case.functions.items():
        if device != 'cpu':
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        runs[name] = prepare(function, case, backward, device)
        peaks[name] = 0 if device == 'cpu' else torch.cuda.max_memory_allocated() - before
    warm: dict[str, list[float]] = {name: [] for name in runs}
    cold: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, (run, _) in runs.items():
            run()
            warm[name] += [_time_once(run, device) for _ in range(5)]
            if flush is not None:
                flush.zero_()
                cold[name].append(_time_once(run, device))
    records = []
    for name, (_, replayed) in runs.items():
        low, middle, high = statistics.quantiles(warm[name], n=4)
        record = {
            'operator': case.operator,
            'shape': case.shape,
            'dtype': str(case.dtype).removeprefix('torch.'),
            'points': case.points,
            'pass': 'backward' if backward else 'forward',
            'implementation': name,
            'median_us': middle,
            'q1_us': low,
            'q3_us': high,
            'cold_us': statistics.median(cold[name]) if cold[name] else None,
            'graph': replayed,
            'peak_bytes': peaks[name],
            'error': None if backward else error_to_float64(case, case.functions[name]),
        }
        if case.bytes is not None:
            record['bytes'] = case.bytes[backward]
            record['fraction_of_copy_bandwidth'] = case.bytes[backward] / bandwidth / (middle * 1e-6)
        records.append(record)
    return records


def show(records: list[dict[str, Any]]) -> None:
    """Print one line a record, with the ratio to ours."""
    ours = records[0]['median_us']
    for record in records:
        where = ', '.join(part for part in (record['shape'], record['points'], record['dtype']) if part)
        print(
            f'| {record["operator"]} | {where} | {record["pass"]} | {record["implementation"]} | '
            f'{record["median_us"]:.1f} | {record["median_us"] / ours:.2f} |',
            flush=True,
        )


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', default='cuda', choices=('cuda', 'cpu'))
    parser.add_argument('--only', nargs='+', help='operators whose names begin with one of these')
    parser.add_argument('--rounds', type=int, default=ROUNDS, help='of 5 warm and 1 cold measurements (default 20)')
    arguments = parser.parse_args()
    device = arguments.device
    if device == 'cuda' and not torch.cuda.is_available():
        parser.error('no GPU; --device cpu rehearses on small shapes')
    torch.manual_seed(0)
    bandwidth = copy_bandwidth(device)
    records = []
    print('| operator | shape | pass | implementation | us | ratio |\n|---|---|---|---|---|---|')
    for case in cases(device, small=device == 'cpu'):
        if arguments.only and not case.operator.startswith(tuple(arguments.only)):
            continue
        for backward in (False, True) if case.backward else (False,):
            found = measure(case, backward, device, arguments.rounds, bandwidth)
            show(found)
            records += found
    if device == 'cpu':
        return
    properties = torch.cuda.get_device_properties(0)
    record = {
        'implementations': status(),
        'multiprocessors': properties.multi_processor_count,
        'copy_bytes_per_second': bandwidth,
        'rounds': arguments.rounds,
        'records': records,
    }
    name = torch.cuda.get_device_name().lower().replace('nvidia ', '').replace(' ', '_')
    print(write_record(f'ops_cuda_{name}', record))


if __name__ == '__main__':
    main()
