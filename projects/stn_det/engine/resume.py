"""Lets ``torch.load`` read the training state that mmengine saves, without trusting the file with anything else.

mmengine's checkpoints hold, beside tensors, the history of every logged value (``HistoryBuffer``) and numpy arrays and
scalars. ``torch.load`` refuses these by default, and mmengine 0.10.7 does not ask for anything but the default, so that
``--resume`` fails. Other versions of mmengine then load the file with ``weights_only=False``, which runs whatever code
the file brings. Both go away once exactly these types are allowed.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from stn_det.errors import InputError

_INTEGERS = tuple(f'{sign}int{bits}' for sign in ('', 'u') for bits in (8, 16, 32, 64))
_SCALARS = ('bool', 'str', 'float16', 'float32', 'float64', *_INTEGERS)


def allow_mmengine_checkpoints() -> None:
    """Allow the types of mmengine's checkpoints for ``torch.load(weights_only=True)`` in this process.

    Resuming and evaluating then work with both distributions of mmengine and with files written under numpy 1 and 2.
    Calling it again changes nothing.

    Example:
        >>> allow_mmengine_checkpoints()
        >>> checkpoint = torch.load('work_dirs/run/epoch_1.pth', weights_only=True)  # doctest: +SKIP
    """
    scalar, reconstruct = _numpy_rebuilders()
    # numpy 2 moved these functions; a file names the place that they had when it was written.
    moved = [
        (function, f'numpy.{core}.multiarray.{name}')
        for core in ('core', '_core')
        for name, function in (('scalar', scalar), ('_reconstruct', reconstruct))
    ]
    # Types are given with their names too: mmengine 0.10.12 allows bare types while it loads and then removes them, and
    # would remove ours with its own.
    types = {HistoryBuffer, np.ndarray, np.dtype, *(type(np.dtype(name)) for name in _SCALARS)}
    named = [(kind, f'{kind.__module__}.{kind.__qualname__}') for kind in types]
    torch.serialization.add_safe_globals([*named, *moved, (_history_method, 'builtins.getattr')])


def _numpy_rebuilders() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The functions with which numpy's pickles rebuild a scalar and an array."""
    rebuilders: list[Any] = [value.__reduce__()[0] for value in (np.float64(0), np.empty(0))]
    return rebuilders[0], rebuilders[1]


def _history_method(owner: object, name: str) -> object:
    """Stands for ``getattr`` in a checkpoint, where it may only fetch the statistics methods of ``HistoryBuffer``."""
    if owner is not HistoryBuffer or not isinstance(name, str) or name.startswith('_'):
        raise InputError(
            f'checkpoint: it asks for the attribute {name!r} of {owner!r}, but only the statistics methods of '
            f'mmengine.logging.HistoryBuffer were expected; do not load this file unless you trust where it comes from'
        )
    return getattr(HistoryBuffer, name)
