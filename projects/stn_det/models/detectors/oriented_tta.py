"""Test-time augmentation of detectors of rotated, quadrilateral or horizontal boxes."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample, SampleList
from mmdet.structures.bbox import get_box_tensor
from mmengine.config import ConfigDict
from mmengine.model import BaseTTAModel
from mmengine.structures import InstanceData
from torch import Tensor

from ...errors import ConfigError, InputError
from ...geometry import scaling
from ...geometry.warp import MatrixWarp
from ...ops import nms, nms_quadri, nms_rotated
from ..warped_samples import warp_boxes

_SUPPRESSIONS: dict[int, Callable[..., Tensor]] = {4: nms, 5: nms_rotated, 8: nms_quadri}
_KEYS = {'nms', 'max_per_img'}


@MODELS.register_module()
class OrientedTTAModel(BaseTTAModel):
    """Merges the detections in several views of an image by non-maximum suppression.

    A view may be any chain of resizing, flips, quarter turns, turns by any angle and crops whose transforms record
    ``homography_matrix``, as mmdet's and this package's do: boxes come back by its inverse. Write ``homography_matrix``
    among the ``meta_keys`` of the packing.

    Args:
        tta_cfg: ``nms=dict(iou_threshold=...)``, boxes of one class that overlap by more are one object (default 0.5);
            ``max_per_img``, most detections of an image (default 2000).
        **kwargs: ``module``, the config of the detector, and ``data_preprocessor``, see mmengine's ``BaseTTAModel``.

    Raises:
        ConfigError: ``tta_cfg`` has other keys.

    Example:
        >>> tta_model = dict(type='OrientedTTAModel', tta_cfg=dict(nms=dict(iou_threshold=0.5), max_per_img=2000))
        >>> meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'homography_matrix')
        >>> tta_pipeline = [
        ...     dict(type='LoadCheckedImage'),
        ...     dict(type='TestTimeAug', transforms=[
        ...         [dict(type='Resize', scale=(1024, 1024), keep_ratio=True)],
        ...         [dict(type='RandomFlip', prob=0.0), dict(type='RandomQuarterTurn', prob=1.0, turns=(1,))],
        ...         [dict(type='LoadAnnotations', with_bbox=True, box_type='qbox')],
        ...         [dict(type='PackDetInputs', meta_keys=meta_keys)],
        ...     ]),
        ... ]
    """

    def __init__(self, tta_cfg: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        cfg = ConfigDict(tta_cfg or {})
        threshold = dict(cfg.get('nms', {}))
        self.iou_threshold = float(threshold.pop('iou_threshold', 0.5))
        threshold.pop('type', None)  # follows from the boxes
        self.max_per_img = int(cfg.get('max_per_img', 2000))
        unknown = sorted({*cfg} - _KEYS) + sorted(threshold)
        if unknown or not 0 <= self.iou_threshold <= 1 or self.max_per_img < 1:
            raise ConfigError(
                f'OrientedTTAModel: tta_cfg is {dict(cfg)}; expected nms=dict(iou_threshold=...) in [0, 1] and '
                'max_per_img of 1 or more, and nothing else'
            )

    def merge_preds(self, data_samples_list: Sequence[Sequence[DetDataSample]]) -> SampleList:
        """One sample an image from its views.

        Args:
            data_samples_list: For each image the samples of its views, with ``pred_instances`` as a detector rescales
                them.

        Returns:
            The samples of the first views; their ``pred_instances``, pixels of the original image, are of all views.

        Raises:
            InputError: A view does not tell how it was made, or predictions hold masks.
        """
        return [self._merge(views) for views in data_samples_list]

    def _merge(self, views: Sequence[DetDataSample]) -> DetDataSample:
        found = [_bring_back(view) for view in views]
        boxes = torch.cat([each.bboxes for each in found])
        scores = torch.cat([each.scores for each in found])
        labels = torch.cat([each.labels for each in found])
        kept = _SUPPRESSIONS[boxes.shape[1]](boxes, scores, self.iou_threshold, labels)[: self.max_per_img]
        merged = views[0].new()
        merged.pred_instances = InstanceData(bboxes=boxes[kept], scores=scores[kept], labels=labels[kept])
        return merged


def _bring_back(view: DetDataSample) -> InstanceData:
    """Predictions of a view in the original image."""
    if 'masks' in view.pred_instances:
        raise InputError('OrientedTTAModel: predictions hold masks, and only boxes are brought back')
    view_from_image = view.metainfo.get('homography_matrix')
    if view_from_image is None:
        raise InputError(
            "OrientedTTAModel: a view has no homography_matrix. Add 'homography_matrix' to meta_keys of PackDetInputs, "
            'and begin each view with a transform that records it, such as Resize.'
        )
    boxes = get_box_tensor(view.pred_instances.bboxes)
    view_from_image = torch.as_tensor(view_from_image, dtype=torch.float64, device=boxes.device)
    # A detector divides by the scale of the view, but knows of nothing else that was done to it.
    x, y = view.metainfo.get('scale_factor', (1.0, 1.0))
    image_from_found = torch.linalg.inv(view_from_image) @ scaling(x, y).to(boxes.device)
    warp = MatrixWarp(image_from_found[None], view.metainfo['ori_shape'][:2])
    return InstanceData(
        bboxes=warp_boxes(boxes, warp), scores=view.pred_instances.scores, labels=view.pred_instances.labels
    )
