"""RoIAlign: bilinear features of axis-aligned regions.

Mask R-CNN, https://arxiv.org/abs/1703.06870. Argument meaning follows torchvision and mmcv.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stn_det.checks import compute_dtype
from stn_det.ops._library import define, differentiate, is_compiled, wants_determinism
from stn_det.ops._roi_grid import check_roi_arguments
from stn_det.ops.reference.roi_align import roi_align_reference


def roi_align(
    input: Tensor,
    rois: Tensor,
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    aligned: bool = True,
    pool_mode: str = 'avg',
) -> Tensor:
    """Features of axis-aligned regions on a regular grid of bins.

    Points up to one pixel outside the map read its edge, further ones read 0. RoIs that are not finite give 0. The
    adaptive grid has at most 256 points a bin and axis. Half-precision inputs are computed in float32. On a CPU the
    compiled result and its gradient do not depend on the number of threads.

    Args:
        input: (N, C, H, W).
        rois: (R, 5) as (batch index, x1, y1, x2, y2) in image pixels; gets no gradient. A batch index outside the batch
            is refused on a CPU; on other devices, which are not asked for values, such a RoI gives 0.
        output_size: bins (vertical, horizontal) or one number.
        spatial_scale: feature pixels per image pixel.
        sampling_ratio: points a bin and axis, at most 256; 0 takes one a feature pixel, rounded up.
        aligned: subtract half a feature pixel, so that pixel centres lie at half-integers; else RoIs are at least one
            feature pixel large, as in the first version of the operator.
        pool_mode: ``'avg'`` or ``'max'`` over the points of a bin; the first of several largest ones gets the gradient.

    Returns:
        (R, C, vertical, horizontal) in the dtype of ``input``, differentiable to ``input``.

    Raises:
        InputError: for a wrong shape, dtype, device or option.
        RuntimeError: from the compiled operator, for a batch index outside the batch (plain PyTorch: InputError).
    """
    size = check_roi_arguments(input, rois, 5, output_size, sampling_ratio, pool_mode)
    rois = rois.detach().to(compute_dtype(input))
    if not is_compiled('roi_align', input.device):
        return roi_align_reference(input, rois, size, spatial_scale, sampling_ratio, aligned, pool_mode)
    options = (*size, float(spatial_scale), sampling_ratio, aligned)
    if pool_mode == 'max':
        return torch.ops.stn_det.roi_align_max(input, rois, *options)[0]
    return torch.ops.stn_det.roi_align(input, rois, *options)


def _fake(input: Tensor, rois: Tensor, height: int, width: int, *options: Any) -> Tensor:
    return input.new_empty(rois.shape[0], input.shape[1], height, width)


def _fake_max(input: Tensor, rois: Tensor, height: int, width: int, *options: Any) -> tuple[Tensor, Tensor]:
    output = _fake(input, rois, height, width)
    return output, output.new_empty(output.shape, dtype=torch.int32)


def _fake_backward(
    grad_output: Tensor, rois: Tensor, batch: int, input_height: int, input_width: int, *options: Any
) -> Tensor:
    return grad_output.new_empty(batch, grad_output.shape[1], input_height, input_width)


def _fake_max_backward(
    grad_output: Tensor, argmax: Tensor, rois: Tensor, batch: int, input_height: int, input_width: int, *options: Any
) -> Tensor:
    return grad_output.new_empty(batch, grad_output.shape[1], input_height, input_width)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    input, rois, *ctx.options = inputs
    ctx.save_for_backward(rois)
    ctx.shape, ctx.dtype = input.shape, input.dtype


def _setup_max(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    input, rois, *ctx.options = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1], rois)
    ctx.shape, ctx.dtype = input.shape, input.dtype


def _backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
    (rois,) = ctx.saved_tensors
    batch, _, height, width = ctx.shape
    grad = torch.ops.stn_det.roi_align_backward(
        grad_output.to(rois.dtype), rois, batch, height, width, *ctx.options, wants_determinism()
    )
    return grad.to(ctx.dtype), None, *(None for _ in ctx.options)


def _backward_max(ctx: Any, grad_output: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    argmax, rois = ctx.saved_tensors
    batch, _, height, width = ctx.shape
    grad = torch.ops.stn_det.roi_align_max_backward(
        grad_output.to(rois.dtype), argmax, rois, batch, height, width, *ctx.options, wants_determinism()
    )
    return grad.to(ctx.dtype), None, *(None for _ in ctx.options)


_OPTIONS = 'SymInt pooled_height, SymInt pooled_width, float spatial_scale, int sampling_ratio, bool aligned'
_SIZES = 'SymInt batch, SymInt height, SymInt width'
define(f'roi_align(Tensor input, Tensor rois, {_OPTIONS}) -> Tensor', _fake)
define(
    f'roi_align_backward(Tensor grad_output, Tensor rois, {_SIZES}, {_OPTIONS}, bool deterministic=False) -> Tensor',
    _fake_backward,
)
differentiate('roi_align', _backward, _setup)
define(f'roi_align_max(Tensor input, Tensor rois, {_OPTIONS}) -> (Tensor output, Tensor argmax)', _fake_max)
define(
    f'roi_align_max_backward(Tensor grad_output, Tensor argmax, Tensor rois, {_SIZES}, {_OPTIONS}, '
    'bool deterministic=False) -> Tensor',
    _fake_max_backward,
)
differentiate('roi_align_max', _backward_max, _setup_max)
