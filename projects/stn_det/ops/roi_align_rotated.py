"""RoIAlign of rotated regions, with a gradient to the regions.

Rotated RoIs as in RRPN, https://arxiv.org/abs/1703.01086; sampling as in RoIAlign, https://arxiv.org/abs/1703.06870.
Argument meaning follows mmcv.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stn_det.checks import compute_dtype
from stn_det.ops._library import define, differentiate, is_compiled, wants_determinism
from stn_det.ops._roi_grid import check_roi_arguments
from stn_det.ops.reference.roi_align_rotated import roi_align_rotated_reference


def roi_align_rotated(
    input: Tensor,
    rois: Tensor,
    output_size: int | Sequence[int],
    spatial_scale: float,
    sampling_ratio: int = 0,
    aligned: bool = True,
    clockwise: bool = False,
) -> Tensor:
    """Average features of rotated regions on a regular grid of bins that turns with the region.

    Mind ``clockwise``: boxes of this package turn clockwise on screen and need ``clockwise=True``; the default is that
    of mmcv. Points up to one pixel outside the map read its edge, further ones read 0. RoIs that are not finite give 0.
    The adaptive grid has at most 256 points a bin and axis; the gradient takes its size as given. Half-precision inputs
    are computed in float32. On a CPU the compiled result and its gradients do not depend on the number of threads.

    Args:
        input: (N, C, H, W).
        rois: (R, 6) as (batch index, cx, cy, w, h, theta) in image pixels and radians. A batch index outside the batch
            is refused on a CPU; on other devices, which are not asked for values, such a RoI gives 0.
        output_size: bins (along h, along w) or one number.
        spatial_scale: feature pixels per image pixel.
        sampling_ratio: points a bin and axis, at most 256; 0 takes one a feature pixel, rounded up.
        aligned: subtract half a feature pixel, so that pixel centres lie at half-integers; else RoIs are at least one
            feature pixel large.
        clockwise: theta is positive clockwise on screen (y down); else counter-clockwise.

    Returns:
        (R, C, along h, along w) in the dtype of ``input``, differentiable to ``input`` and to cx, cy, w, h and theta.

    Raises:
        InputError: for a wrong shape, dtype, device or option.
        RuntimeError: from the compiled operator, for a batch index outside the batch (plain PyTorch: InputError).
    """
    size = check_roi_arguments(input, rois, 6, output_size, sampling_ratio, 'avg')
    dtype = compute_dtype(input, rois)
    rois = rois.to(dtype)
    if not is_compiled('roi_align_rotated', input.device):
        return roi_align_rotated_reference(input, rois, size, spatial_scale, sampling_ratio, aligned, clockwise)
    wide = input.double() if dtype == torch.float64 else input
    options = (*size, float(spatial_scale), sampling_ratio, aligned, clockwise)
    return torch.ops.stn_det.roi_align_rotated(wide, rois, *options).to(input.dtype)


def _fake(input: Tensor, rois: Tensor, height: int, width: int, *options: Any) -> Tensor:
    return input.new_empty(rois.shape[0], input.shape[1], height, width)


def _fake_backward(
    grad_output: Tensor, rois: Tensor, batch: int, input_height: int, input_width: int, *options: Any
) -> Tensor:
    return grad_output.new_empty(batch, grad_output.shape[1], input_height, input_width)


def _fake_backward_rois(grad_output: Tensor, input: Tensor, rois: Tensor, *options: Any) -> Tensor:
    return rois.new_empty(rois.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    input, rois, *ctx.options = inputs
    # The features are needed only for the gradient to the RoIs, and would be held for nothing otherwise.
    ctx.save_for_backward(rois, input if ctx.needs_input_grad[1] else None)
    ctx.shape, ctx.dtype = input.shape, input.dtype


def _backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
    rois, input = ctx.saved_tensors
    grad_output = grad_output.to(rois.dtype)
    batch, _, height, width = ctx.shape
    grad_input = grad_rois = None
    if ctx.needs_input_grad[0]:
        grad_input = torch.ops.stn_det.roi_align_rotated_backward(
            grad_output, rois, batch, height, width, *ctx.options, wants_determinism()
        ).to(ctx.dtype)
    if input is not None:
        grad_rois = torch.ops.stn_det.roi_align_rotated_backward_rois(grad_output, input, rois, *ctx.options)
    return grad_input, grad_rois, *(None for _ in ctx.options)


_OPTIONS = (
    'SymInt pooled_height, SymInt pooled_width, float spatial_scale, int sampling_ratio, bool aligned, bool clockwise'
)
define(f'roi_align_rotated(Tensor input, Tensor rois, {_OPTIONS}) -> Tensor', _fake)
define(
    'roi_align_rotated_backward(Tensor grad_output, Tensor rois, SymInt batch, SymInt height, SymInt width, '
    f'{_OPTIONS}, bool deterministic=False) -> Tensor',
    _fake_backward,
)
define(
    f'roi_align_rotated_backward_rois(Tensor grad_output, Tensor input, Tensor rois, {_OPTIONS}) -> Tensor',
    _fake_backward_rois,
)
differentiate('roi_align_rotated', _backward, _setup)
