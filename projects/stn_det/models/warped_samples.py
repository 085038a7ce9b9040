"""Truth and predictions of a batch moved by the warp that its images or features went through."""

from mmdet.structures import SampleList
from mmdet.structures.bbox import BaseBoxes, get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

from ..errors import InputError
from ..geometry.warp import Warp


def warp_boxes(boxes: Tensor | BaseBoxes, warp: Warp, hbox_rule: str = 'ellipse') -> Tensor | BaseBoxes:
    """Boxes of one image in the destination frame of its warp.

    Args:
        boxes: (M, 5), (M, 8) or (M, 4), pixels of the source frame.
        warp: One map.
        hbox_rule: For horizontal boxes, see :meth:`Warp.transform_hboxes`; around the mapped ellipses, a turn there and
            back does not make them larger and larger.

    Returns:
        The same type and shape, pixels of the destination frame; not clipped, NaN behind the horizon of a homography.

    Raises:
        InputError: If the boxes have another number of columns.
    """
    tensor = get_box_tensor(boxes)
    if tensor.shape[-1] == 5:
        moved = warp.transform_rboxes(tensor[None])[0]
    elif tensor.shape[-1] == 8:
        moved = warp.transform_qboxes(tensor[None])[0]
    elif tensor.shape[-1] == 4:
        moved = warp.transform_hboxes(tensor[None], hbox_rule)[0]
    else:
        raise InputError(f'boxes have shape {tuple(tensor.shape)}, expected (M, 5), (M, 8) or (M, 4)')
    return type(boxes)(moved) if isinstance(boxes, BaseBoxes) else moved


def warp_instances(instances: InstanceData, warp: Warp) -> InstanceData:
    """A copy of the instances of one image whose ``bboxes`` are moved.

    Raises:
        InputError: If they hold masks, which would stay where they are.
    """
    if 'masks' in instances:
        raise InputError('the instances hold masks, and only boxes are moved; expected boxes alone: leave masks out')
    moved = instances.new()
    moved.bboxes = warp_boxes(instances.bboxes, warp)
    return moved


def warp_samples(batch_data_samples: SampleList, warp: Warp) -> SampleList:
    """Copies of N samples whose truth is moved; give a detached warp, for a loss must not move its own target.

    Args:
        batch_data_samples: N samples; ``gt_instances`` and ``ignored_instances`` are moved where they are.
        warp: N maps from the frame of the truth.

    Raises:
        InputError: If the numbers differ, or the truth has masks.
    """
    if len(batch_data_samples) != len(warp):
        raise InputError(f'there are {len(batch_data_samples)} samples and {len(warp)} maps; expected one a sample')
    moved = [sample.new() for sample in batch_data_samples]
    for index, sample in enumerate(moved):
        for name in ('gt_instances', 'ignored_instances'):
            if name in sample:
                setattr(sample, name, warp_instances(getattr(sample, name), warp[index]))
    return moved
