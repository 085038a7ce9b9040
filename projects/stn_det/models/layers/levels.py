"""Checks of pyramid levels, from their shapes alone."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from ...errors import ConfigError, InputError


def check_strides(owner: str, strides: Sequence[int]) -> tuple[int, ...]:
    """Strides of the levels, which must grow.

    Raises:
        ConfigError: If they do not, or there are none.
    """
    if not strides or strides[0] <= 0 or any(fine >= coarse for fine, coarse in pairwise(strides)):
        raise ConfigError(f'{owner}: strides is {strides}; expected the pixels a cell of each level, finest first')
    return tuple(strides)


def check_levels(owner: str, levels: Sequence[Tensor], strides: Sequence[int], in_channels: Sequence[int]) -> None:
    """See that there is a level (N, C_l, H_l, W_l) for each stride, with the channels that the module was built for.

    Raises:
        InputError: If not.
    """
    shapes = [tuple(level.shape) for level in levels]
    if len(shapes) != len(strides):
        raise InputError(
            f'{owner} got {len(shapes)} levels of shapes {shapes} and has strides {tuple(strides)}; expected one level '
            f'a stride: give strides for all outputs of the module before'
        )
    for level, (shape, channels) in enumerate(zip(shapes, in_channels)):
        if len(shape) != 4 or shape[1] != channels:
            raise InputError(
                f'{owner}: level {level} has shape {shape}, expected (N, {channels}, H, W); in_channels must be the '
                f'channels that the module before puts out'
            )


def frame_size(owner: str, levels: Sequence[Tensor], strides: Sequence[int]) -> tuple[int, int]:
    """(height, width) in pixels of the frame that the finest level covers, of which all others must be levels, too.

    Raises:
        InputError: If a level has another size than its stride gives.
    """
    height, width = (length * strides[0] for length in levels[0].shape[-2:])
    for level, stride in zip(levels, strides):
        expected = (-(-height // stride), -(-width // stride))
        if tuple(level.shape[-2:]) != expected:
            raise InputError(
                f'{owner}: the level of stride {stride} has {tuple(level.shape[-2:])} cells, expected {expected} for '
                f'the {height} x {width} pixels that the finest level covers; check strides, and give pad_size_divisor '
                f'of the coarsest stride to the data preprocessor'
            )
    return height, width
