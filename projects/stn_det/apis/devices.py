"""Choosing the device for mmengine, which asks for none and takes the first accelerator it finds."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.device import utils as device_utils

from ..errors import InputError


def resolve_device(device: str | None) -> torch.device:
    """Device object for ``'cpu'``, ``'cuda'``, ``'cuda:1'`` or None (the first GPU, else the CPU).

    Raises:
        InputError: when the name is unknown or that device is not there.
    """
    if device is None:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device {device!r} is unknown; expected 'cpu', 'cuda' or 'cuda:<number>'.") from error
    if resolved.type not in ('cpu', 'cuda'):
        raise InputError(f"device {device!r} is not supported; expected 'cpu', 'cuda' or 'cuda:<number>'.")
    if resolved.type == 'cuda':
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (resolved.index or 0) >= count:
            raise InputError(f'device {device!r} is not there: PyTorch {torch.__version__} sees {count} GPUs.')
    return resolved


@contextmanager
def on_device(device: str | None) -> Iterator[torch.device]:
    """While this lasts, mmengine's runner puts its model on ``device``; None leaves the choice to mmengine.

    mmengine decides at import and keeps the answer in a module variable, which is set here and put back.
    """
    if device is None:
        yield torch.device(device_utils.get_device())
        return
    resolved = resolve_device(device)
    if resolved.index is not None:
        torch.cuda.set_device(resolved)
    before = device_utils.DEVICE
    device_utils.DEVICE = resolved.type
    try:
        yield resolved
    finally:
        device_utils.DEVICE = before
