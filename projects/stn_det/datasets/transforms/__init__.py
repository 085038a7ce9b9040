"""Transforms of images with oriented boxes; importing this package registers them with mmdet."""

from .camera import SetCamera
from .convert import ConvertBoxType
from .crop import OrientedRandomCrop
from .distort import DistortImage
from .filter_boxes import FilterOrientedBoxes
from .loading import LoadCheckedImage
from .mixup import OrientedMixUp
from .mosaic import OrientedMosaic
from .paired import JitterSecond, LoadSecondImageFromFile, OnSecond, PackPairedInputs, WarpSecondLikeFirst
from .quarter_turn import RandomQuarterTurn
from .rotate import OrientedRandomRotate

__all__ = [
    'ConvertBoxType',
    'DistortImage',
    'FilterOrientedBoxes',
    'JitterSecond',
    'LoadCheckedImage',
    'LoadSecondImageFromFile',
    'OnSecond',
    'OrientedMixUp',
    'OrientedMosaic',
    'OrientedRandomCrop',
    'OrientedRandomRotate',
    'PackPairedInputs',
    'RandomQuarterTurn',
    'SetCamera',
    'WarpSecondLikeFirst',
]
