"""Records of one pass of a case: every contender prepared, measured in turns, compared with what is exact."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from torch import Tensor

from ops.on_cuda.case import Case, Contender, Exact, Row, largest_error
from ops.on_cuda.peers import reason
from ops.on_cuda.results import LOST
from ops.on_cuda.roofs import Roofs, fractions
from ops.on_cuda.timing import (
    BatchFailed,
    Cpu,
    Gpu,
    Times,
    backward_pass,
    both_passes,
    eager_us,
    forward_pass,
    quartiles,
    take_turns,
)

Record = dict[str, Any]


class DeviceLost(RuntimeError):
    """A contender left the GPU in a state in which nothing runs any more; its record says so."""

    def __init__(self, records: list[Record]) -> None:
        super().__init__(records[-1]['failed'])
        self.records = records


@dataclass
class Ready:
    """A contender that ran: what to measure and what was found while it was prepared."""

    contender: Contender
    replay: Callable[[], Any]
    outputs: Any
    captured: bool
    eager_us: float
    peak_bytes: int | None


@dataclass(frozen=True)
class Bench:
    """What all measurements of a run share."""

    device: Gpu | Cpu
    rounds: int
    roofs: Roofs
    copy: float | None = None


def measure(row: Row, case: Case, exact: Exact, which: str, bench: Bench, lost: set[str]) -> list[Record]:
    """Records of all contenders; those in ``lost`` broke the GPU in an earlier run and are not tried again.

    Raises:
        DeviceLost: when one breaks it now; holds the record of that one.
    """
    ready: dict[str, Ready] = {}
    failures: dict[str, str] = dict.fromkeys(lost, f'{LOST} in an earlier run')
    for contender in case.contenders:
        if contender.name in lost:
            continue
        try:
            ready[contender.name] = _prepare(contender, which, case.grad, bench.device)
        except Exception as error:  # a peer that lacks a dtype, kernels for this GPU or memory
            failures[contender.name] = reason(error)
            if not _alive(bench.device):
                raise _device_lost(row, which, contender.name, error) from None
    try:
        times, clock = take_turns({name: entry.replay for name, entry in ready.items()}, bench.rounds, bench.device)
    except BatchFailed as error:
        raise _device_lost(row, which, error.name, error) from None
    records = []
    for contender in case.contenders:
        record = _identity(row, which, contender.name)
        if contender.name in failures:
            record['failed'] = failures[contender.name]
        else:
            record |= _figures(ready[contender.name], times[contender.name], clock)
            record['error'] = _error(ready[contender.name], exact, which)
            record |= _against_roofs(record, case, contender, which, bench)
        records.append(record)
    return records


def _identity(row: Row, which: str, name: str) -> Record:
    return {**dict(zip(('operator', 'shape', 'dtype', 'points'), row.key)), 'pass': which, 'implementation': name}


def _alive(device: Gpu | Cpu) -> bool:
    """Whether the GPU still works after a failure."""
    try:
        device.wait()
    except RuntimeError:
        return False
    return True


def _device_lost(row: Row, which: str, name: str, error: Exception) -> DeviceLost:
    return DeviceLost([{**_identity(row, which, name), 'failed': f'{LOST}: {reason(error)}'}])


def _prepare(contender: Contender, which: str, grad: Tensor | None, device: Gpu | Cpu) -> Ready:
    """Run a contender until it is warm, then capture it."""
    leaves = [leaf.detach().requires_grad_(which != 'forward') for leaf in contender.leaves.values()]
    if which == 'forward':
        run = partial(forward_pass, contender.function, leaves)
    elif which == 'backward':
        output = contender.function(*leaves)
        run = partial(backward_pass, output, leaves, grad.to(output.dtype))
    else:
        run = partial(both_passes, contender.function, leaves, grad)
    for _ in range(3):
        outputs = run()
    peak = device.peak_bytes(run)
    eager = eager_us(run, device)
    if not contender.captured or device.waits(run):
        return Ready(contender, run, outputs, False, eager, peak)
    replay, outputs = device.capture(run)
    return Ready(contender, replay, outputs, True, eager, peak)


def _figures(entry: Ready, times: Times, clock: int | None) -> Record:
    """Times and memory of a contender in microseconds and bytes."""
    warm, cold = quartiles(times.warm), quartiles(times.cold)
    names = ('q1_us', 'median_us', 'q3_us')
    return {
        **dict(zip(names, warm)),
        **dict(zip(('cold_q1_us', 'cold_median_us', 'cold_q3_us'), cold or (None,) * 3)),
        'eager_us': entry.eager_us,
        'replays': len(times.warm),
        'cold_replays': len(times.cold),
        'graph': entry.captured,
        'peak_bytes': entry.peak_bytes,
        'clock_mhz': clock,
    }


def _error(entry: Ready, exact: Exact, which: str) -> float | str | None:
    """Largest error of the tensors that the last replay wrote; 'not finite' where it is."""
    contender = entry.contender
    if contender.readout is None:
        return None
    if which == 'forward':
        errors = [largest_error(contender.readout(entry.outputs), exact.output)]
    else:
        found = dict(zip(contender.leaves, entry.outputs))
        shared = [name for name in found if name in exact.gradients]
        errors = [largest_error(found[name], exact.gradients[name], exact.smooth.get(name)) for name in shared]
    return max(errors) if all(map(math.isfinite, errors)) else 'not finite'


def _against_roofs(record: Record, case: Case, contender: Contender, which: str, bench: Bench) -> Record:
    """Counts of the work and parts of the roofs; none for what computes something else."""
    if contender.readout is None:
        return {}
    work = case.work[which]
    parts = fractions(work, record['median_us'], record['cold_median_us'], bench.roofs, bench.copy)
    return {**asdict(work), **parts}
