"""The objects of a batch, image by image and joined.

Letters: N images, G objects of one image, T objects of all images.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import InstanceList
from mmengine.structures import InstanceData
from torch import Tensor

from ...geometry import canonicalize_rboxes
from .box_state import BoxState


class BatchTruth(NamedTuple):
    """Objects of a batch.

    Attributes:
        instances: N with ``bboxes`` (G, 5) le90 in pixels of the network's input and ``labels`` (G,).
        boxes: (T, 5) float32, those of all images joined.
        states: (T, 5) the same as fractions, see :class:`BoxState`.
        labels: (T,) int64.
        counts: N numbers G.
    """

    instances: InstanceList
    boxes: Tensor
    states: Tensor
    labels: Tensor
    counts: list[int]

    @classmethod
    def of(cls, instances: InstanceList, img_metas: Sequence[dict]) -> 'BatchTruth':
        """Truth of N images, whose ``img_shape`` is in the meta data."""
        plain = []
        for instance in instances:
            boxes = canonicalize_rboxes(get_box_tensor(instance.bboxes).float().reshape(-1, 5))
            plain.append(InstanceData(bboxes=boxes, labels=instance.labels))
        states = [BoxState.from_boxes(one.bboxes[None], [meta['img_shape']])[0] for one, meta in zip(plain, img_metas)]
        return cls(
            plain,
            torch.cat([one.bboxes for one in plain]),
            torch.cat(states),
            torch.cat([one.labels for one in plain]),
            [len(one.labels) for one in plain],
        )
