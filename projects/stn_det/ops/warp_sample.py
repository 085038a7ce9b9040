"""Images and features warped by affine maps and homographies, without a grid of coordinates.

Spatial transformer networks, https://arxiv.org/abs/1506.02025, as one operator.

Letters: N images, C channels, (H, W) size of the source, (h, w) size of the destination.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stn_det.checks import as_pair, check_choice, check_float_shape, check_same_device
from stn_det.errors import InputError
from stn_det.ops._library import define, differentiate, is_compiled, wants_determinism
from stn_det.ops.reference.warp_sample import warp_sample_reference

MODES = ('bilinear', 'nearest', 'bicubic')
PADDING_MODES = ('zeros', 'border', 'reflection')


def warp_sample(
    input: Tensor,
    matrix: Tensor,
    out_size: int | Sequence[int],
    mode: str = 'bilinear',
    padding_mode: str = 'zeros',
    antialias: bool = False,
) -> Tensor:
    """Read images through a matrix that leads from the destination to the source.

    Convention:
        ``src_from_dst`` in continuous pixels: an image spans [0, W] x [0, H], the first pixel's centre is (0.5, 0.5).
        The destination pixel in row i and column j shows the source at ``matrix @ (j + 0.5, i + 0.5, 1)``. To *warp* an
        image by a ``dst_from_src`` of :mod:`stn_det.geometry`, pass its inverse. Interpolation and padding are those of
        :func:`torch.nn.functional.grid_sample` with ``align_corners=False``.

    The identity returns the input bit for bit in every mode, infinite and NaN pixels included, because a pixel of
    weight 0 is not read (only -0.0 becomes 0.0). Coordinates are float64 whatever the dtypes; sums over pixels are
    float32 at least.

    Homographies: a point whose depth (the third coordinate) is not above a millionth of
    ``|m20| w + |m21| h + |m22|`` lies behind the horizon and reads as 0, in **every** padding mode, for there is no
    nearest pixel to take. So the sign of the matrix counts; an inverse has the right one. A matrix with an entry that
    is not finite gives zeros, and no gradient; so do points whose coordinates overflow.

    Antialiasing: a destination pixel is the mean of the samples at n x m points, the centres of n x m equal parts of
    the *destination* pixel. n is the length in source pixels of one step to the right, rounded up, at most 16, m that
    of one step down; a length up to 1/1024 above a whole number still counts as this. The points are at most one
    source pixel apart, so none is passed over: this is the mean of the source over the preimage of the pixel (Catmull,
    *A subdivision algorithm for computer display of curved surfaces*, 1974; see Heckbert, *Fundamentals of texture
    mapping and image warping*, 1989), sampled. Where the map enlarges or turns, n = m = 1 and nothing changes. A
    reduction by a whole factor s <= 16 reads every pixel once, at its centre: ``avg_pool2d(input, s)``. The axes are
    the sides of the pixel and not the singular vectors of the Jacobian, whose directions jump where the map is near a
    similarity. The gradient goes through the positions; the counts are constants to it.

    Args:
        input: (N, C, H, W), or (1, C, H, W) to be read through every matrix.
        matrix: (N, 2, 3) or (N, 3, 3) float32 or float64, or one matrix (1, ., 3) for all images.
        out_size: (h, w) of the result; an int for a square.
        mode: 'bilinear', 'nearest' (no gradient to the matrix) or 'bicubic' (A = -0.75).
        padding_mode: 'zeros', 'border' or 'reflection' for what lies outside of the source.
        antialias: Average where the map makes the image smaller; not with 'nearest'.

    Returns:
        (N, C, h, w), the dtype of ``input``, channels_last where ``input`` is. Differentiable once to input and matrix.
        On a CPU the compiled result and its gradients do not depend on the number of threads. The gradient to the input
        needs room for 8 or 16 channels of one image a thread.
        On a GPU the gradient to the input depends on the order of the threads in its last bits, unless
        :func:`torch.use_deterministic_algorithms` is on; the result and the gradient to the matrix never do.

    Raises:
        InputError: for a wrong shape, dtype, device or option, and for images without pixels.
    """
    check_float_shape('input', input, ('N', 'C', 'H', 'W'))
    matrix = _check_matrix(matrix, input)
    height, width = as_pair('out_size', out_size)
    if height < 0 or width < 0:
        raise InputError(f'out_size is {(height, width)}, expected (height, width) of 0 or more pixels')
    check_choice('mode', mode, MODES)
    check_choice('padding_mode', padding_mode, PADDING_MODES)
    if antialias and mode == 'nearest':
        raise InputError(
            "antialias averages pixels, which mode 'nearest' is there to avoid; use 'bilinear', or neither"
        )
    if input.shape[2] == 0 or input.shape[3] == 0:
        raise InputError(f'input has shape {tuple(input.shape)}, expected at least one row and column to read from')
    images = matrix.shape[0] if input.shape[0] == 1 else input.shape[0]
    input, matrix = input.expand(images, -1, -1, -1), matrix.double().expand(images, -1, -1)
    if not is_compiled('warp_sample', input.device):
        return warp_sample_reference(input, matrix, (height, width), mode, padding_mode, antialias)
    last = not input.is_contiguous() and input.is_contiguous(memory_format=torch.channels_last)
    options = MODES.index(mode), PADDING_MODES.index(padding_mode), antialias, last
    return torch.ops.stn_det.warp_sample(input, matrix, height, width, *options)


def _check_matrix(matrix: Tensor, input: Tensor) -> Tensor:
    check_float_shape('matrix', matrix, ('N', matrix.shape[1] if matrix.dim() == 3 else '2 or 3', 3))
    check_same_device(input=input, matrix=matrix)
    if matrix.shape[1] not in (2, 3):
        raise InputError(f'matrix has shape {tuple(matrix.shape)}, expected (N, 2, 3) or (N, 3, 3)')
    if matrix.dtype not in (torch.float32, torch.float64):
        raise InputError(
            f'matrix has dtype {matrix.dtype}, which places pixels too coarsely; expected float32 or float64: '
            f'compute it in one of them, outside of autocast'
        )
    if 1 not in (input.shape[0], matrix.shape[0]) and input.shape[0] != matrix.shape[0]:
        raise InputError(
            f'input has {input.shape[0]} images and matrix {matrix.shape[0]} matrices (shape {tuple(matrix.shape)}), '
            f'expected as many of both, or one of either'
        )
    return matrix


def new_image(like: Tensor, channels_last: bool, height: int, width: int) -> Tensor:
    """An empty tensor (N, C, height, width) with the images, channels and dtype of ``like``, for fake kernels."""
    images, channels = like.shape[:2]
    if channels_last:
        return like.new_empty(images, height, width, channels).permute(0, 3, 1, 2)
    return like.new_empty(images, channels, height, width)


def _fake(
    input: Tensor, matrix: Tensor, height: int, width: int, mode: int, padding: int, antialias: bool, last: bool
) -> Tensor:
    return new_image(input, last, height, width)


def _fake_backward(
    grad_output: Tensor,
    input: Tensor,
    matrix: Tensor,
    mode: int,
    padding: int,
    antialias: bool,
    last: bool,
    to_input: bool,
    to_matrix: bool,
    deterministic: bool = False,
) -> tuple[Tensor, Tensor]:
    grad_input = new_image(input, last, *input.shape[2:]) if to_input else input.new_empty(0)
    return grad_input, matrix.new_empty(matrix.shape if to_matrix else 0)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    input, matrix, _, _, *ctx.options = inputs
    ctx.save_for_backward(input, matrix)


def _backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
    wanted = ctx.needs_input_grad[:2]
    arguments = (grad_output, *ctx.saved_tensors, *ctx.options, *wanted, wants_determinism())
    grads = torch.ops.stn_det.warp_sample_backward(*arguments)
    return *(grad if want else None for grad, want in zip(grads, wanted)), *(None,) * 6


define(
    'warp_sample(Tensor input, Tensor matrix, SymInt height, SymInt width, int mode, int padding, bool antialias, '
    'bool channels_last) -> Tensor',
    _fake,
)
define(
    'warp_sample_backward(Tensor grad_output, Tensor input, Tensor matrix, int mode, int padding, bool antialias, '
    'bool channels_last, bool to_input, bool to_matrix, bool deterministic=False) -> (Tensor, Tensor)',
    _fake_backward,
)
differentiate('warp_sample', _backward, _setup)
