"""Images and features read at given points: thin-plate splines, flows, alignment of two sensors.

:func:`torch.nn.functional.grid_sample` on pixels instead of a grid from -1 to 1.

Letters: N images, C channels, (H, W) size of the source, (h, w) size of the destination.
"""

from typing import Any

import torch
from torch import Tensor

from stn_det.checks import check_choice, check_float_shape, check_same_device
from stn_det.errors import InputError
from stn_det.ops._library import define, differentiate, is_compiled, wants_determinism
from stn_det.ops.reference.remap import remap_reference
from stn_det.ops.warp_sample import MODES, PADDING_MODES, new_image


def remap(input: Tensor, points: Tensor, mode: str = 'bilinear', padding_mode: str = 'zeros') -> Tensor:
    """Read images at a source point for every destination pixel.

    Convention:
        Points are (x, y) in continuous pixels of the source: an image spans [0, W] x [0, H], the first pixel's centre
        is (0.5, 0.5). Interpolation and padding are those of :func:`torch.nn.functional.grid_sample` with
        ``align_corners=False`` at ``grid = 2 * points / (W, H) - 1``, and those of :func:`stn_det.ops.warp_sample`,
        which needs no points where a matrix gives them. OpenCV's ``cv2.remap`` wants ``points - 0.5``.

    A point on the centre of a pixel returns this pixel bit for bit in every mode, however large or odd the image, and
    whatever lies beside it: a pixel of weight 0 is not read, be it infinite or NaN (only -0.0 becomes 0.0). A grid from
    -1 to 1 cannot do that, because most centres have no exact place in it.

    Precision: coordinates are computed in float64 whatever the dtypes, so a point is read exactly where it lies; the
    weights are rounded to the dtype of the sums over pixels afterwards, which is float64 for a float64 input and else
    float32. What the dtype of the points cannot hold is lost before: neighbouring float32 numbers are 2^-11 px apart
    between 4096 and 8192, so x = 4096.3 is off by up to half of that. This is below the rounding of 16-bit results; for
    finer ones on large images, or derivatives by finite differences, pass float64.

    A point with a NaN or infinite coordinate reads as 0 in **every** padding mode and has no gradient.

    Args:
        input: (N, C, H, W), or (1, C, H, W) to be read at the points of every image.
        points: (N, h, w, 2) float32 or float64, or (1, h, w, 2) for all images. Any strides: a flow (N, 2, h, w) can be
            passed as ``.permute(0, 2, 3, 1)``.
        mode: 'bilinear', 'nearest' (no gradient to the points) or 'bicubic' (A = -0.75).
        padding_mode: 'zeros', 'border' or 'reflection' for what lies outside of the source.

    Returns:
        (N, C, h, w), the dtype of ``input``, channels_last where ``input`` is. Differentiable once to input and points;
        beyond the first or last centre, 'border' and 'reflection' give a point no slope that way, as grid_sample does.
        On a CPU the compiled result and its gradients do not depend on the number of threads. The gradient to the input
        needs room for 8 or 16 channels of one image a thread.
        On a GPU the gradient to the input depends on the order of the threads in its last bits, unless
        :func:`torch.use_deterministic_algorithms` is on; the result and the gradient to the points never do.

    Raises:
        InputError: for a wrong shape, dtype, device or option, and for images without pixels.

    Example:
        >>> image = torch.arange(6.0).view(1, 1, 2, 3)
        >>> remap(image, torch.tensor([[[[1.5, 0.5], [2.0, 1.0]]]]))  # the second pixel; the middle of the last four
        tensor([[[[1., 3.]]]])
    """
    check_float_shape('input', input, ('N', 'C', 'H', 'W'))
    _check_points(points, input)
    check_choice('mode', mode, MODES)
    check_choice('padding_mode', padding_mode, PADDING_MODES)
    if input.shape[2] == 0 or input.shape[3] == 0:
        raise InputError(f'input has shape {tuple(input.shape)}, expected at least one row and column to read from')
    images = points.shape[0] if input.shape[0] == 1 else input.shape[0]
    input, points = input.expand(images, -1, -1, -1), points.expand(images, -1, -1, -1)
    if not is_compiled('remap', input.device):
        return remap_reference(input, points, mode, padding_mode)
    last = not input.is_contiguous() and input.is_contiguous(memory_format=torch.channels_last)
    options = MODES.index(mode), PADDING_MODES.index(padding_mode), last
    return torch.ops.stn_det.remap(input, points, *options)


def _check_points(points: Tensor, input: Tensor) -> None:
    check_float_shape('points', points, ('N', 'h', 'w', 2))
    check_same_device(input=input, points=points)
    if points.dtype not in (torch.float32, torch.float64):
        raise InputError(
            f'points has dtype {points.dtype}, which places pixels too coarsely; expected float32 or float64: '
            f'compute them in one of them, outside of autocast'
        )
    if 1 not in (input.shape[0], points.shape[0]) and input.shape[0] != points.shape[0]:
        raise InputError(
            f'input has {input.shape[0]} images and points are for {points.shape[0]} (shape {tuple(points.shape)}), '
            f'expected as many of both, or one of either'
        )


def _fake(input: Tensor, points: Tensor, mode: int, padding: int, last: bool) -> Tensor:
    return new_image(input, last, points.shape[1], points.shape[2])


def _fake_backward(
    grad_output: Tensor,
    input: Tensor,
    points: Tensor,
    mode: int,
    padding: int,
    last: bool,
    to_input: bool,
    to_points: bool,
    deterministic: bool = False,
) -> tuple[Tensor, Tensor]:
    grad_input = new_image(input, last, *input.shape[2:]) if to_input else input.new_empty(0)
    return grad_input, points.new_empty(points.shape if to_points else 0)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    input, points, *ctx.options = inputs
    ctx.save_for_backward(input, points)


def _backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
    wanted = ctx.needs_input_grad[:2]
    arguments = (grad_output, *ctx.saved_tensors, *ctx.options, *wanted, wants_determinism())
    grads = torch.ops.stn_det.remap_backward(*arguments)
    return *(grad if want else None for grad, want in zip(grads, wanted)), *(None,) * 3


define(
    'remap(Tensor input, Tensor points, int mode, int padding, bool channels_last) -> Tensor',
    _fake,
)
define(
    'remap_backward(Tensor grad_output, Tensor input, Tensor points, int mode, int padding, bool channels_last, '
    'bool to_input, bool to_points, bool deterministic=False) -> (Tensor, Tensor)',
    _fake_backward,
)
differentiate('remap', _backward, _setup)
