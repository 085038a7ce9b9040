"""Readers, transforms and generated scenes of oriented objects.

Names are imported when first used, so that ``stn_det.datasets.scenes`` and ``stn_det.datasets.formats`` stay free of
mmdet. Importing the readers and ``transforms`` registers their classes with mmdet.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .check import DatasetReport, check_dataset
    from .dior import DIORDataset
    from .dota import DOTADataset, DOTAv2Dataset, DOTAv15Dataset
    from .hrsc import HRSCDataset
    from .rotated_coco import RotatedCocoDataset

_HOMES = {
    'DIORDataset': 'dior',
    'DOTADataset': 'dota',
    'DOTAv15Dataset': 'dota',
    'DOTAv2Dataset': 'dota',
    'HRSCDataset': 'hrsc',
    'RotatedCocoDataset': 'rotated_coco',
    'DatasetReport': 'check',
    'check_dataset': 'check',
}

__all__ = [
    'DIORDataset',
    'DOTADataset',
    'DOTAv2Dataset',
    'DOTAv15Dataset',
    'DatasetReport',
    'HRSCDataset',
    'RotatedCocoDataset',
    'check_dataset',
]


def __getattr__(name: str) -> Any:
    """Import a public name of this package on first use."""
    if name in _HOMES:
        return getattr(import_module(f'{__name__}.{_HOMES[name]}'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted(__all__)
