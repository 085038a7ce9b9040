"""Which transforms a pipeline of image pairs may not hold."""

from collections.abc import Iterator
from typing import Any

from stn_det.errors import ConfigError

# They move pixels of the first image, or mix several images, and leave no matrix that the second could follow.
UNRECORDED = frozenset(
    (
        'Albu',
        'CachedMixUp',
        'CachedMosaic',
        'CopyPaste',
        'Expand',
        'MinIoURandomCrop',
        'MixUp',
        'Mosaic',
        'OrientedMixUp',
        'OrientedMosaic',
        'RandomAffine',
        'RandomCenterCropPad',
        'RandomShift',
    )
)


def check_paired_pipeline(pipeline: Any) -> None:
    """See that every transform of a pipeline records the matrix by which it moves the first image.

    Args:
        pipeline: List of transforms or their configs, which may hold further lists of them.

    Raises:
        ConfigError: A transform is known to move pixels without a record.
    """
    found = sorted(set(_type_names(pipeline)) & UNRECORDED)
    if found:
        raise ConfigError(
            f'{", ".join(found)}: moves or mixes images without recording how, so the second sensor could not follow. '
            'Use Resize, RandomFlip, RandomQuarterTurn, OrientedRandomRotate, OrientedRandomCrop and Pad for pairs.'
        )


def _type_names(node: Any) -> Iterator[str]:
    """Class names of all transforms in nested lists and dictionaries."""
    if isinstance(node, dict):
        kind = node.get('type')
        if kind is not None:
            yield kind.rpartition('.')[2] if isinstance(kind, str) else getattr(kind, '__name__', '')
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for item in node:
            yield from _type_names(item)
    elif not isinstance(node, (str, int, float)):
        yield type(node).__name__  # a transform that is built already
