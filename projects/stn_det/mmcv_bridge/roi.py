"""Pooling of axis-aligned regions, with the call signatures of mmcv's extension."""

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from stn_det import ops
from stn_det.checks import compute_dtype
from stn_det.ops._library import is_compiled

from .gradient import vector_jacobian
from .sampling import bin_grids, bin_points, sample_bilinear

_OUTSIDE = -2.0  # a coordinate that sample_bilinear treats as outside, so that nothing flows back


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Mask R-CNN's RoIAlign, https://arxiv.org/abs/1703.06870; ``pool_mode`` 0 is the maximum, 1 the average.

    What goes into ``argmax_y`` and ``argmax_x`` is for the backward pass alone: coordinates of the largest point in
    plain PyTorch; on the compiled operator the upper and lower 8 bits of its number, which every dtype holds exactly.
    """
    size = (aligned_height, aligned_width)
    if pool_mode == 1:
        output.copy_(ops.roi_align(input, rois, size, spatial_scale, max(sampling_ratio, 0), aligned=aligned))
        return
    if is_compiled('roi_align_max', input.device):
        options = (*size, spatial_scale, max(sampling_ratio, 0), aligned)
        pooled, which = torch.ops.stn_det.roi_align_max(input, rois.to(compute_dtype(input)), *options)
        for part, result in ((output, pooled), (argmax_y, which >> 8), (argmax_x, which & 255)):
            part.copy_(result)
        return
    argmax_x.fill_(_OUTSIDE)
    argmax_y.fill_(_OUTSIDE)
    start, bin_size = _regions(rois, size, spatial_scale, aligned)
    for members, across, down in bin_grids(bin_size, sampling_ratio, size[0] * size[1]):
        points = bin_points(start[members], bin_size[members], size, across, down)
        values = sample_bilinear(input, rois[members, 0].long(), points)  # (K, rows, columns, samples, C)
        best, which = values.max(3)  # (K, rows, columns, C)
        chosen = points.gather(3, which[..., None].expand(*which.shape, 2))
        output[members] = best.permute(0, 3, 1, 2)
        argmax_x[members] = chosen[..., 0].permute(0, 3, 1, 2)
        argmax_y[members] = chosen[..., 1].permute(0, 3, 1, 2)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the gradient of the feature map into ``grad_input``."""
    if is_compiled('roi_align_backward', grad_output.device):
        batch, _, height, width = grad_input.shape
        dtype = compute_dtype(grad_output)
        options = (aligned_height, aligned_width, spatial_scale, max(sampling_ratio, 0), aligned)
        arguments = (rois.to(dtype), batch, height, width, *options)
        if pool_mode == 1:
            grad = torch.ops.stn_det.roi_align_backward(grad_output.to(dtype), *arguments)
        else:
            which = (argmax_y.int() << 8) + argmax_x.int()
            grad = torch.ops.stn_det.roi_align_max_backward(grad_output.to(dtype), which, *arguments)
        grad_input.copy_(grad)
        return
    zeros = torch.zeros_like(grad_input)  # pooling is linear once the sampling points are chosen
    if pool_mode == 1:
        size = (aligned_height, aligned_width)
        (grad,) = vector_jacobian(
            lambda x: ops.roi_align(x, rois, size, spatial_scale, max(sampling_ratio, 0), aligned=aligned),
            (zeros,),
            grad_output,
        )
    else:
        points = torch.stack((argmax_x, argmax_y), -1).transpose(0, 1)  # (C, R, rows, columns, 2)
        images = rois[:, 0].long()

        def pick(x: Tensor) -> Tensor:
            channels = [sample_bilinear(x[:, c : c + 1], images, points[c])[..., 0] for c in range(x.shape[1])]
            return torch.stack(channels, 1)

        (grad,) = vector_jacobian(pick, (zeros,), grad_output)
    grad_input.copy_(grad)


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Fast R-CNN's RoI pooling, https://arxiv.org/abs/1504.08083; ``argmax`` is a pixel index, -1 in empty bins."""
    height, width = input.shape[-2:]
    argmax.fill_(-1)
    output.zero_()
    columns = _pool_bins(rois[:, 1] * spatial_scale, (rois[:, 3] + 1) * spatial_scale, pooled_width, width)
    rows = _pool_bins(rois[:, 2] * spatial_scale, (rois[:, 4] + 1) * spatial_scale, pooled_height, height)
    for index, image in enumerate(rois[:, 0].long().tolist()):
        for (row, (top, bottom)), (column, (left, right)) in product(enumerate(rows[index]), enumerate(columns[index])):
            if bottom > top and right > left:
                best, where = input[image, :, top:bottom, left:right].flatten(1).max(1)
                output[index, :, row, column] = best
                pixel = (top + where // (right - left)) * width + left + where % (right - left)
                argmax[index, :, row, column] = pixel.int()


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Add each bin's gradient to the pixel that was its maximum."""
    channels = grad_input.shape[1]
    planes = rois[:, 0].long()[:, None] * channels + torch.arange(channels, device=rois.device)  # (R, C)
    target = planes[:, :, None, None] * grad_input[0, 0].numel() + argmax
    valid = argmax >= 0
    grad_input.view(-1).index_add_(0, target[valid].long(), grad_output[valid].to(grad_input.dtype))


def prroi_pool_forward(
    input: Tensor, rois: Tensor, output: Tensor, pooled_height: int, pooled_width: int, spatial_scale: float
) -> None:
    """Precise RoI pooling, https://arxiv.org/abs/1807.11590: the mean of the bilinear surface over each bin."""
    output.copy_(_prroi_pool(input, rois, (pooled_height, pooled_width), spatial_scale))


def prroi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Write the gradient of the feature map into ``grad_input``."""
    size = (pooled_height, pooled_width)
    zeros = torch.zeros_like(grad_input)
    (grad,) = vector_jacobian(lambda x: _prroi_pool(x, rois, size, spatial_scale), (zeros,), grad_output)
    grad_input.copy_(grad)


def prroi_pool_coor_backward(
    output: Tensor,
    grad_output: Tensor,
    input: Tensor,
    rois: Tensor,
    grad_rois: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Write the gradient of the region's coordinates into ``grad_rois``."""
    size = (pooled_height, pooled_width)
    (grad,) = vector_jacobian(lambda r: _prroi_pool(input, r, size, spatial_scale), (rois,), grad_output)
    grad_rois.copy_(grad)


def deform_roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    output: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """RoI pooling with a learned shift of every bin, https://arxiv.org/abs/1703.06211, on RoIAlign's sampling.

    ``offset`` is (R, 2, pooled_height, pooled_width), shifts along x and y in ``gamma`` region sizes, or empty.
    """
    size = (pooled_height, pooled_width)
    output.copy_(_deform_roi_pool(input, rois, offset, size, spatial_scale, sampling_ratio, gamma))


def deform_roi_pool_backward(
    grad_output: Tensor,
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Write the gradients of features and shifts into ``grad_input`` and ``grad_offset``."""
    size = (pooled_height, pooled_width)
    grads = vector_jacobian(
        lambda x, o: _deform_roi_pool(x, rois, o, size, spatial_scale, sampling_ratio, gamma),
        (input, offset),
        grad_output,
    )
    grad_input.copy_(grads[0])
    grad_offset.copy_(grads[1])


def _regions(rois: Tensor, size: tuple[int, int], spatial_scale: float, aligned: bool) -> tuple[Tensor, Tensor]:
    """Top left corners and bin sizes, (R, 2) each as (x, y), in pixels with whole numbers at pixel centres."""
    corners = rois[:, 1:] * spatial_scale - (0.5 if aligned else 0.0)
    extent = corners[:, 2:] - corners[:, :2]
    if not aligned:
        extent = extent.clamp(min=1)
    return corners[:, :2], extent / extent.new_tensor([size[1], size[0]])


def _pool_bins(start: Tensor, end: Tensor, number: int, limit: int) -> list[list[tuple[int, int]]]:
    """Whole pixel ranges [first, last) of the bins of one axis, clipped to the map; empty for malformed regions."""
    step = ((end - start) / number)[:, None]
    index = torch.arange(number + 1, dtype=start.dtype, device=start.device)
    edges = start[:, None] + index * step  # (R, number + 1)
    first = edges[:, :-1].floor().clamp(0, limit)
    last = edges[:, 1:].ceil().clamp(0, limit)
    ranges = torch.stack((first, torch.where(step > 0, last, first)), -1)
    return ranges.nan_to_num(0).long().tolist()


def _deform_roi_pool(
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> Tensor:
    start, bin_size = _regions(rois, size, spatial_scale, aligned=True)
    start = start[:, None, None].expand(-1, *size, -1)
    if offset.numel():
        extent = bin_size * bin_size.new_tensor([size[1], size[0]])
        start = start + gamma * extent[:, None, None] * offset.permute(0, 2, 3, 1)
    output = input.new_zeros(len(rois), *size, input.shape[1])
    for members, across, down in bin_grids(bin_size, sampling_ratio, size[0] * size[1]):
        points = bin_points(start[members], bin_size[members], size, across, down)
        pooled = sample_bilinear(input, rois[members, 0].long(), points).mean(3)
        output = output.index_copy(0, members, pooled.to(output.dtype))
    return output.permute(0, 3, 1, 2)


def _prroi_pool(input: Tensor, rois: Tensor, size: tuple[int, int], spatial_scale: float) -> Tensor:
    """The bilinear surface is a sum of products of hat functions, so its integral is separable in x and y."""
    corners = rois[:, 1:] * spatial_scale
    weight_x = _hat_integrals(corners[:, 0], corners[:, 2], size[1], input.shape[3])  # (R, columns, W)
    weight_y = _hat_integrals(corners[:, 1], corners[:, 3], size[0], input.shape[2])  # (R, rows, H)
    output = input.new_zeros(len(rois), input.shape[1], *size)
    images = rois[:, 0].long()
    for image in images.unique().tolist():
        members = (images == image).nonzero()[:, 0]
        pooled = torch.einsum('chw,rph,rqw->rcpq', input[image], weight_y[members], weight_x[members])
        output = output.index_copy(0, members, pooled)
    return output


def _hat_integrals(start: Tensor, end: Tensor, number: int, length: int) -> Tensor:
    """Mean over each bin of the hat function of each pixel, (R, number, length); zero for empty bins."""
    bin_size = (end - start).clamp(min=0) / number
    steps = torch.arange(number, dtype=start.dtype, device=start.device)
    low = start[:, None] + bin_size[:, None] * steps
    pixels = torch.arange(length, dtype=start.dtype, device=start.device)

    def below(edge: Tensor) -> Tensor:
        t = (edge[..., None] - pixels).clamp(-1, 1)
        return 0.5 + t - 0.5 * t * t.abs()

    integral = below(low + bin_size[:, None]) - below(low)
    safe = torch.where(bin_size > 0, bin_size, 1)
    return integral / safe[:, None, None] * (bin_size > 0)[:, None, None]


OPERATORS: dict[str, Callable[..., object]] = {
    'roi_align_forward': roi_align_forward,
    'roi_align_backward': roi_align_backward,
    'roi_pool_forward': roi_pool_forward,
    'roi_pool_backward': roi_pool_backward,
    'prroi_pool_forward': prroi_pool_forward,
    'prroi_pool_backward': prroi_pool_backward,
    'prroi_pool_coor_backward': prroi_pool_coor_backward,
    'deform_roi_pool_forward': deform_roi_pool_forward,
    'deform_roi_pool_backward': deform_roi_pool_backward,
}
