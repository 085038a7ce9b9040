"""Oriented region proposals from horizontal anchors."""

from mmdet.registry import MODELS
from mmdet.utils import ConfigType
from torch import Tensor

from ...geometry import rbox_to_hbox, scaling, transform_rboxes
from ...ops import nms, nms_rotated
from .rotated_rpn_head import RotatedRPNHead


@MODELS.register_module()
class OrientedRPNHead(RotatedRPNHead):
    """The proposal network of "Oriented R-CNN for Object Detection" https://arxiv.org/abs/2108.05699.

    Anchors are horizontal and matched with the horizontal boxes around the objects; six numbers an anchor (see
    ``MidpointOffsetCoder``) make an oriented proposal. Losses, sampling and memory are those of ``RotatedRPNHead``.

    Args:
        Those of ``RotatedRPNHead``; the coder is a ``MidpointOffsetCoder`` by default. ``test_cfg.nms`` of type 'nms'
        compares the horizontal boxes around the proposals, as the paper does, 'nms_rotated' the proposals themselves:
        long objects side by side at 45 degrees have outer boxes that overlap much.

    Raises:
        ConfigError: as ``RotatedRPNHead`` does.

    Example:
        >>> import torch, stn_det.register
        >>> from mmdet.registry import MODELS
        >>> head = MODELS.build(dict(type='OrientedRPNHead', in_channels=16, feat_channels=16))
        >>> _, codes = head([torch.zeros(1, 16, 64 // s, 64 // s) for s in (4, 8, 16, 32, 64)])
        >>> tuple(codes[0].shape)
        (1, 54, 16, 16)
    """

    suppressions = ('nms', 'nms_rotated')
    default_coder = 'MidpointOffsetCoder'

    def _truth_of_anchors(self, boxes: Tensor) -> Tensor:
        return boxes

    def _suppress(self, boxes: Tensor, scores: Tensor, levels: Tensor, cfg: ConfigType) -> Tensor:
        threshold = cfg.get('iou_threshold', 0.8)
        if cfg.get('type', 'nms') == 'nms_rotated':
            return nms_rotated(boxes, scores, threshold, labels=levels)
        return nms(rbox_to_hbox(boxes), scores, threshold, labels=levels)

    @staticmethod
    def _sides(boxes: Tensor) -> Tensor:
        return boxes[:, 2:4]

    @staticmethod
    def _rescaled(boxes: Tensor, scale_factor: tuple[float, float]) -> Tensor:
        return transform_rboxes(boxes, scaling(1 / scale_factor[0], 1 / scale_factor[1]))
