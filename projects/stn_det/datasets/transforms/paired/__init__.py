"""Transforms of images from two sensors; importing this package registers them with mmdet.

State of a sample between them: ``second_img`` and ``second_ori_shape`` (the file's), ``second_from_first`` (of the two
files, where the dataset knows it), ``second_jitter`` (a move of the second image, in the frame of the first image's
file), ``second_moved`` (what has already moved the second image alone, where ``second_from_first`` is not known, in its
own frame). ``WarpSecondLikeFirst`` makes one warp of them, and leaves ``second_from_first`` of the images as they then
are.
"""

from .jitter import JitterSecond
from .load import LoadSecondImageFromFile
from .on_second import OnSecond
from .pack import PackPairedInputs
from .warp import WarpSecondLikeFirst

__all__ = [
    'JitterSecond',
    'LoadSecondImageFromFile',
    'OnSecond',
    'PackPairedInputs',
    'WarpSecondLikeFirst',
]
