"""Truth of an image under its warp, and what of it is still in the frame."""

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

from ...errors import InputError
from ...geometry import qbox_to_rbox
from ...geometry.warp import Warp
from ..warped_samples import warp_boxes

UNMOVED = ('masks', 'keypoints')


def transform_truth(sample: DetDataSample, warp: Warp, hbox_rule: str = 'ellipse') -> tuple[DetDataSample, Tensor]:
    """A sample whose truth lies in the destination frame of a warp; the sample given stays as it is.

    A box whose centre leaves the frame is no truth any more, for most of it cannot be seen; it becomes a region to
    ignore. Boxes behind the horizon of a homography are left out.

    Args:
        sample: ``gt_instances`` and perhaps ``ignored_instances`` with boxes in the source frame.
        warp: One map, without a gradient.
        hbox_rule: Rule for horizontal boxes.

    Returns:
        The moved sample and the number () of boxes that left the frame.

    Raises:
        InputError: If the truth holds masks or keypoints, which nothing here moves.
    """
    found = [name for name in UNMOVED if name in sample.get('gt_instances', {})]
    if found:
        raise InputError(f'gt_instances hold {found}, which a spatial transformer does not move; train without them')
    moved = frame_of_warp(sample, warp)
    truth = _transform_instances(sample.gt_instances, warp, hbox_rule)
    inside = _centers_inside(truth.bboxes, warp.dst_size)
    gone = truth[~inside]
    ignored = sample.get('ignored_instances')
    moved.gt_instances = truth[inside]
    moved.ignored_instances = _join(gone, None if ignored is None else _transform_instances(ignored, warp, hbox_rule))
    return moved, (~inside).sum()


def frame_of_warp(sample: DetDataSample, warp: Warp) -> DetDataSample:
    """A sample without truth whose meta data call the whole destination frame the image."""
    moved = DetDataSample(metainfo=sample.metainfo)
    moved.set_metainfo(dict(img_shape=warp.dst_size, batch_input_shape=warp.dst_size, pad_shape=warp.dst_size))
    return moved


def _transform_instances(instances: InstanceData, warp: Warp, hbox_rule: str) -> InstanceData:
    moved = warp_boxes(instances.bboxes, warp, hbox_rule)
    seen = get_box_tensor(moved).isfinite().all(-1)
    result = instances[seen]
    result.bboxes = moved[seen]
    return result


def _centers_inside(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    boxes = get_box_tensor(boxes)
    if boxes.shape[-1] == 5:
        centers = boxes[:, :2]
    elif boxes.shape[-1] == 8:
        centers = qbox_to_rbox(boxes)[:, :2]
    else:
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    x, y = centers.unbind(-1)
    return (x >= 0) & (x < size[1]) & (y >= 0) & (y < size[0])


def _join(gone: InstanceData, ignored: InstanceData | None) -> InstanceData:
    """What left the frame and what was ignored before; only what both have in common."""
    if ignored is None:
        return gone
    first, second = get_box_tensor(gone.bboxes), get_box_tensor(ignored.bboxes)
    joined = InstanceData(bboxes=torch.cat([first, second.reshape(-1, first.shape[-1])]))
    if 'labels' in gone and 'labels' in ignored:
        joined.labels = torch.cat([gone.labels, ignored.labels])
    return joined
