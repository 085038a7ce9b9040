"""Argument checks that read metadata (type, shape, dtype, device) only, never tensor values, so they never sync."""

from collections.abc import Sequence

import torch
from torch import Tensor

from stn_det.errors import InputError


def check_tensor(name: str, value: object) -> Tensor:
    """Return ``value`` if it is a tensor, else raise ``InputError``."""
    if not isinstance(value, Tensor):
        raise InputError(f'{name} must be a torch.Tensor, got {type(value).__name__}; convert it with torch.as_tensor')
    return value


def check_shape(name: str, value: object, shape: Sequence[int | str]) -> Tensor:
    """Check the number of dimensions and every size of a tensor.

    Args:
        name: argument name for the message.
        value: what the caller passed.
        shape: an int for a size that must match, a letter for a free one, for example ``('M', 5)``.
    """
    tensor = check_tensor(name, value)
    fits = tensor.dim() == len(shape) and all(
        isinstance(want, str) or have == want for have, want in zip(tensor.shape, shape)
    )
    if not fits:
        wanted = ', '.join(str(size) for size in shape) + (',' if len(shape) == 1 else '')
        raise InputError(
            f'{name} has shape {tuple(tensor.shape)}, expected ({wanted}); reshape it, an empty input keeps its last '
            f'dimensions (for example torch.zeros(0, 5))'
        )
    return tensor


def check_floating(name: str, tensor: Tensor) -> Tensor:
    """Check that a tensor holds real floating-point numbers."""
    if not tensor.is_floating_point():
        raise InputError(f'{name} has dtype {tensor.dtype}, expected a floating-point dtype; call {name}.float()')
    return tensor


def check_float_shape(name: str, value: object, shape: Sequence[int | str]) -> Tensor:
    """Check shape and floating dtype together."""
    return check_floating(name, check_shape(name, value, shape))


def check_same_device(**tensors: Tensor | None) -> None:
    """Check that all given tensors lie on one device; ``None`` entries are skipped."""
    devices = {name: tensor.device for name, tensor in tensors.items() if tensor is not None}
    if len(set(devices.values())) > 1:
        listing = ', '.join(f'{name} on {device}' for name, device in devices.items())
        raise InputError(f'tensors are on different devices ({listing}), expected one; move them with .to(device)')


def check_length(name: str, tensor: Tensor, expected: int, reference: str) -> None:
    """Check that the first dimension agrees with that of another argument."""
    if tensor.shape[0] != expected:
        raise InputError(
            f'{name} has length {tensor.shape[0]} (shape {tuple(tensor.shape)}), expected {expected} like {reference}; '
            f'pass one entry of {name} for each entry of {reference}'
        )


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Check that an option has one of the values it may have."""
    if value not in choices:
        raise InputError(f'{name} is {value!r}, expected one of {", ".join(map(repr, choices))}')


def check_fraction(name: str, value: float) -> float:
    """Check that a threshold lies in [0, 1]."""
    if not 0.0 <= value <= 1.0:
        raise InputError(f'{name} is {value!r}, expected a number in [0, 1]')
    return float(value)


def as_pair(name: str, value: int | Sequence[int]) -> tuple[int, int]:
    """Read an int or a pair of ints as ``(vertical, horizontal)``."""
    if isinstance(value, int):
        return value, value
    if isinstance(value, Sequence) and len(value) == 2 and all(isinstance(item, int) for item in value):
        return value[0], value[1]
    raise InputError(f'{name} is {value!r}, expected an int or a pair (vertical, horizontal) of ints')


def compute_dtype(*tensors: Tensor | None) -> torch.dtype:
    """Dtype to compute in: float64 if any argument has it, else float32 (half precisions are raised to it)."""
    present = [tensor.dtype for tensor in tensors if tensor is not None]
    return torch.float64 if torch.float64 in present else torch.float32
