"""Times of calls on a GPU, and on a CPU to rehearse.

A call is captured as a CUDA graph and replayed. Before a replay is measured the GPU is kept busy, until the host has
queued all of a batch: what an event waits for is never the host. With warm caches a batch begins with a replay that
is not measured; with flushed ones 256 MB of other data are read before each. Batches of all calls take turns. The time
of a graph that does nearly nothing is measured as well: so much is in every other one.
"""

import contextlib
import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Run = Callable[[], Any]

BUDGET_US = 2e6  # of one call in one pass; calls of up to 9 ms take all rounds in that
WARM = COLD = 5  # measured replays a round
LEAST_ROUNDS = 4
FLUSH_FLOATS = 64 << 20
BUSY_CYCLES = 400_000  # 0.2 ms at 2 GHz
EAGER_CALLS, EAGER_US = 20, 2e4


class BatchFailed(RuntimeError):
    """A call failed while it was measured."""

    def __init__(self, name: str, error: RuntimeError) -> None:
        super().__init__(str(error))
        self.name = name


@dataclass
class Times:
    """Microseconds of single replays with warm caches and with flushed ones."""

    warm: list[float] = field(default_factory=list)
    cold: list[float] = field(default_factory=list)


def batches(microseconds: float, rounds: int) -> tuple[int, int, int]:
    """Rounds, and warm and cold replays in each, for a call that takes so long: fewer where it is slow."""
    a_round = 1 + WARM + COLD
    affordable = int(BUDGET_US / (a_round * max(microseconds, 1e-3)))
    if affordable >= LEAST_ROUNDS or affordable >= rounds:
        return min(rounds, affordable), WARM, COLD
    return min(rounds, LEAST_ROUNDS if microseconds < BUDGET_US / 8 else 1), 2, 1


class Gpu:
    """Measures on the current GPU and stream, which must not be the default one, for that cannot be captured."""

    def __init__(self) -> None:
        torch.cuda.set_stream(torch.cuda.Stream())
        self._flushed = torch.ones(FLUSH_FLOATS, device='cuda')
        self._sum = torch.zeros((), device='cuda')

    def wait(self) -> None:
        """Until all that was queued is done."""
        torch.cuda.synchronize()

    def waits(self, run: Run) -> bool:
        """Whether a call waits for the GPU, so that it cannot be captured; a capture that fails leaves traces."""
        torch.cuda.set_sync_debug_mode('error')
        try:
            run()
        except RuntimeError:
            return True
        finally:
            torch.cuda.set_sync_debug_mode('default')
        return False

    def release(self) -> None:
        """Give memory back that no tensor holds, that of dropped graphs too."""
        gc.collect()
        with contextlib.suppress(RuntimeError):  # after a capture that failed the allocator refuses
            torch.cuda.empty_cache()

    def capture(self, run: Run) -> tuple[Run, Any]:
        """A replay of the call, and the tensors that it writes."""
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        gc.disable()  # what it frees may wait for the GPU
        try:
            graph.capture_begin()
            try:
                outputs = run()
            except BaseException:
                with contextlib.suppress(RuntimeError):  # the capture is invalid, and has to be ended all the same
                    graph.capture_end()
                raise
            graph.capture_end()
        finally:
            gc.enable()
        return graph.replay, outputs

    def peak_bytes(self, run: Run) -> int:
        """Most memory that a call had allocated at a time, beyond what was there before."""
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before

    def batch(self, run: Run, warm: int, cold: int, times: Times, ask: bool = False) -> int | None:
        """Measure replays; gives the clock of the multiprocessors in MHz during them if asked and told."""
        torch.cuda._sleep(BUSY_CYCLES)
        run()
        warm_events = [self._events(run) for _ in range(warm)]
        cold_events = []
        for _ in range(cold):
            torch.sum(self._flushed, 0, out=self._sum)
            cold_events.append(self._events(run))
        clock = _clock() if ask else None
        torch.cuda.synchronize()
        times.warm += [first.elapsed_time(last) * 1e3 for first, last in warm_events]
        times.cold += [first.elapsed_time(last) * 1e3 for first, last in cold_events]
        return clock

    def _events(self, run: Run) -> tuple[torch.cuda.Event, torch.cuda.Event]:
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        first.record()
        run()
        last.record()
        return first, last

    def bandwidth(self, total: int, copies: int) -> float:
        """Bytes a second, read and written, of copies one after the other between two halves of ``total`` bytes."""
        source = torch.ones(total // 8, device='cuda')
        target = torch.empty_like(source)

        def run() -> None:
            for _ in range(copies):
                torch.neg(source, out=target)

        run()
        replay, _ = self.capture(run)
        times = Times()
        for _ in range(10):
            self.batch(replay, WARM, 0, times)
        return copies * 8 * source.numel() / (statistics.median(times.warm) * 1e-6)

    def least_us(self) -> float:
        """Microseconds of a graph that sets one number."""
        number = torch.zeros(1, device='cuda')
        number.zero_()
        replay, _ = self.capture(number.zero_)
        times = Times()
        for _ in range(10):
            self.batch(replay, WARM, 0, times)
        return statistics.median(times.warm)


class Cpu:
    """The same on a CPU, without graphs, caches that are flushed, and counts of memory."""

    def wait(self) -> None:
        """Nothing runs on."""

    def waits(self, run: Run) -> bool:
        """True: there are no graphs."""
        return True

    def release(self) -> None:
        """Nothing to give back."""

    def peak_bytes(self, run: Run) -> None:
        """Not counted."""
        run()

    def batch(self, run: Run, warm: int, cold: int, times: Times, ask: bool = False) -> None:
        """Measure calls."""
        run()
        times.warm += [_seconds(run) * 1e6 for _ in range(warm)]


def _clock() -> int | None:
    try:
        return torch.cuda.clock_rate()
    except Exception:  # no package or library to ask, or no right to; its errors have no common class
        return None


def _seconds(run: Run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def eager_us(run: Run, device: Gpu | Cpu) -> float:
    """Microseconds of a call as it is, launches by the host included: the median of five batches, or a slow one."""

    def batch(calls: int) -> float:
        device.wait()
        start = time.perf_counter()
        for _ in range(calls):
            run()
        device.wait()
        return (time.perf_counter() - start) * 1e6 / calls

    first = batch(1)
    if first > BUDGET_US / 8:
        return first
    calls = max(1, min(EAGER_CALLS, int(EAGER_US / first)))
    return statistics.median(batch(calls) for _ in range(5))


def take_turns(runs: dict[str, Run], rounds: int, device: Gpu | Cpu) -> tuple[dict[str, Times], int | None]:
    """Times of all runs, a batch of each in turn, and the median clock.

    Raises:
        BatchFailed: when a run fails that did not before.
    """
    times = {name: Times() for name in runs}
    plans: dict[str, tuple[int, int, int]] = {}
    clocks = []
    for turn in range(-1, rounds):  # the first tells how long they take
        for name, run in runs.items():
            try:
                if turn < 0:
                    first = Times()
                    device.batch(run, 2, 0, first)
                    plans[name] = batches(min(first.warm), rounds)
                elif turn < plans[name][0]:
                    clocks.append(device.batch(run, *plans[name][1:], times[name], ask=turn % 5 == 0))
            except RuntimeError as error:
                raise BatchFailed(name, error) from error
    told = [clock for clock in clocks if clock]
    return times, int(statistics.median(told)) if told else None


def quartiles(values: list[float]) -> tuple[float, float, float] | None:
    """Lower quartile, median and upper quartile; None of nothing."""
    if not values:
        return None
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4)
    return low, middle, high


def forward_pass(function: Callable[..., Tensor], leaves: list[Tensor]) -> Tensor:
    """The output, without a gradient."""
    with torch.no_grad():
        return function(*leaves)


def backward_pass(output: Tensor, leaves: list[Tensor], grad: Tensor) -> tuple[Tensor, ...]:
    """The gradients of an output that is kept."""
    return torch.autograd.grad(output, leaves, grad, retain_graph=True)


def both_passes(function: Callable[..., Tensor], leaves: list[Tensor], grad: Tensor) -> tuple[Tensor, ...]:
    """The gradients, and the output on the way to them."""
    return torch.autograd.grad(function(*leaves), leaves, grad)
