"""Slow plain-Python oracles for the operators: no vectorisation, no torch maths, float64."""

import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stn_det.ops import _library

Points = list[tuple[float, float]]


def rbox_corners(box: Sequence[float]) -> Points:
    """Corners of (cx, cy, w, h, theta), clockwise on screen."""
    cx, cy, w, h, theta = box
    cos, sin = math.cos(theta), math.sin(theta)
    signs = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    return [(cx + cos * a * w / 2 - sin * b * h / 2, cy + sin * a * w / 2 + cos * b * h / 2) for a, b in signs]


def polygon_area(points: Points) -> float:
    """Signed shoelace area."""
    return 0.5 * sum(p[0] * q[1] - q[0] * p[1] for p, q in zip(points, points[1:] + points[:1]))


def clip_polygon(subject: Points, clip: Points) -> Points:
    """Part of a polygon inside a convex polygon (Sutherland and Hodgman, 1974)."""
    if polygon_area(clip) < 0:
        clip = clip[::-1]
    for a, b in zip(clip[-1:] + clip[:-1], clip):
        sides = [(b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0]) for p in subject]
        kept = []
        for k, (p, s) in enumerate(zip(subject, sides)):
            q, t = subject[k - 1], sides[k - 1]
            if (s > 0) != (t > 0):
                kept.append((q[0] + (p[0] - q[0]) * t / (t - s), q[1] + (p[1] - q[1]) * t / (t - s)))
            if s > 0:
                kept.append(p)
        subject = kept
        if not subject:
            break
    return subject


def polygon_iou(first: Points, second: Points) -> float:
    """IoU of two polygons of which the second is convex."""
    clipped = clip_polygon(first, second)
    shared = abs(polygon_area(clipped)) if clipped else 0.0
    return shared / (abs(polygon_area(first)) + abs(polygon_area(second)) - shared)


def hull_area(points: Points) -> float:
    """Area of the convex hull (Andrew, 1979)."""

    def chain(ordered: Points) -> Points:
        out: Points = []
        for p in ordered:
            while len(out) > 1 and (
                (out[-1][0] - out[-2][0]) * (p[1] - out[-2][1]) - (out[-1][1] - out[-2][1]) * (p[0] - out[-2][0]) <= 0
            ):
                out.pop()
            out.append(p)
        return out[:-1]

    ordered = sorted(points)
    return abs(polygon_area(chain(ordered) + chain(ordered[::-1])))


def greedy_keep(scores: Sequence[float], threshold: float, iou: Callable[[int, int], float], labels=None) -> list[int]:
    """Kept indices by falling score: the definition of greedy NMS, pair by pair."""
    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda k: -scores[k]):
        rivals = [j for j in kept if labels is None or labels[i] == labels[j]]
        if all(iou(j, i) <= threshold for j in rivals):
            kept.append(i)
    return kept


def random_rboxes(count: int, seed: int = 0, extent: float = 60.0, size: float = 40.0) -> torch.Tensor:
    """Overlapping boxes (count, 5), float64."""
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(count, 5, generator=generator, dtype=torch.float64)
    scale = torch.tensor([extent, extent, size, size, 2 * math.pi], dtype=torch.float64)
    return boxes * scale + torch.tensor([0, 0, 1, 1, -math.pi], dtype=torch.float64)


def bilinear(plane: Sequence[Sequence[float]], y: float, x: float, zero_border: bool) -> float:
    """One bilinear sample of a list of rows."""
    height, width = len(plane), len(plane[0])
    if zero_border:
        if not (-1 < y < height and -1 < x < width):
            return 0.0
    else:
        if y < -1 or y > height or x < -1 or x > width:
            return 0.0
        y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = math.floor(y), math.floor(x)
    total = 0.0
    for row, wy in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, wx in ((left, 1 - (x - left)), (left + 1, x - left)):
            if 0 <= row < height and 0 <= column < width:
                total += wy * wx * plane[row][column]
    return total


class Oracles:
    """The functions above, as one fixture."""

    rbox_corners = staticmethod(rbox_corners)
    polygon_area = staticmethod(polygon_area)
    polygon_iou = staticmethod(polygon_iou)
    hull_area = staticmethod(hull_area)
    greedy_keep = staticmethod(greedy_keep)
    random_rboxes = staticmethod(random_rboxes)
    bilinear = staticmethod(bilinear)


@pytest.fixture(scope='session')
def oracle() -> type[Oracles]:
    """Slow reference functions."""
    return Oracles


@pytest.fixture(params=['python', 'compiled'])
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test once in plain PyTorch and once on the compiled operators."""
    if request.param == 'python':
        monkeypatch.setattr(_library, '_on_cpu', frozenset())
    elif not _library._on_cpu:
        pytest.skip(f'the operators are {_library.library_report()[0]}')
    return request.param


@pytest.fixture
def compiled() -> None:
    """Skips a test of the compiled operators where there are none."""
    if not _library._on_cpu:
        pytest.skip(f'the operators are {_library.library_report()[0]}')


@pytest.fixture
def cpu_only() -> None:
    """Skips a test of what only the CPU does where the compiled operators are kernels of CUDA on the CPU."""
    if _library._on_cpu and not _library.instruction_set():
        pytest.skip('the operators are kernels of CUDA')


@pytest.fixture
def deterministic() -> Iterator[None]:
    """Runs a test that compares bits of gradients, whose sums on a GPU depend on the order of threads otherwise."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


class OperatorChecks:
    """What every compiled operator is held to. Arguments are passed by position; tensors of floats get a gradient."""

    @staticmethod
    def gradients(function: Callable, arguments: Sequence, grad_output: Tensor | None = None) -> tuple[Tensor, ...]:
        """Output, and the gradients to all floating-point tensors among the arguments."""
        leaves = [part.detach().clone().requires_grad_() if _is_real(part) else part for part in arguments]
        output = function(*leaves)
        if grad_output is None:
            grad_output = torch.cos(torch.arange(output.numel())).view_as(output).to(output)
        output.backward(grad_output)
        return output.detach(), *(leaf.grad for leaf in leaves if _is_real(leaf))

    @staticmethod
    def same_for_any_number_of_threads(run: Callable[[], Sequence[Tensor]]) -> None:
        """The results of a run are bitwise equal for one, two and three threads."""
        threads = torch.get_num_threads()
        try:
            runs = []
            for count in (1, 2, 3):
                torch.set_num_threads(count)
                runs.append(run())
        finally:
            torch.set_num_threads(threads)
        for other in runs[1:]:
            assert all(torch.equal(one, two) for one, two in zip(other, runs[0], strict=True))

    @staticmethod
    def exports(function: Callable, arguments: Sequence, node: str) -> None:
        """torch.export keeps the operator as one node, and the program gives the same."""

        class Module(torch.nn.Module):
            def forward(self, *inputs):
                return function(*inputs)

        program = torch.export.export(Module(), tuple(arguments))
        assert f'stn_det.{node}.default' in str(program.graph)
        torch.testing.assert_close(program.module()(*arguments), function(*arguments), rtol=0, atol=0)

    @staticmethod
    def portable(name: str, arguments: Sequence, folder: Path, **options: object) -> Tensor:
        """Result of the public operator in a process that is told not to use this processor's instructions."""
        torch.save((arguments, options), folder / 'in.pt')
        code = (
            'import sys, torch, stn_det.ops as ops; name, folder = sys.argv[1:]; '
            'assert "cpu" in ops.status()[name]; '
            'arguments, options = torch.load(folder + "/in.pt"); '
            'torch.save(getattr(ops, name)(*arguments, **options), folder + "/out.pt")'
        )
        command = [sys.executable, '-c', code, name, str(folder)]
        subprocess.run(command, check=True, env={**os.environ, 'STN_DET_ISA': 'baseline'})
        return torch.load(folder / 'out.pt')


def _is_real(part: object) -> bool:
    return isinstance(part, Tensor) and part.is_floating_point()


@pytest.fixture(scope='session')
def checks() -> type[OperatorChecks]:
    """Checks that every compiled operator passes."""
    return OperatorChecks
