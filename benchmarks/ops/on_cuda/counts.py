"""Counts of the least work that an operator has to do, whoever implements it.

Bytes of memory: every input that is needed read once, every result written once; pixels that no point touches are not
needed. Gathered bytes: pixels as they reach registers, through the first-level cache or shared memory: a corner of a
bilinear sample is read for every sample that it belongs to. Warp instructions: one load of 16 bytes a lane and one
multiply-add a channel for every corner, two in the backward pass; addresses, weights, conversions and sums between
threads come on top and are not counted. Corners outside the image are not read and not counted, those of weight 0 are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

LANES = 32
BYTES_A_LOAD = 16 * LANES


@dataclass(frozen=True)
class Work:
    """Counts of one pass; None: not counted. ``reduced``: bytes added to gradients in float32 if nothing is summed
    before; ``operations``: multiplications and additions, two a multiply-add."""

    bytes: int | None = None
    gathered: int | None = None
    instructions: int | None = None
    operations: int | None = None
    reduced: int | None = None

    def __add__(self, other: 'Work') -> 'Work':
        pairs = zip(vars(self).values(), vars(other).values())
        return Work(*(None if None in pair else sum(pair) for pair in pairs))


@dataclass(frozen=True)
class Corners:
    """Corners of bilinear samples that lie inside: how many, and how many different pixels they are."""

    count: int
    pixels: int

    def __add__(self, other: 'Corners') -> 'Corners':
        return Corners(self.count + other.count, self.pixels + other.pixels)


def count_corners(x: Tensor, y: Tensor, height: int, width: int) -> Corners:
    """Corners of samples at (x, y), both (images, points), where the centre of the first pixel is (0, 0)."""
    touched = torch.zeros(x.shape[0], height * width, dtype=torch.bool, device=x.device)
    left, top = x.floor(), y.floor()
    count = 0
    for row in (top, top + 1):
        for column in (left, left + 1):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            count += int(inside.sum())
            image, point = inside.nonzero(as_tuple=True)
            touched[image, (row[image, point] * width + column[image, point]).long()] = True
    return Corners(count, int(touched.sum()))


def attention_corners(locations: Tensor, sizes: Sequence[Sequence[int]]) -> Corners:
    """Corners of the locations (N, Q, G, L, K, 2); a pixel counts once for every head, whose channels are its own."""
    total = Corners(0, 0)
    for level, (height, width) in enumerate(sizes):
        points = locations[:, :, :, level].transpose(1, 2).flatten(0, 1).flatten(1, 2)  # (N * G, Q * K, 2)
        total += count_corners(points[..., 0] * width - 0.5, points[..., 1] * height - 0.5, height, width)
    return total


def sampling_work(corners: Corners, channels: int, size: int, others: int, output: int, grads: int) -> dict[str, Work]:
    """Work of an operator that sums bilinear samples of pixels of ``channels`` numbers of ``size`` bytes.

    Args:
        corners: of all samples.
        channels: numbers a pixel.
        size: bytes of a number.
        others: bytes of the inputs beside the pixels.
        output: bytes of the output.
        grads: bytes of all gradients.
    """
    gathered = corners.count * channels * size
    loads, sums = gathered // BYTES_A_LOAD, corners.count * channels // LANES
    read = corners.pixels * channels * size + others
    forward = Work(read + output, gathered, loads + sums, 2 * corners.count * channels, 0)
    reduced = 4 * corners.count * channels
    backward = Work(read + output + grads, gathered, loads + 2 * sums, 4 * corners.count * channels, reduced)
    return {'forward': forward, 'backward': backward, 'both': forward + backward}


def bytes_of(*tensors: Tensor) -> int:
    """Bytes of tensors together."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def product_operations(images: int, size: tuple[int, int], weight: Sequence[int]) -> int:
    """Multiplications and additions of a convolution with an output of the size, weight (O, C, h, w)."""
    return 2 * images * prod(size) * prod(weight)
