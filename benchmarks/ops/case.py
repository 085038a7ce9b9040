"""What a benchmark of operators measures, and how."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

Run = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """One operator, shape and pass, and the implementations to compare; the first is ours.

    Those named in ``slow`` take seconds and are measured in the first two repetitions only, after none to warm up.
    """

    operator: str
    shape: str
    which: str
    runs: dict[str, Run]
    slow: tuple[str, ...] = ()


def backward_of(function: Callable[..., Tensor], leaves: list[Tensor]) -> Run:
    """The backward pass alone of a function of the leaves."""
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    output = function(*leaves)
    grad = torch.ones_like(output)
    return lambda: torch.autograd.grad(output, leaves, grad, retain_graph=True)


def both_passes(
    operator: str, shape: str, functions: dict[str, Callable[..., Tensor]], leaves: list[Tensor], tolerance: float
) -> Iterator[Case]:
    """The forward and the backward pass of functions of the leaves, which must agree; the first is ours."""
    outputs = {name: function(*leaves).float() for name, function in functions.items()}
    ours = next(iter(outputs.values()))
    for name, output in outputs.items():
        error = (output - ours).abs().max().item()
        if not error <= tolerance:
            raise RuntimeError(f'{operator}: {name} differs by {error} on {shape}')
    with torch.no_grad():
        yield Case(operator, shape, 'forward', {name: partial(run, *leaves) for name, run in functions.items()})
    yield Case(operator, shape, 'backward', {name: backward_of(run, leaves) for name, run in functions.items()})


def measure(case: Case, repetitions: int) -> dict[str, Any]:
    """Times of all implementations, one repetition of each in turn, after one for warming up."""
    times: dict[str, list[float]] = {name: [] for name in case.runs}
    for repetition in range(repetitions + 1):
        for name, run in case.runs.items():
            if name in case.slow and repetition not in (1, 2):
                continue
            start = time.perf_counter()
            run()
            if repetition:
                times[name].append((time.perf_counter() - start) * 1e3)
    figures = {}
    for name, values in times.items():
        low, middle, high = statistics.quantiles(values, n=4)
        figures[name] = {'median_ms': middle, 'q1_ms': low, 'q3_ms': high}
    first, *others = figures
    ratios = {name: figures[name]['median_ms'] / figures[first]['median_ms'] for name in others}
    return {
        'operator': case.operator,
        'shape': case.shape,
        'pass': case.which,
        'times': figures,
        'ratio_to_ours': ratios,
    }
