"""RoI pooling over any grid of sampling points: shared by the axis-aligned and the rotated operator.

Letters: R RoIs, C channels, ph x pw bins, T sampling points of all bins.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from stn_det.checks import as_pair, check_choice, check_float_shape, check_same_device
from stn_det.errors import InputError
from stn_det.ops._sampling import bag_sum, bilinear_taps, pixel_table

MAX_GRID = 256  # sampling points a bin and axis: bounds the memory that one absurdly large RoI can ask for
POINTS_AT_ONCE = 1 << 21

Locate = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def check_roi_arguments(
    feature: Tensor, rois: Tensor, roi_size: int, output_size: int | Sequence[int], sampling_ratio: int, pool_mode: str
) -> tuple[int, int]:
    """Check the arguments of the RoI operators and return the output size (ph, pw)."""
    check_float_shape('input', feature, ('N', 'C', 'H', 'W'))
    check_float_shape('rois', rois, ('R', roi_size))
    check_same_device(input=feature, rois=rois)
    check_choice('pool_mode', pool_mode, ('avg', 'max'))
    size = as_pair('output_size', output_size)
    if min(size) < 1:
        raise InputError(f'output_size is {size}, expected positive sizes (vertical, horizontal)')
    if not 0 <= sampling_ratio <= MAX_GRID:
        raise InputError(
            f'sampling_ratio is {sampling_ratio}, expected 0 (adaptive) or a number of points to {MAX_GRID}'
        )
    if rois.shape[0] and not feature.numel():
        raise InputError(f'input has shape {tuple(feature.shape)}, expected pixels to read for {rois.shape[0]} rois')
    return size


def pool_grid(
    feature: Tensor,
    rois: Tensor,
    sizes: Tensor,
    locate: Locate,
    output_size: tuple[int, int],
    sampling_ratio: int,
    pool_mode: str,
) -> Tensor:
    """Pool bilinear samples in each bin of each RoI.

    Args:
        feature: (N, C, H, W) in the dtype to compute in.
        rois: (R, 5 or 6), of which only the batch index in column 0 and being finite are read here.
        sizes: heights and widths (2, R) of the RoIs in feature pixels, used only for the adaptive number of points.
        locate: ``(roi (T,), v (T,), u (T,)) -> y (T,), x (T,)``: feature pixel of the point at the fractions v of the
            height and u of the width of a RoI.
        output_size: bins (ph, pw).
        sampling_ratio: points a bin and axis; 0 means as many as the bin has feature pixels, rounded up.
        pool_mode: ``'avg'`` or ``'max'``.

    Returns:
        (R, C, ph, pw); a bin without a sampling point is 0.

    Raises:
        InputError: on a CPU, for a batch index outside the batch; other devices are not asked and read nothing for it.
    """
    ph, pw = output_size
    batch_index, readable = _read_images(rois.detach(), feature.shape[0])
    grid = _grid_sizes(sizes.detach(), output_size, sampling_ratio) * readable
    table = pixel_table(feature)
    height, width = feature.shape[2:]
    load = ((grid[0] * grid[1]).cumsum(0) * (ph * pw)).div(POINTS_AT_ONCE, rounding_mode='floor')
    shares = torch.unique_consecutive(load, return_counts=True)[1].tolist()
    pooled = []
    for share in torch.arange(sizes.shape[1], device=feature.device).split(shares or [0]):
        roi, v, u, lengths = _grid_points(share, grid[:, share], output_size, sizes.dtype)
        y, x = locate(roi, v, u)
        rows, columns, weights = bilinear_taps(y, x, height, width, zero_border=False)
        index = (batch_index[roi][:, None] * height + rows) * width + columns
        pooled.append(_pool(table, index, weights, lengths, pool_mode))
    return torch.cat(pooled).view(-1, ph, pw, feature.shape[1]).permute(0, 3, 1, 2).contiguous()


def _read_images(rois: Tensor, images: int) -> tuple[Tensor, Tensor]:
    """Image (R,) that each RoI reads, and whether (R,) it reads any."""
    finite = rois.isfinite().all(1)
    index = torch.where(finite, rois[:, 0], 0).long()
    known = (index >= 0) & (index < images)
    if rois.device.type == 'cpu' and not torch.compiler.is_compiling() and not known.all():
        first = int(known.int().argmin())
        raise InputError(
            f'rois[{first}] has batch index {rois[first, 0].item():g}, expected one of the {images} images of input'
        )
    return index.clamp(0, max(images - 1, 0)), finite & known


def _grid_sizes(sizes: Tensor, output_size: tuple[int, int], sampling_ratio: int) -> Tensor:
    """Points a bin along (y, x): (2, R) int64; adaptive, it is 0 for RoIs without size."""
    if sampling_ratio > 0:
        return torch.full_like(sizes, sampling_ratio, dtype=torch.int64)
    bins = sizes.new_tensor(output_size)[:, None]
    return (sizes / bins).ceil().nan_to_num().clamp(0, MAX_GRID).long()


def _grid_points(
    rois: Tensor, grid: Tensor, output_size: tuple[int, int], dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """All points of some RoIs: roi (T,), fractions v, u (T,) along height and width, and points a bin (bins,)."""
    ph, pw = output_size
    device = rois.device
    per_bin = grid[0] * grid[1]
    lengths = per_bin[:, None].expand(-1, ph * pw).reshape(-1)
    bins = torch.repeat_interleave(torch.arange(lengths.numel(), device=device), lengths)
    place = torch.arange(bins.numel(), device=device) - (lengths.cumsum(0) - lengths)[bins]
    local = bins.div(ph * pw, rounding_mode='floor')
    inner, (grid_h, grid_w) = bins % (ph * pw), grid[:, local]
    row, column = inner.div(pw, rounding_mode='floor'), inner % pw
    step_y, step_x = place.div(grid_w, rounding_mode='floor'), place % grid_w
    v = (row + (step_y.to(dtype) + 0.5) / grid_h) / ph
    u = (column + (step_x.to(dtype) + 0.5) / grid_w) / pw
    return rois[local], v, u, lengths


def _pool(table: Tensor, index: Tensor, weights: Tensor, lengths: Tensor, pool_mode: str) -> Tensor:
    """Pooled bins (bins, C) from taps (T, 4), ``lengths`` (bins,) points each."""
    if pool_mode == 'avg':
        shares = torch.repeat_interleave(1 / lengths.clamp(min=1).to(weights.dtype), lengths)
        starts = 4 * (lengths.cumsum(0) - lengths)
        return bag_sum(table, index.flatten(), (weights * shares[:, None]).flatten(), starts)
    samples = bag_sum(table, index, weights)  # (T, C)
    return torch.cat([samples, samples.new_zeros(1, samples.shape[1])]).gather(
        0, _first_best(samples.detach(), lengths)
    )


def _first_best(samples: Tensor, lengths: Tensor) -> Tensor:
    """Which sample (bins, C) is the first largest of its bin, or the first NaN; the number of samples in empty bins."""
    bins, device = torch.arange(lengths.numel(), device=samples.device), samples.device
    owner = torch.repeat_interleave(bins, lengths)[:, None].expand_as(samples)
    best = samples.new_zeros(lengths.numel(), samples.shape[1]).scatter_reduce(
        0, owner, samples, 'amax', include_self=False
    )
    is_best = (samples == best.gather(0, owner)) | samples.isnan()
    order = torch.where(is_best, torch.arange(len(samples), device=device)[:, None], len(samples))
    return torch.full_like(best, len(samples), dtype=torch.int64).scatter_reduce(0, owner, order, 'amin')
