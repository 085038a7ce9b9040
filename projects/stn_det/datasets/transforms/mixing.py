"""What transforms share that make one sample of several."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from stn_det.errors import ConfigError, InputError

from .common import box_type_name, ignore_flags, instance_keys


def check_alike(samples: Sequence[dict], transform: str) -> None:
    """See that samples can become one.

    Args:
        samples: Samples with images, and perhaps ``gt_bboxes``.
        transform: Name of the transform, for the message.

    Raises:
        ConfigError: The first sample holds the image of a second sensor.
        InputError: Samples differ in box type, channels or dtype.
    """
    if samples[0].get('second_img') is not None:
        raise ConfigError(
            f'{transform}: the sample holds the image of a second sensor, which cannot follow {len(samples)} images. '
            f'Leave {transform} out of the pipeline of pairs.'
        )
    kinds = {box_type_name(s['gt_bboxes']) if s.get('gt_bboxes') is not None else 'none' for s in samples}
    forms = {(s['img'].shape[2:], str(s['img'].dtype)) for s in samples}
    if len(kinds) > 1 or len(forms) > 1:
        raise InputError(
            f'{transform}: the samples differ in box type ({sorted(kinds)}) or in channels and dtype '
            f'({sorted(map(str, forms))}). Use one loading pipeline for all.'
        )


def join_instances(results: dict, samples: Sequence[dict]) -> None:
    """Put the objects of all samples into ``results``, which may be the first of them.

    Per-instance entries that a sample lacks go; samples without ``gt_ignore_flags`` have none to ignore.

    Args:
        results: Sample, changed in place.
        samples: Samples whose boxes are of one type, in the frame of the joint image.
    """
    if results.get('gt_bboxes') is None:
        return
    joined: dict[str, Any] = {}
    for key in instance_keys(results):
        values = [sample.get(key) for sample in samples]
        if any(value is None for value in values):
            joined[key] = None
        elif key == 'gt_bboxes':
            joined[key] = type(values[0]).cat(values, 0)
        elif isinstance(values[0], np.ndarray):
            joined[key] = np.concatenate(values)
        else:
            joined[key] = sum(values[1:], values[0])
    joined['gt_ignore_flags'] = np.concatenate([ignore_flags(sample).numpy() for sample in samples])
    for key, value in joined.items():
        if value is None:
            results.pop(key)
        else:
            results[key] = value
