"""All operators that the bridge supplies, by the name that mmcv's extension gives them."""

from collections.abc import Callable, Mapping
from typing import Any

from . import attention, boxes, conv, losses, polygons, roi, roi_rotated


def get_compiler_version() -> str:
    """What mmcv's environment report prints as the compiler of its operators."""
    return 'none, operators by stn_det.mmcv_bridge'


def get_compiling_cuda_version() -> str:
    """What mmcv's environment report prints as the CUDA version of its operators."""
    return 'not available'


OPERATORS: Mapping[str, Callable[..., Any]] = {
    **boxes.OPERATORS,
    **roi.OPERATORS,
    **roi_rotated.OPERATORS,
    **conv.OPERATORS,
    **attention.OPERATORS,
    **losses.OPERATORS,
    **polygons.OPERATORS,
    'get_compiler_version': get_compiler_version,
    'get_compiling_cuda_version': get_compiling_cuda_version,
}
