"""The fused warp and reading at given points, against a grid of coordinates and ``grid_sample``."""

import math
from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ops.case import Case, backward_of, both_passes
from stn_det.ops import remap, warp_sample
from stn_det.ops.reference.remap import remap_reference
from stn_det.ops.reference.warp_sample import warp_sample_reference

SHAPE = (8, 64, 256, 256)


def turn(slant: float) -> Tensor:
    """(8, 2 or 3, 3): 10 degrees and a scale of 1.1 about the centre, and the slant of a homography, if any."""
    cos, sin, (height, width) = 1.1 * math.cos(math.radians(10)), 1.1 * math.sin(math.radians(10)), SHAPE[2:]
    rows = torch.tensor([[cos, -sin], [sin, cos]])
    center = torch.tensor([width / 2, height / 2])
    matrix = torch.cat([rows, (center - rows @ center)[:, None]], 1)
    if slant:
        matrix = torch.cat([matrix, torch.tensor([[slant, -slant, 1.0]])])
    return matrix.repeat(SHAPE[0], 1, 1)


def on_affine_grid(image: Tensor, matrix: Tensor, mode: str) -> Tensor:
    """Through ``affine_grid``, which wants both images from -1 to 1."""
    half = matrix.new_tensor([image.shape[3] / 2, image.shape[2] / 2])
    linear = matrix[:, :, :2] * half / half[:, None]
    shift = (matrix[:, :, :2] @ half + matrix[:, :, 2]) / half - 1
    grid = F.affine_grid(torch.cat([linear, shift[..., None]], 2), list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, mode=mode, align_corners=False)


def on_projected_grid(image: Tensor, matrix: Tensor, mode: str) -> Tensor:
    """Through a grid of points that are multiplied by the matrix and divided."""
    height, width = image.shape[2:]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing='ij')
    points = torch.stack([x, y, torch.ones_like(x)], -1).view(-1, 3) @ matrix.transpose(1, 2)
    grid = 2 * points[..., :2] / points[..., 2:] / points.new_tensor([width, height]) - 1
    return F.grid_sample(image, grid.view(-1, height, width, 2), mode=mode, align_corners=False)


def waves() -> Tensor:
    """Points (8, 256, 256, 2): the turn above with waves of 4 pixels, as a flow or a spline has them."""
    height, width = SHAPE[2:]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing='ij')
    points = torch.stack([x, y, torch.ones_like(x)], -1).view(-1, 3) @ turn(0.0)[0].T
    flow = torch.stack([torch.sin(y / 20), torch.cos(x / 25)], -1)
    return (points.view(height, width, 2) + 4 * flow).repeat(SHAPE[0], 1, 1, 1)


def on_grid(image: Tensor, points: Tensor, mode: str) -> Tensor:
    """At points in pixels, brought to a grid from -1 to 1."""
    extent = points.new_tensor([image.shape[3], image.shape[2]])
    return F.grid_sample(image, 2 * points / extent - 1, mode=mode, align_corners=False)


def cases() -> Iterator[Case]:
    """8 x 64 x 256 x 256: affine, projective and given points bilinear, both directions; affine bicubic forward."""
    yield from warp_cases()
    functions = {
        'stn_det': remap,
        'grid_sample': partial(on_grid, mode='bilinear'),
        'stn_det, plain PyTorch': partial(remap_reference, mode='bilinear', padding_mode='zeros'),
    }
    image = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    yield from both_passes('remap', 'bilinear, 8 x 64 x 256 x 256', functions, [image, waves()], 2e-3)


def warp_cases() -> Iterator[Case]:
    """Maps that a matrix gives."""
    image = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    size = SHAPE[2:]
    for name, mode, slant, peer_name, peer, backward in (
        ('affine bilinear', 'bilinear', 0.0, 'affine_grid + grid_sample', on_affine_grid, True),
        ('projective bilinear', 'bilinear', 2e-4, 'own grid + grid_sample', on_projected_grid, True),
        ('affine bicubic', 'bicubic', 0.0, 'affine_grid + grid_sample', on_affine_grid, False),
    ):
        matrix = turn(slant)

        def ours(x: Tensor, m: Tensor, mode: str = mode) -> Tensor:
            return warp_sample(x, m, size, mode)

        def python(x: Tensor, m: Tensor, mode: str = mode) -> Tensor:
            return warp_sample_reference(x, m.double(), size, mode, 'zeros', False)

        functions = {'stn_det': ours, peer_name: partial(peer, mode=mode), 'stn_det, plain PyTorch': python}
        error = (ours(image, matrix) - functions[peer_name](image, matrix)).abs().max().item()
        if error > 2e-3:  # the grid is float32
            raise RuntimeError(f'the implementations disagree by {error} on {name}')
        shape = f'{name}, 8 x 64 x 256 x 256'
        with torch.no_grad():
            runs = {key: partial(function, image, matrix) for key, function in functions.items()}
            yield Case('warp_sample', shape, 'forward', runs)
        if backward:
            runs = {key: backward_of(function, [image, matrix]) for key, function in functions.items()}
            yield Case('warp_sample', shape, 'backward', runs)
