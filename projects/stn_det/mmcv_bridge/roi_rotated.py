"""Pooling of rotated regions and alignment to rotated boxes, with the call signatures of mmcv's extension."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from stn_det import ops
from stn_det.checks import compute_dtype
from stn_det.ops._library import is_compiled

from .gradient import vector_jacobian
from .sampling import sample_bilinear


def roi_align_rotated_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    clockwise: bool,
) -> None:
    """Write RoIAlign over rotated regions (R, 6) into ``output``."""
    size = (pooled_height, pooled_width)
    ratio = max(sampling_ratio, 0)
    output.copy_(ops.roi_align_rotated(input, rois, size, spatial_scale, ratio, aligned, clockwise))


def roi_align_rotated_backward(
    grad_output: Tensor,
    rois: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    clockwise: bool,
) -> None:
    """Write the gradient of the feature map into ``grad_input``; mmcv asks for none of the regions."""
    options = (pooled_height, pooled_width, spatial_scale, max(sampling_ratio, 0), aligned, clockwise)
    grad_input.copy_(_features_gradient(grad_output, rois, grad_input, *options))


def riroi_align_rotated_forward(
    features: Tensor,
    rois: Tensor,
    output: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    num_samples: int,
    num_orientations: int,
    clockwise: bool,
) -> None:
    """ReDet's rotation-invariant RoIAlign, https://arxiv.org/abs/2103.07733: write the result into ``output``."""
    size = (pooled_height, pooled_width)
    output.copy_(_riroi_align(features, rois, size, spatial_scale, num_samples, num_orientations, clockwise))


def riroi_align_rotated_backward(
    top_grad: Tensor,
    rois: Tensor,
    bottom_grad: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    num_samples: int,
    num_orientations: int,
    clockwise: bool,
) -> None:
    """Write the gradient of the feature map into ``bottom_grad``."""
    (grad_pooled,) = vector_jacobian(
        lambda x: _turn_channels(x, rois, num_orientations), (torch.zeros_like(top_grad),), top_grad
    )
    options = (pooled_height, pooled_width, spatial_scale, num_samples, False, clockwise)
    bottom_grad.copy_(_features_gradient(grad_pooled, rois, bottom_grad, *options))


def rotated_feature_align_forward(
    features: Tensor, best_bboxes: Tensor, output: Tensor, spatial_scale: float, points: int
) -> None:
    """R3Det's feature refinement, https://arxiv.org/abs/1908.05612: write the result into ``output``."""
    output.copy_(_feature_align(features, best_bboxes, spatial_scale, points))


def rotated_feature_align_backward(
    top_grad: Tensor, best_bboxes: Tensor, bottom_grad: Tensor, spatial_scale: float, points: int
) -> None:
    """Write the gradient of the feature map into ``bottom_grad``."""
    (grad,) = vector_jacobian(
        lambda x: _feature_align(x, best_bboxes, spatial_scale, points), (torch.zeros_like(bottom_grad),), top_grad
    )
    bottom_grad.copy_(grad)


def border_align_forward(input: Tensor, boxes: Tensor, output: Tensor, argmax_idx: Tensor, pool_size: int) -> None:
    """BorderDet's border alignment, https://arxiv.org/abs/2007.11056.

    Args:
        input: (N, 4C, H, W), channels of the top, left, bottom and right border.
        boxes: (N, B, 4) as (x1, y1, x2, y2) in pixels of the map.
        output: (N, C, B, 4), the maximum along each border, written in place.
        argmax_idx: like output, which of the ``pool_size + 1`` points it was, written in place.
        pool_size: number of steps along a border.
    """
    for side, plane in enumerate(input.chunk(4, 1)):
        points = _border_points(boxes, pool_size, side)
        images = torch.arange(len(input), device=input.device)
        best, which = sample_bilinear(plane, images, points).max(2)  # (N, B, C)
        output[..., side] = best.transpose(1, 2)
        argmax_idx[..., side] = which.transpose(1, 2).to(argmax_idx.dtype)


def border_align_backward(
    grad_output: Tensor, boxes: Tensor, argmax_idx: Tensor, grad_input: Tensor, pool_size: int
) -> None:
    """Write the gradient of the feature map into ``grad_input``: it flows to each border's strongest point."""
    images = torch.arange(len(boxes), device=boxes.device)

    def pick(x: Tensor) -> Tensor:
        sides = []
        for side, plane in enumerate(x.chunk(4, 1)):
            values = sample_bilinear(plane, images, _border_points(boxes, pool_size, side))  # (N, B, points, C)
            which = argmax_idx[..., side].long().transpose(1, 2)[:, :, None]
            sides.append(values.gather(2, which)[:, :, 0].transpose(1, 2))
        return torch.stack(sides, -1)

    (grad,) = vector_jacobian(pick, (torch.zeros_like(grad_input),), grad_output)
    grad_input.copy_(grad)


def _features_gradient(
    grad_output: Tensor,
    rois: Tensor,
    features: Tensor,
    height: int,
    width: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    clockwise: bool,
) -> Tensor:
    """Gradient of RoIAlign to features of the given shape; it is linear in them, so their values do not matter."""
    if is_compiled('roi_align_rotated_backward', grad_output.device):
        dtype = compute_dtype(grad_output, rois)
        sizes = (features.shape[0], *features.shape[2:])
        options = (height, width, spatial_scale, sampling_ratio, aligned, clockwise)
        return torch.ops.stn_det.roi_align_rotated_backward(grad_output.to(dtype), rois.to(dtype), *sizes, *options)
    (grad,) = vector_jacobian(
        lambda x: ops.roi_align_rotated(x, rois, (height, width), spatial_scale, sampling_ratio, aligned, clockwise),
        (torch.zeros_like(features),),
        grad_output,
    )
    return grad


def _riroi_align(
    features: Tensor,
    rois: Tensor,
    size: tuple[int, int],
    spatial_scale: float,
    num_samples: int,
    num_orientations: int,
    clockwise: bool,
) -> Tensor:
    """RoIAlign, then orientation channels turned by the region's angle."""
    pooled = ops.roi_align_rotated(features, rois, size, spatial_scale, num_samples, False, clockwise)
    return _turn_channels(pooled, rois, num_orientations)


def _turn_channels(pooled: Tensor, rois: Tensor, num_orientations: int) -> Tensor:
    """Orientation channels turned by the region's angle, between two of them by linear interpolation."""
    pooled = pooled.unflatten(1, (-1, num_orientations))  # (R, C, O, rows, columns)
    turn = rois[:, 5] * num_orientations / (2 * math.pi)
    whole = turn.floor()
    fraction = (turn - whole)[:, None, None, None, None]
    channel = torch.arange(num_orientations, device=rois.device)
    source = (channel - whole.long()[:, None]) % num_orientations  # (R, O)

    def turned(by: Tensor) -> Tensor:
        return pooled.gather(2, by[:, None, :, None, None].expand_as(pooled))

    return ((1 - fraction) * turned(source) + fraction * turned((source + 1) % num_orientations)).flatten(1, 2)


def _feature_align(features: Tensor, boxes: Tensor, spatial_scale: float, points: int) -> Tensor:
    """Each pixel plus the features at the centre, and with 5 points also at the corners, of its box.

    mmcv reads a box as (y, x, w, h, angle) here; trained weights rely on it.
    """
    scaled = boxes[..., :4].flatten(1, 2) * spatial_scale  # (N, H * W, 4)
    centre = scaled[..., [1, 0]]
    where = centre[:, :, None]
    if points > 1:
        angle = boxes[..., 4].flatten(1, 2)
        cos, sin = angle.cos(), angle.sin()
        along = torch.stack((cos, sin), -1) * scaled[..., 2:3] / 2
        across = torch.stack((-sin, cos), -1) * scaled[..., 3:4] / 2
        corners = (centre + along + across, centre - along + across, centre - along - across, centre + along - across)
        where = torch.stack((centre, *corners), 2)  # (N, H * W, points, 2)
    images = torch.arange(len(features), device=features.device)
    sampled = sample_bilinear(features, images, where).sum(2)  # (N, H * W, C)
    return features + sampled.transpose(1, 2).reshape(features.shape)


def _border_points(boxes: Tensor, pool_size: int, side: int) -> Tensor:
    """Points of one border (0 top, 1 left, 2 bottom, 3 right), (N, B, pool_size + 1, 2), from (x1, y1) or (x2, y2)."""
    start = boxes[..., :2] if side < 2 else boxes[..., 2:]
    extent = (boxes[..., 2:] - boxes[..., :2]) * (1 if side < 2 else -1)
    axis = extent.new_tensor([1, 0] if side % 2 == 0 else [0, 1])
    steps = torch.arange(pool_size + 1, dtype=boxes.dtype, device=boxes.device) / pool_size
    return start[:, :, None] + steps[:, None] * (extent * axis)[:, :, None]


OPERATORS: dict[str, Callable[..., object]] = {
    'roi_align_rotated_forward': roi_align_rotated_forward,
    'roi_align_rotated_backward': roi_align_rotated_backward,
    'riroi_align_rotated_forward': riroi_align_rotated_forward,
    'riroi_align_rotated_backward': riroi_align_rotated_backward,
    'rotated_feature_align_forward': rotated_feature_align_forward,
    'rotated_feature_align_backward': rotated_feature_align_backward,
    'border_align_forward': border_align_forward,
    'border_align_backward': border_align_backward,
}
