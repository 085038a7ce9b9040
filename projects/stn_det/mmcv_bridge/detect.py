"""Finds out, without importing ``mmcv.ops``, whether mmcv's compiled extension can be used."""

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

from stn_det.errors import MissingDependencyError

EXTENSION = 'mmcv._ext'
# A sample of every family that mmdet needs: an extension that lacks one was built from another mmcv or only in part.
EXPECTED = (
    'nms',
    'softnms',
    'nms_match',
    'nms_rotated',
    'box_iou_rotated',
    'roi_align_forward',
    'roi_align_backward',
    'sigmoid_focal_loss_forward',
    'deform_conv_forward',
    'modulated_deform_conv_forward',
    'ms_deform_attn_forward',
)

State = Literal['inactive', 'active', 'takeover']


@dataclass(frozen=True)
class Probe:
    """What was found: the state the bridge should take, why, and the extension's file if there is one."""

    state: State
    reason: str
    path: str | None = None


def import_mmcv() -> ModuleType:
    """Import the ``mmcv`` package itself, which does not load its operators.

    Raises:
        MissingDependencyError: mmcv, or something it imports, is not installed.
    """
    advice = (
        'install one of the two distributions that stn_det supports: '
        '`pip install onedl-mmengine onedl-mmcv onedl-mmdetection` or `pip install mmengine mmcv-lite mmdet`'
    )
    try:
        return importlib.import_module('mmcv')
    except ModuleNotFoundError as error:
        if error.name == 'mmcv':
            raise MissingDependencyError(f'stn_det.mmcv_bridge needs mmcv, which is not installed; {advice}') from error
        raise MissingDependencyError(
            f'mmcv is installed but cannot be imported, because {error.name!r} is missing; {advice}'
        ) from error


def probe() -> Probe:
    """Look for ``mmcv._ext``, load it if it exists and check that it has the operators mmdet calls."""
    loaded = sys.modules.get(EXTENSION)
    if loaded is None:
        spec = importlib.util.find_spec(EXTENSION)
        if spec is None:
            return Probe('active', 'this mmcv was installed without compiled operators')
        path = spec.origin
        try:
            loaded = importlib.import_module(EXTENSION)
        except Exception as error:  # a broken binary raises ImportError, OSError, RuntimeError or worse
            sys.modules.pop(EXTENSION, None)
            return Probe('takeover', f'its extension cannot be loaded ({_first_line(error)})', path)
    path = getattr(loaded, '__file__', None)
    missing = [name for name in EXPECTED if not hasattr(loaded, name)]
    if missing:
        return Probe('takeover', f'its extension lacks the operators {", ".join(missing)}', path)
    return Probe('inactive', 'the compiled operators of mmcv load', path)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return f'{type(error).__name__}: {text.splitlines()[0]}' if text else type(error).__name__
