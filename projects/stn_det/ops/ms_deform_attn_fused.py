"""Multi-scale deformable attention from reference points or boxes, raw offsets and logits.

Deformable DETR, https://arxiv.org/abs/2010.04159; oriented references turn their offsets with the box.

Letters: N images, S positions of all levels, G heads, D channels a head, Q queries, L levels, K points.
"""

from typing import Any

import torch
from torch import Tensor

from stn_det.checks import check_float_shape, check_same_device, compute_dtype
from stn_det.errors import InputError
from stn_det.ops._library import define, differentiate, is_compiled, wants_determinism
from stn_det.ops.ms_deform_attn import check_levels
from stn_det.ops.reference.ms_deform_attn_fused import ms_deform_attn_fused_reference

REFERENCE_SIZES = (2, 4, 5)


def ms_deform_attn_fused(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    reference_points: Tensor,
    sampling_offsets: Tensor,
    attention_logits: Tensor,
) -> Tensor:
    """:func:`ms_deform_attn` with the softmax and the arithmetic of the locations inside: neither is written to memory.

    With W and H the size of a level in pixels, a sampling point lies at, in continuous pixels of the level:

    * reference (x, y): ``(x W, y H) + offset``;
    * reference (cx, cy, w, h): ``(cx W, cy H) + offset / K * (w W, h H) / 2``;
    * reference (cx, cy, w, h, theta): ``(cx W, cy H) + R(theta) (offset / K * (w W, h H) / 2)``. The turn is one of
      pixels, also where a level is not square. theta is positive clockwise on screen (y down).

    Pixels outside a level read as 0. References, offsets, logits and sums are float32 at least, whatever the dtype of
    ``value``.

    Args:
        value: (N, S, G, D), the levels flattened row by row and joined.
        spatial_shapes: (L, 2) int64, rows (H, W), whose products sum up to S.
        level_start_index: (L,) int64, first position of each level.
        reference_points: (N, Q, L, 2 | 4 | 5) in fractions of the level and radians.
        sampling_offsets: (N, Q, G, L, K, 2) as (x, y).
        attention_logits: (N, Q, G, L * K); their softmax over levels and points together weighs the samples.

    Returns:
        (N, Q, G * D) in the dtype of ``value``, differentiable once to value, references, offsets and logits. On a CPU
        the compiled result and its gradients do not depend on the number of threads. Where queries are many it
        needs room for a float32 copy of the value of one image; the gradient, for two heads of it a thread.

    Raises:
        InputError: for a wrong shape, dtype or device.
    """
    levels = check_levels(value, spatial_shapes, level_start_index)
    batch, _, heads, _ = value.shape
    check_float_shape('sampling_offsets', sampling_offsets, (batch, 'Q', heads, levels, 'K', 2))
    queries, points = sampling_offsets.shape[1], sampling_offsets.shape[4]
    check_float_shape('attention_logits', attention_logits, (batch, queries, heads, levels * points))
    check_float_shape('reference_points', reference_points, (batch, queries, levels, '2, 4 or 5'))
    if reference_points.shape[-1] not in REFERENCE_SIZES:
        raise InputError(
            f'reference_points has shape {tuple(reference_points.shape)}, expected 2 (x, y), 4 (cx, cy, w, h) or 5 '
            f'(cx, cy, w, h, theta) numbers in its last dimension'
        )
    check_same_device(
        value=value,
        reference_points=reference_points,
        sampling_offsets=sampling_offsets,
        attention_logits=attention_logits,
    )
    dtype = compute_dtype(value, reference_points, sampling_offsets)
    others = reference_points.to(dtype), sampling_offsets.to(dtype), attention_logits.to(dtype)
    if not is_compiled('ms_deform_attn_fused', value.device):
        return ms_deform_attn_fused_reference(value, spatial_shapes, level_start_index, *others)
    wide = value.double() if dtype == torch.float64 else value
    shapes, starts = spatial_shapes.long(), level_start_index.long()
    return torch.ops.stn_det.ms_deform_attn_fused(wide, shapes, starts, *others).to(value.dtype)


def _fake(value: Tensor, shapes: Tensor, starts: Tensor, references: Tensor, offsets: Tensor, logits: Tensor) -> Tensor:
    batch, _, heads, channels = value.shape
    return value.new_empty(batch, offsets.shape[1], heads * channels)


def _fake_backward(
    grad_output: Tensor,
    value: Tensor,
    shapes: Tensor,
    starts: Tensor,
    references: Tensor,
    offsets: Tensor,
    logits: Tensor,
    to_references: bool = True,
    deterministic: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    grad_value = value.new_empty(value.shape, dtype=offsets.dtype)
    return grad_value, torch.empty_like(references), torch.empty_like(offsets), torch.empty_like(logits)


def _setup(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
    value, *others = ctx.saved_tensors
    if grad_output.device.type == 'cpu':  # kernels of CUDA read it in the dtype of the value
        grad_output = grad_output.to(others[-1].dtype)
    to_references = ctx.needs_input_grad[3]
    grads = torch.ops.stn_det.ms_deform_attn_fused_backward(
        grad_output, value, *others, to_references, wants_determinism()
    )
    return grads[0].to(value.dtype), None, None, grads[1] if to_references else None, *grads[2:]


_ARGUMENTS = (
    'Tensor value, Tensor spatial_shapes, Tensor level_start_index, Tensor reference_points, Tensor sampling_offsets, '
    'Tensor attention_logits'
)
define(f'ms_deform_attn_fused({_ARGUMENTS}) -> Tensor', _fake)
define(
    f'ms_deform_attn_fused_backward(Tensor grad_output, {_ARGUMENTS}, bool to_references=True, '
    'bool deterministic=False)'
    ' -> (Tensor, Tensor, Tensor, Tensor)',
    _fake_backward,
)
differentiate('ms_deform_attn_fused', _backward, _setup)
