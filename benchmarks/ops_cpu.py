"""Operators on the CPU against what one would use without them, in one process, interleaved.

    python benchmarks/ops_cpu.py

Prints a table and writes ``benchmarks/results/ops_cpu.json``: median and quartiles of each implementation in ms, and
the ratio of the medians. Peers: for attention, the form on ``grid_sample`` that mmcv and others fall back to on a CPU,
written here from its definition.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from record import write_record
from torch import Tensor

from stn_det.ops import ms_deform_attn, status
from stn_det.ops.reference.ms_deform_attn import ms_deform_attn_reference

R50_ENCODER = ((100, 167), (50, 84), (25, 42), (13, 21))  # 800 x 1333, strides 8 to 64
DOTA_ENCODER = ((128, 128), (64, 64), (32, 32), (16, 16))  # 1024 x 1024

Run = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """One operator, shape and pass, and the implementations to compare; the first is ours."""

    operator: str
    shape: str
    which: str
    runs: dict[str, Run]


def grid_sample_attention(value: Tensor, shapes: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    """Deformable attention as one ``grid_sample`` a level, then a weighted sum."""
    batch, _, heads, channels = value.shape
    queries, points = locations.shape[1], locations.shape[4]
    sampled = []
    parts = value.split([int(height * width) for height, width in shapes], dim=1)
    for level, (part, (height, width)) in enumerate(zip(parts, shapes.tolist())):
        maps = part.flatten(2).transpose(1, 2).reshape(batch * heads, channels, height, width)
        grid = (2 * locations[:, :, :, level] - 1).transpose(1, 2).flatten(0, 1)
        sampled.append(F.grid_sample(maps, grid, mode='bilinear', padding_mode='zeros', align_corners=False))
    flat = weights.transpose(1, 2).reshape(batch * heads, 1, queries, -1)
    output = (torch.stack(sampled, dim=-2).flatten(-2) * flat).sum(-1)
    assert output.shape == (batch * heads, channels, queries), points
    return output.view(batch, heads * channels, queries).transpose(1, 2).contiguous()


def attention_inputs(sizes: tuple, queries: int | None, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Arguments of one image, 8 heads of 32 channels, 4 points: offsets as Deformable DETR starts with, and noise."""
    generator = torch.Generator().manual_seed(0)
    shapes = torch.tensor(sizes)
    starts = torch.cat([shapes.new_zeros(1), shapes.prod(1).cumsum(0)[:-1]])
    positions = int(shapes.prod(1).sum())
    value = torch.randn(1, positions, 8, 32, generator=generator).to(dtype)
    if queries is None:  # an encoder: every position is a query
        centres = [
            torch.stack(torch.meshgrid((torch.arange(w) + 0.5) / w, (torch.arange(h) + 0.5) / h, indexing='xy'), -1)
            for h, w in sizes
        ]
        reference = torch.cat([part.reshape(-1, 2) for part in centres])
    else:
        reference = torch.rand(queries, 2, generator=generator)
    angle = torch.arange(8) * (2 * torch.pi / 8)
    ray = torch.stack([angle.cos(), angle.sin()], -1)  # (8, 2), one direction a head
    offsets = ray[:, None, None] * torch.arange(1, 5).view(1, 1, 4, 1)  # pixels
    offsets = offsets + 2 * torch.randn(reference.shape[0], 8, len(sizes), 4, 2, generator=generator)
    locations = reference[:, None, None, None] + offsets / shapes.flip(1)[:, None]
    weights = torch.rand(1, *locations.shape[:-1], generator=generator).flatten(3).softmax(-1)
    return value, shapes, starts, locations[None], weights.view(1, *locations.shape[:-1])


def backward_of(function: Callable[..., Tensor], leaves: list[Tensor]) -> Run:
    """The backward pass alone of a function of the leaves."""
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    output = function(*leaves)
    grad = torch.ones_like(output)
    return lambda: torch.autograd.grad(output, leaves, grad, retain_graph=True)


def attention_cases() -> Iterator[Case]:
    """Encoder and decoder shapes; forward and backward."""
    for name, sizes, queries, dtype in (
        ('R50 encoder, 22223 queries', R50_ENCODER, None, torch.float32),
        ('R50 encoder, 22223 queries, bfloat16', R50_ENCODER, None, torch.bfloat16),
        ('DOTA 1024 encoder, 21760 queries', DOTA_ENCODER, None, torch.float32),
        ('R50 decoder, 900 queries', R50_ENCODER, 900, torch.float32),
    ):
        value, shapes, starts, locations, weights = attention_inputs(sizes, queries, dtype)

        def ours(v: Tensor, p: Tensor, w: Tensor, shapes: Tensor = shapes, starts: Tensor = starts) -> Tensor:
            return ms_deform_attn(v, shapes, starts, p, w)

        def python(v: Tensor, p: Tensor, w: Tensor, shapes: Tensor = shapes, starts: Tensor = starts) -> Tensor:
            return ms_deform_attn_reference(v, shapes, starts, p, w)

        def peer(v: Tensor, p: Tensor, w: Tensor, shapes: Tensor = shapes) -> Tensor:
            return grid_sample_attention(v.float(), shapes, p, w)

        leaves = [value, locations, weights]
        functions = {'stn_det': ours, 'grid_sample': peer, 'stn_det, plain PyTorch': python}
        error = max((ours(*leaves).float() - peer(*leaves)).abs().max().item(), 0.0)
        if error > (1e-4 if dtype == torch.float32 else 0.05):
            raise RuntimeError(f'the implementations disagree by {error} on {name}')
        with torch.no_grad():
            yield Case('ms_deform_attn', name, 'forward', {k: partial(f, *leaves) for k, f in functions.items()})
        yield Case('ms_deform_attn', name, 'backward', {k: backward_of(f, leaves) for k, f in functions.items()})


def measure(case: Case, repetitions: int) -> dict[str, Any]:
    """Times of all implementations, one repetition of each in turn, after one for warming up."""
    times: dict[str, list[float]] = {name: [] for name in case.runs}
    for repetition in range(repetitions + 1):
        for name, run in case.runs.items():
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


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repetitions', type=int, default=15)
    parser.add_argument('--threads', type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    print('| operator | shape | pass | ours, ms | against | ms | ratio |\n|---|---|---|---|---|---|---|')
    for case in attention_cases():
        with torch.set_grad_enabled(case.which == 'backward'):
            row = measure(case, arguments.repetitions)
        rows.append(row)
        mine = row['times']['stn_det']['median_ms']
        for name, ratio in row['ratio_to_ours'].items():
            other = row['times'][name]['median_ms']
            print(
                f'| {case.operator} | {case.shape} | {case.which} | {mine:.1f} | {name} | {other:.1f} | {ratio:.1f} |'
            )
    print(write_record('ops_cpu', {'implementations': status(), 'repetitions': arguments.repetitions, 'rows': rows}))


if __name__ == '__main__':
    main()
