"""Schemas of the compiled operators and the library that implements them.

Schemas, fake kernels and gradients are defined in Python, so they exist without any binary; the library only registers
implementations. Where it is missing or does not load, every operator runs in plain PyTorch (``ops/reference``). The
environment variable ``STN_DET_OPS`` chooses: ``python`` for plain PyTorch, or the path of a library.
"""

import ctypes
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from stn_det.ops import _build

NAMESPACE = 'stn_det'
REMEDY = 'python -m stn_det.ops.build'
_LIBRARY = torch.library.Library(NAMESPACE, 'DEF')


def define(schema: str, fake: Callable) -> None:
    """Declare an operator ``name(arguments) -> results`` of the namespace and what it returns in shapes alone."""
    _LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    torch.library.register_fake(f'{NAMESPACE}::{schema.partition("(")[0]}', fake, lib=_LIBRARY)


def differentiate(name: str, backward: Callable, setup_context: Callable) -> None:
    """Give an operator its gradient, which is not differentiable again."""
    torch.library.register_autograd(f'{NAMESPACE}::{name}', backward, setup_context=setup_context, lib=_LIBRARY)


def implement(name: str, function: Callable) -> None:
    """Give an operator a CPU implementation in Python that calls compiled ones."""
    _LIBRARY.impl(name, function, 'CPU')


def wants_determinism() -> bool:
    """Whether ``torch.use_deterministic_algorithms`` is on: results must then not depend on the order of threads."""
    return torch.are_deterministic_algorithms_enabled()


def is_compiled(name: str, device: torch.device | str) -> bool:
    """Whether the operator has a compiled implementation for tensors on the device."""
    kind = device if isinstance(device, str) else device.type
    return kind == 'cpu' and name in _on_cpu


def library_report() -> tuple[str, str]:
    """Where the compiled operators were loaded from, or why not, and what to do about it ('' when nothing)."""
    return (str(_path), '') if _path is not None else (_reason, REMEDY)


def instruction_set() -> str:
    """Code that the compiled operators run on this machine: 'AVX2' or 'portable'; '' where none is loaded."""
    ask = None if _path is None else getattr(ctypes.CDLL(str(_path)), 'stn_det_instruction_set', None)
    if ask is None:
        return ''
    ask.restype = ctypes.c_char_p
    return ask().decode()


def _load() -> tuple[Path | None, str]:
    """Load the library: its path, or None and the reason in words."""
    wanted = os.environ.get('STN_DET_OPS', '')
    if wanted == 'python':
        return None, 'STN_DET_OPS=python asks for plain PyTorch'
    name = _build.library_name()
    usual = (folder / name for folder in (_build.PACKAGED, _build.user_folder()))
    path = Path(wanted) if wanted else next((path for path in usual if path.is_file()), None)
    if path is None:
        return None, 'not built'
    try:
        torch.ops.load_library(str(path))
    except (OSError, RuntimeError) as error:
        reason = f'{path} does not load: {error}'
        warnings.warn(f'{reason}. The operators run in plain PyTorch; rebuild them: {REMEDY}', stacklevel=2)
        return None, reason
    return path, ''


def _registered(key: str) -> frozenset[str]:
    names = torch._C._dispatch_get_registrations_for_dispatch_key(key)
    return frozenset(name.removeprefix('stn_det::') for name in names if name.startswith('stn_det::'))


_path, _reason = _load()
_on_cpu = frozenset() if _path is None else _registered('CPU')
