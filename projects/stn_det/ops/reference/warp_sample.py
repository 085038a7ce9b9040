"""Affine and projective warps in plain PyTorch, on any device.

Every destination pixel becomes a bag of taps, a row of the table of pixels and a weight each: the product of the taps
along x and along y, for every point of the pixel.
"""

import torch
from torch import Tensor

from stn_det.ops._sampling import bag_sum, pixel_table

MOST_PER_AXIS = 16  # points of a pixel along an axis of the destination
STRETCH = 1 / 1024  # a step that much longer than n source pixels still takes n points
DEPTH = 1e-6  # least depth, as a part of the greatest that the destination may have
CUBIC = -0.75  # A of Keys, Cubic convolution interpolation for digital image processing, 1981

AxisTaps = tuple[Tensor, Tensor]


def warp_sample_reference(
    input: Tensor, matrix: Tensor, out_size: tuple[int, int], mode: str, padding_mode: str, antialias: bool
) -> Tensor:
    """:func:`stn_det.ops.warp_sample` after its checks; matrix (N, 2 or 3, 3) float64, one for each image."""
    images, channels = input.shape[:2]
    if input.numel() == 0 or out_size[0] * out_size[1] == 0:
        nothing = input.flatten()[:0].sum() + matrix.flatten()[:0].sum()  # gives both a gradient
        return nothing.to(input.dtype).expand(images, channels, *out_size).clone()
    finite = matrix.isfinite().flatten(1).all(1)
    square = _finite_square(matrix, finite)
    image, x, y, counts = destination_points(square.detach(), finite, out_size, antialias)
    x, y, before = _locate(square[image], x, y, out_size)
    output = sample_points(input, image, x, y, before & finite[image], counts, mode, padding_mode)
    return output.view(images, *out_size, channels).permute(0, 3, 1, 2).contiguous()


def sample_points(
    input: Tensor, image: Tensor, x: Tensor, y: Tensor, valid: Tensor, counts: Tensor, mode: str, padding_mode: str
) -> Tensor:
    """Means of the samples at the points of each bag.

    Args:
        input: (N, C, H, W).
        image: (P,) int64, the image that a point reads.
        x, y: (P,) coordinates as indices: 0 is the centre of the first pixel.
        valid: (P,) bool, the points that read anything.
        counts: (B,) int64, the number of points of each bag, in their order.

    Returns:
        (B, C), the dtype of ``input``.
    """
    height, width = input.shape[2:]
    columns, weights_x = axis_taps(x, valid, width, mode, padding_mode)
    rows, weights_y = axis_taps(y, valid, height, mode, padding_mode)
    dtype = torch.float64 if input.dtype == torch.float64 else torch.float32
    index = image[:, None, None] * (height * width) + rows[:, :, None] * width + columns[:, None, :]  # (P, K, K)
    share = counts.to(weights_x.dtype).reciprocal().repeat_interleave(counts)
    weights = weights_y[:, :, None] * weights_x[:, None, :] * share[:, None, None]
    table = pixel_table(input).to(dtype)
    index, weights, table = _skip_unread(index.flatten(), weights.flatten().to(dtype), table)
    starts = (counts.cumsum(0) - counts) * (rows.shape[1] * columns.shape[1])
    return bag_sum(table, index, weights, starts).to(input.dtype)


def destination_points(
    matrix: Tensor, finite: Tensor, out_size: tuple[int, int], antialias: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Points of all pixels, image by image, row by row.

    Returns:
        Image (P,) int64, x and y (P,) in the destination, and the number of points (N * h * w,) of each pixel.
    """
    images = matrix.shape[0]
    i, j = (torch.arange(size, device=matrix.device, dtype=matrix.dtype) + 0.5 for size in out_size)
    y, x = (part.expand(images, *out_size).flatten() for part in torch.meshgrid(i, j, indexing='ij'))
    image = torch.arange(images, device=matrix.device).repeat_interleave(out_size[0] * out_size[1])
    if not antialias:
        return image, x, y, torch.ones_like(image)
    across, down = _count_points(matrix[image], x, y, out_size)
    across, down = (torch.where(finite[image], count, 1) for count in (across, down))
    counts = across * down
    pixel = torch.arange(counts.numel(), device=matrix.device).repeat_interleave(counts)
    number = torch.arange(pixel.numel(), device=matrix.device) - (counts.cumsum(0) - counts)[pixel]
    across, down = across[pixel], down[pixel]
    x = x[pixel] + ((number % across + 0.5).to(x) / across - 0.5)
    y = y[pixel] + ((number // across + 0.5).to(y) / down - 0.5)
    return image[pixel], x, y, counts


def axis_taps(at: Tensor, valid: Tensor, size: int, mode: str, padding_mode: str) -> AxisTaps:
    """Taps of points along one axis.

    Args:
        at: (P,) coordinates as indices: 0 is the centre of the first pixel.
        valid: (P,) bool, the points that read anything.
        size: pixels along the axis.

    Returns:
        Index (P, K) int64 inside the image and weight (P, K), 0 where nothing is read.
    """
    valid = valid & at.isfinite()
    at = torch.where(valid, at, 0.0)
    if mode == 'nearest':
        # The product with 0 keeps the result a function of the matrix, whose gradient is then 0 and not missing.
        position, weight = _inside(at, size, padding_mode).round()[:, None], (1 + 0 * at)[:, None]
    elif mode == 'bilinear':
        inside = _inside(at, size, padding_mode)
        low = inside.detach().floor()
        position = torch.stack([low, low + 1], -1)
        weight = torch.stack([1 - (inside - low), inside - low], -1)
    else:
        low = at.detach().floor()
        position = torch.stack([_inside(low + k, size, padding_mode) for k in (-1, 0, 1, 2)], -1)
        part = at - low
        weight = torch.stack([_far(1 + part), _near(part), _near(1 - part), _far(2 - part)], -1)
    position = position.detach()
    read = valid[:, None] & (position >= 0) & (position <= size - 1)
    return torch.where(read, position, 0.0).long(), torch.where(read, weight, 0.0)


def _finite_square(matrix: Tensor, finite: Tensor) -> Tensor:
    """Matrices (N, 3, 3), the identity for those that are not finite, so that no NaN reaches a gradient."""
    if matrix.shape[1] == 2:
        last = matrix.new_tensor([0.0, 0.0, 1.0]).expand(matrix.shape[0], 1, 3)
        matrix = torch.cat([matrix, last], 1)
    identity = torch.eye(3, dtype=matrix.dtype, device=matrix.device)
    return torch.where(finite[:, None, None], matrix, identity)


def _depth(m: Tensor, x: Tensor, y: Tensor, out_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Depth of points under matrices (P, 3, 3), 1 behind the horizon, and which lie before it."""
    depth = m[:, 2, 0] * x + m[:, 2, 1] * y + m[:, 2, 2]
    last = m[:, 2].detach().abs()
    before = depth > DEPTH * (last[:, 0] * out_size[1] + last[:, 1] * out_size[0] + last[:, 2])
    return torch.where(before, depth, 1.0), before


def _locate(m: Tensor, x: Tensor, y: Tensor, out_size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Source indices of destination points under matrices (P, 3, 3), and which lie before the horizon."""
    depth, before = _depth(m, x, y, out_size)
    u = (m[:, 0, 0] * x + m[:, 0, 1] * y + m[:, 0, 2]) / depth
    v = (m[:, 1, 0] * x + m[:, 1, 1] * y + m[:, 1, 2]) / depth
    return u - 0.5, v - 0.5, before & u.isfinite() & v.isfinite()


def _count_points(m: Tensor, x: Tensor, y: Tensor, out_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Points along x and y of the destination pixels around (x, y), from the Jacobian there."""
    depth, before = _depth(m, x, y, out_size)
    u = (m[:, 0, 0] * x + m[:, 0, 1] * y + m[:, 0, 2]) / depth
    v = (m[:, 1, 0] * x + m[:, 1, 1] * y + m[:, 1, 2]) / depth
    counts = []
    for axis in range(2):
        step_x, step_y = (m[:, 0, axis] - u * m[:, 2, axis]) / depth, (m[:, 1, axis] - v * m[:, 2, axis]) / depth
        length = (step_x.square() + step_y.square()).sqrt().nan_to_num(nan=MOST_PER_AXIS, posinf=MOST_PER_AXIS)
        count = (length - STRETCH).ceil().clamp(1, MOST_PER_AXIS).long()
        counts.append(torch.where(before, count, 1))
    return counts[0], counts[1]


def _inside(at: Tensor, size: int, padding_mode: str) -> Tensor:
    """Coordinates brought into the image; beyond the first or last centre they have no derivative."""
    if padding_mode == 'zeros':
        return at
    if padding_mode == 'reflection':
        rest = (at + 0.5) - 2 * size * ((at.detach() + 0.5) / (2 * size)).floor()
        at = torch.where(rest > size, 2 * size - rest, rest) - 0.5
    return torch.where((at > 0) & (at < size - 1), at, at.detach().clamp(0, size - 1))


def _near(d: Tensor) -> Tensor:
    return ((CUBIC + 2) * d - (CUBIC + 3)) * d * d + 1


def _far(d: Tensor) -> Tensor:
    return ((CUBIC * d - 5 * CUBIC) * d + 8 * CUBIC) * d - 4 * CUBIC


def _skip_unread(index: Tensor, weights: Tensor, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Send taps of weight 0 that would read NaN or infinity to a row of zeros; other taps stay, for their slopes."""
    wild = ~table.detach().isfinite().all(1)
    unread = (weights.detach() == 0) & wild[index]
    table = torch.cat([table, table.new_zeros(1, table.shape[1])])
    return torch.where(unread, table.shape[0] - 1, index), weights, table
