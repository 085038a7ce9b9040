"""Shape checks and the floating type in which boxes are computed."""

import torch
from torch import Tensor

from stn_det.errors import InputError


def check_last(name: str, tensor: Tensor, size: int) -> None:
    """Raise unless the last dimension of a tensor has the given size.

    Args:
        name: Name of the argument, for the message.
        tensor: Value received.
        size: Size the last dimension must have.

    Raises:
        InputError: If ``tensor`` is not a tensor of shape (..., size).
    """
    if not isinstance(tensor, Tensor):
        raise InputError(
            f'{name} must be a torch.Tensor of shape (..., {size}), got {type(tensor).__name__}; '
            f'wrap the values with torch.as_tensor'
        )
    if tensor.dim() == 0 or tensor.shape[-1] != size:
        raise InputError(
            f'{name} must have shape (..., {size}), got {tuple(tensor.shape)}; '
            f'give {size} numbers a row, with any leading dimensions'
        )


def compute_dtype(*tensors: Tensor) -> torch.dtype:
    """Widest floating type among the tensors, float32 at least (so never fp16, bf16 or an integer type)."""
    dtype = torch.float32
    for tensor in tensors:
        if tensor.is_floating_point():
            dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def result_dtype(tensor: Tensor) -> torch.dtype:
    """Type of a result made from ``tensor``: its own if floating, float32 for integers, which cannot hold an angle."""
    return tensor.dtype if tensor.is_floating_point() else torch.float32


def safe_atan2(y: Tensor, x: Tensor) -> Tensor:
    """``atan2`` whose value and gradients at (0, 0) are 0 instead of 0 and NaN."""
    origin = (x == 0) & (y == 0)
    return torch.atan2(y.masked_fill(origin, 0), x.masked_fill(origin, 1))


def safe_sqrt(x: Tensor) -> Tensor:
    """``sqrt(max(x, 0))`` whose gradient where x <= 0 is 0 instead of infinite."""
    return torch.where(x > 0, x, 1).sqrt().masked_fill(x <= 0, 0)


def safe_hypot(x: Tensor, y: Tensor) -> Tensor:
    """``hypot`` whose gradients at (0, 0) are 0 instead of NaN."""
    origin = (x == 0) & (y == 0)
    return torch.hypot(x.masked_fill(origin, 1), y).masked_fill(origin, 0)
