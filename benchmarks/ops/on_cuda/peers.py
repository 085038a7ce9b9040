"""The implementations to compare with: which of them are installed, and why the others are not there.

Each is only called, through what it offers to users. A peer that is missing is named with the reason in every record.
"""

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

from torch import Tensor

from ops.on_cuda.case import Contender

Function = Callable[..., Tensor]
Adapter = tuple[Callable[[Function], Function], dict[str, Tensor]]


@dataclass(frozen=True)
class Peer:
    """An implementation that is installed, in a version, or the reason why not."""

    call: Callable[..., Any] | None
    found: str

    @property
    def present(self) -> bool:
        """Whether it can be called."""
        return self.call is not None


def find_peers() -> dict[str, Peer]:
    """All peers by name."""
    return {name: _find(distributions, load) for name, (distributions, load) in _PEERS.items()}


def installed(peers: dict[str, Peer], adapters: dict[str, Adapter]) -> list[Contender]:
    """Contenders of the peers that are there, each from how its function becomes one of the leaves, and the leaves.

    What follows a comma in the name of a peer is the name of its operator.
    """
    found = []
    for name, (adapt, leaves) in adapters.items():
        call = peers[name].call
        if call is not None:
            found.append(Contender(name.partition(', ')[0], adapt(call), leaves))
    return found


def reason(error: BaseException) -> str:
    """Kind and first line of an error, without the folders of this machine."""
    line = next(iter(str(error).strip().splitlines()), '')
    return f'{type(error).__name__}: {re.sub(r"(?:/[^/ :]+)+/", "", line)[:200]}'


def _find(distributions: tuple[str, ...], load: Callable[[], Callable[..., Any]]) -> Peer:
    try:
        call = load()
    except Exception as error:  # packages refuse to load in many ways: no GPU, no kernels, another PyTorch
        return Peer(None, f'absent: {reason(error)}')
    return Peer(call, next(filter(None, map(_version, distributions)), 'version unknown'))


def _version(distribution: str) -> str:
    try:
        return f'{distribution} {version(distribution)}'
    except PackageNotFoundError:
        return ''


def _attribute(module: str, name: str) -> Callable[[], Callable[..., Any]]:
    """A loader of something that a module defines."""
    return lambda: getattr(importlib.import_module(module), name)


def _deformops(backend: str, **options: Any) -> Callable[[], Callable[..., Any]]:
    """A loader of deformops' attention on one of its backends; raises where the backend cannot run."""

    def load() -> Callable[..., Any]:
        registry: ModuleType = importlib.import_module('deformops.registry')
        chosen = registry.Backend[backend]
        if registry.msda.get(chosen) is None:
            raise RuntimeError(registry.msda.unavailable_reason(chosen))
        registry.msda.load(chosen)

        def call(*operands: Tensor, method: str) -> Tensor:
            return registry.msda(*operands, method=method, backend=chosen, **options)

        return call

    return load


def _mmcv(name: str) -> Callable[[], Callable[..., Any]]:
    return _attribute('mmcv.ops', name)


def _apply(module: str, name: str) -> Callable[[], Callable[..., Any]]:
    """A loader of the ``apply`` of an autograd function."""
    return lambda: getattr(importlib.import_module(module), name).apply


_MMCV = ('onedl-mmcv', 'mmcv')
_PEERS: dict[str, tuple[tuple[str, ...], Callable[[], Callable[..., Any]]]] = {
    'mmcv': (_MMCV, _apply('mmcv.ops.multi_scale_deform_attn', 'MultiScaleDeformableAttnFunction')),
    'Deformable DETR': (
        ('ms-deform-attn', 'MultiScaleDeformableAttention'),
        _apply('functions.ms_deform_attn_func', 'MSDeformAttnFunction'),
    ),
    'DCNv4': (('DCNv4',), _apply('DCNv4.functions', 'FlashDeformAttnFunction')),
    'deformops CUDA': (('deformops',), _deformops('CUDA')),
    'deformops Triton': (('deformops',), _deformops('TRITON', fp32acc=True)),
    'deformops Triton (sums in 16 bits)': (('deformops',), _deformops('TRITON', fp32acc=False)),
    # Its public function falls back to PyTorch without a word; this one does not.
    'msda-triton': (('msda-triton',), _attribute('msda_triton.frontend', 'triton_multiscale_deformable_attention')),
    'torchvision, deform_conv2d': (('torchvision',), _attribute('torchvision.ops', 'deform_conv2d')),
    'mmcv, modulated_deform_conv2d': (_MMCV, _mmcv('modulated_deform_conv2d')),
    'deformops, deform_conv2d': (('deformops',), _attribute('deformops.integrations.torchvision', 'deform_conv2d')),
    'mmcv, box_iou_rotated': (_MMCV, _mmcv('box_iou_rotated')),
    'mmcv, nms_rotated': (_MMCV, _mmcv('nms_rotated')),
    'mmcv, roi_align_rotated': (_MMCV, _mmcv('roi_align_rotated')),
    'torchvision, roi_align': (('torchvision',), _attribute('torchvision.ops', 'roi_align')),
}
