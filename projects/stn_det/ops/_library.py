"""Schemas of the compiled operators and the libraries that implement them, one for the CPU and one for CUDA.

Schemas, fake kernels and gradients are defined in Python, so they exist without any binary; the libraries only register
implementations. Where one is missing or does not load, every operator runs in plain PyTorch on its device
(``ops/reference``). The environment variable ``STN_DET_OPS`` chooses: ``python`` for plain PyTorch, or the paths of
libraries, separated by colons.
"""

import ctypes
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from stn_det.ops import _build

NAMESPACE = 'stn_det'
REMEDY = 'python -m stn_det.ops.build'
REMEDIES = {'cpu': REMEDY, 'cuda': f'{REMEDY} --cuda'}
_LIBRARY = torch.library.Library(NAMESPACE, 'DEF')


def define(schema: str, fake: Callable) -> None:
    """Declare an operator ``name(arguments) -> results`` of the namespace and what it returns in shapes alone."""
    _LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    torch.library.register_fake(f'{NAMESPACE}::{schema.partition("(")[0]}', fake, lib=_LIBRARY)


def differentiate(name: str, backward: Callable, setup_context: Callable) -> None:
    """Give an operator its gradient, which is not differentiable again."""
    torch.library.register_autograd(f'{NAMESPACE}::{name}', backward, setup_context=setup_context, lib=_LIBRARY)


def implement(name: str, function: Callable) -> None:
    """Give an operator an implementation in Python, for either device, that calls compiled ones."""
    for key in ('CPU', 'CUDA'):
        _LIBRARY.impl(name, function, key)


def wants_determinism() -> bool:
    """Whether ``torch.use_deterministic_algorithms`` is on: results must then not depend on the order of threads."""
    return torch.are_deterministic_algorithms_enabled()


def is_compiled(name: str, device: torch.device | str) -> bool:
    """Whether the operator has a compiled implementation for tensors on the device."""
    kind = device if isinstance(device, str) else device.type
    return (kind == 'cpu' and name in _on_cpu) or (kind == 'cuda' and name in _on_cuda)


def library_report(device: str = 'cpu') -> tuple[str, str]:
    """The compiled operators for ``'cpu'`` or ``'cuda'``.

    Returns:
        Where they were loaded from, or why not, and what to do about it ('' when nothing).
    """
    library = _libraries[device]
    return library.detail, library.remedy


def instruction_set() -> str:
    """Code that the operators for the CPU run on this machine: 'AVX2' or 'portable'; '' where none are loaded."""
    path = _libraries['cpu'].path
    ask = None if path is None else getattr(ctypes.CDLL(str(path)), 'stn_det_instruction_set', None)
    if ask is None:
        return ''
    ask.restype = ctypes.c_char_p
    return ask().decode()


class _Loaded(NamedTuple):
    """What came of looking for the library of one device."""

    path: Path | None
    names: frozenset[str]
    """Operators that it implements."""
    detail: str
    """The path, or why there is none."""
    remedy: str


def _load() -> dict[str, _Loaded]:
    """Load the library of each device."""
    wanted = os.environ.get('STN_DET_OPS', '')
    if wanted == 'python':
        asked = 'STN_DET_OPS=python asks for plain PyTorch'
        return {device: _Loaded(None, frozenset(), asked, 'unset STN_DET_OPS') for device in REMEDIES}
    if wanted:
        return _load_named([Path(path) for path in wanted.split(os.pathsep) if path])
    return {device: _load_usual(device) for device in REMEDIES}


def _load_named(paths: list[Path]) -> dict[str, _Loaded]:
    """Load these libraries; what each registers says which device it is for."""
    named = ' '.join(str(path) for path in paths)
    absent = f'STN_DET_OPS={named} names no library for it'
    found = {device: _Loaded(None, frozenset(), absent, '') for device in REMEDIES}
    for path in paths:
        before = {device: _registered(device) for device in REMEDIES}
        reason = _try(path)
        for device in REMEDIES:
            names = _registered(device) - before[device]
            if not reason and names:
                found[device] = _Loaded(path, names, str(path), '')
            elif reason and device == _device_of(path) and found[device].path is None:
                found[device] = _Loaded(None, frozenset(), reason, REMEDIES[device])
    return found


def _load_usual(device: str) -> _Loaded:
    """Load the library for a device from where builds go."""
    if device == 'cuda' and torch.version.cuda is None:
        return _Loaded(None, frozenset(), 'this torch is built without CUDA', '')
    name = _build.library_name(device)
    path = next((f / name for f in (_build.PACKAGED, _build.user_folder()) if (f / name).is_file()), None)
    if path is None:
        return _Loaded(None, frozenset(), 'not built', REMEDIES[device])
    reason = _try(path)
    if reason:
        return _Loaded(None, frozenset(), reason, REMEDIES[device])
    return _Loaded(path, _registered(device), str(path), '')


def _try(path: Path) -> str:
    """Load a library, or warn and give the reason in words."""
    try:
        torch.ops.load_library(str(path))
    except (OSError, RuntimeError) as error:
        reason, remedy = f'{path} does not load: {error}', REMEDIES[_device_of(path)]
        warnings.warn(f'{reason}. The operators run in plain PyTorch; rebuild them: {remedy}', stacklevel=2)
        return reason
    return ''


def _device_of(path: Path) -> str:
    """Device that a library which does not load was meant for, by its name."""
    return 'cuda' if path.name.startswith('libstn_det_cuda') else 'cpu'


def _registered(device: str) -> frozenset[str]:
    """Operators with an implementation for a device."""
    names = torch._C._dispatch_get_registrations_for_dispatch_key(device.upper())
    return frozenset(name.removeprefix('stn_det::') for name in names if name.startswith('stn_det::'))


_libraries = _load()
_on_cpu, _on_cuda = _libraries['cpu'].names, _libraries['cuda'].names
