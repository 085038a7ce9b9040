"""Classes and oriented boxes of regions, by two fully connected layers."""

import torch
from mmdet.models.roi_heads.bbox_heads import Shared2FCBBoxHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, InstanceList, OptConfigType, OptMultiConfig, reduce_mean
from mmengine.structures import InstanceData
from torch import Tensor

from ....checks import compute_dtype
from ....errors import ConfigError
from ....geometry import canonicalize_rboxes, scaling, transform_rboxes
from ....ops import nms_rotated


@MODELS.register_module()
class RotatedShared2FCBBoxHead(Shared2FCBBoxHead):
    """Class scores and one oriented box for each region, or one a class.

    The head of "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks"
    https://arxiv.org/abs/1506.01497 with five numbers a box. Regions are horizontal or oriented: the coder decides.
    Losses and boxes are computed in float32 or wider whatever autocast says.

    Args:
        in_channels: channels of the features of a region.
        num_classes: number of foreground classes C; one more score stands for background.
        fc_out_channels: width of the two layers.
        roi_feat_size: bins of a region, along h and w.
        bbox_coder: config of the coder of boxes relative to regions.
        reg_class_agnostic: predict one box a region instead of one a class.
        loss_cls: config of the classification loss, a softmax over C + 1 classes.
        loss_bbox: config of the loss on codes.
        init_cfg: weight initialisation.

    Raises:
        ConfigError: for less than one class, or a classification loss with sigmoid.

    Example:
        >>> import torch, stn_det.register
        >>> from mmdet.registry import MODELS
        >>> head = MODELS.build(dict(type='RotatedShared2FCBBoxHead', in_channels=8, num_classes=6, fc_out_channels=16))
        >>> [tuple(part.shape) for part in head(torch.rand(3, 8, 7, 7))]
        [(3, 7), (3, 5)]
    """

    def __init__(
        self,
        in_channels: int = 256,
        num_classes: int = 15,
        fc_out_channels: int = 1024,
        roi_feat_size: int = 7,
        bbox_coder: OptConfigType = None,
        reg_class_agnostic: bool = True,
        loss_cls: OptConfigType = None,
        loss_bbox: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        if num_classes < 1:
            raise ConfigError(f'num_classes is {num_classes}; expected at least 1 foreground class')
        if (loss_cls or {}).get('use_sigmoid', False):
            raise ConfigError(f'loss_cls is {loss_cls}; expected use_sigmoid=False: background is a class of its own')
        super().__init__(
            fc_out_channels,
            in_channels=in_channels,
            num_classes=num_classes,
            roi_feat_size=roi_feat_size,
            bbox_coder=bbox_coder or dict(type='DeltaXYWHTRBBoxCoder'),
            predict_box_type='rbox',
            reg_class_agnostic=reg_class_agnostic,
            loss_cls=loss_cls or dict(type='CrossEntropyLoss', use_sigmoid=False),
            loss_bbox=loss_bbox or dict(type='SmoothL1Loss', beta=1.0),
            init_cfg=init_cfg,
        )

    def loss_and_target(
        self,
        cls_score: Tensor,
        bbox_pred: Tensor,
        rois: Tensor,
        sampling_results: list[SamplingResult],
        rcnn_train_cfg: ConfigType | None = None,
    ) -> dict[str, dict[str, Tensor] | Tensor]:
        """Losses of sampled regions.

        Args:
            cls_score: ``(R, C + 1)`` logits.
            bbox_pred: ``(R, 5)`` or ``(R, C * 5)`` codes.
            rois: ``(R, 5)`` horizontal or ``(R, 6)`` oriented regions with the batch index first, in pixels. Targets
                are relative to these; a region with a gradient passes it on to where it comes from.
            sampling_results: of each image, positive before negative regions, ``pos_gt_bboxes`` ``(P, 5)`` oriented.
            rcnn_train_cfg: part of mmdet's interface, without effect.

        Returns:
            ``loss_bbox``, which holds the terms ``loss_cls`` and ``loss_bbox``, and ``bbox_targets``, the labels
            ``(R,)`` of the regions, C for background.
        """
        with torch.autocast(cls_score.device.type, enabled=False):
            labels = torch.cat([self._labels(sample) for sample in sampling_results])
            truth = torch.cat([sample.pos_gt_bboxes.reshape(-1, 5) for sample in sampling_results])
            dtype = compute_dtype(cls_score)
            total = reduce_mean(rois.new_tensor(float(rois.shape[0]))).clamp(min=1.0)
            positive = (labels < self.num_classes).nonzero()[:, 0]
            codes = self._codes_of(bbox_pred[positive].to(dtype), labels[positive])
            targets = self.bbox_coder.encode(rois[positive, 1:], truth)
            losses = dict(
                loss_cls=self.loss_cls(cls_score.to(dtype), labels, avg_factor=total),
                loss_bbox=self.loss_bbox(codes, targets.to(dtype), avg_factor=total),
            )
        return dict(loss_bbox=losses, bbox_targets=labels)

    def _labels(self, sample: SamplingResult) -> Tensor:
        background = sample.pos_gt_labels.new_full((sample.neg_priors.shape[0],), self.num_classes)
        return torch.cat([sample.pos_gt_labels, background])

    def _codes_of(self, bbox_pred: Tensor, labels: Tensor) -> Tensor:
        """Codes ``(R, 5)`` that belong to labels ``(R,)``."""
        if self.reg_class_agnostic:
            return bbox_pred
        rows = torch.arange(labels.shape[0], device=labels.device)
        return bbox_pred.unflatten(1, (self.num_classes, -1))[rows, labels]

    def refine(self, rois: Tensor, cls_score: Tensor, bbox_pred: Tensor, labels: Tensor | None = None) -> Tensor:
        """The predicted boxes as regions, differentiable to all that they come from.

        Args:
            rois: ``(R, 5)`` or ``(R, 6)`` regions with the batch index first.
            cls_score: ``(R, C + 1)`` logits: where there is a box a class, that of the best class is taken.
            bbox_pred: ``(R, 5)`` or ``(R, C * 5)`` codes.
            labels: ``(R,)`` classes to prefer to the predicted ones; those that are C are not.

        Returns:
            ``(R, 6)`` oriented regions, le90.
        """
        with torch.autocast(rois.device.type, enabled=False):
            best = cls_score[:, : self.num_classes].argmax(1)
            if labels is not None:
                best = torch.where(labels < self.num_classes, labels, best)
            codes = self._codes_of(bbox_pred.to(compute_dtype(bbox_pred)), best)
            boxes = canonicalize_rboxes(self.bbox_coder.decode(rois[:, 1:], codes))
            return torch.cat([rois[:, :1].to(boxes.dtype), boxes], 1)

    def predict_by_feat(
        self,
        rois: tuple[Tensor, ...],
        cls_scores: tuple[Tensor, ...],
        bbox_preds: tuple[Tensor, ...],
        batch_img_metas: list[dict],
        rcnn_test_cfg: ConfigType | None = None,
        rescale: bool = False,
    ) -> InstanceList:
        """Detections of a batch.

        Args:
            rois: of each image ``(R, 5)`` or ``(R, 6)`` regions with the batch index first.
            cls_scores: of each image ``(R, C + 1)`` logits.
            bbox_preds: of each image ``(R, 5)`` or ``(R, C * 5)`` codes.
            batch_img_metas: N meta dicts; ``scale_factor`` (x, y) is needed for ``rescale``.
            rcnn_test_cfg: ``score_thr``, ``nms=dict(iou_threshold)``, ``max_per_img``.
            rescale: return boxes in the original image instead of the network input.

        Returns:
            N instances with ``bboxes`` ``(K, 5)`` le90 in pixels and radians, ``scores`` ``(K,)``, ``labels`` ``(K,)``.

        Raises:
            ConfigError: for a suppression other than 'nms_rotated'.
        """
        cfg = rcnn_test_cfg or {}
        nms = dict(cfg.get('nms', {}))
        if set(nms) - {'type', 'iou_threshold'} or nms.get('type', 'nms_rotated') != 'nms_rotated':
            raise ConfigError(
                f"test_cfg.rcnn.nms is {nms}; expected dict(type='nms_rotated', iou_threshold=...) and nothing else"
            )
        found = []
        for parts in zip(rois, cls_scores, bbox_preds, batch_img_metas):
            with torch.autocast(parts[0].device.type, enabled=False):
                found.append(self._predict_single(*parts, cfg, rescale))
        return found

    def _predict_single(
        self, rois: Tensor, logits: Tensor, codes: Tensor, meta: dict, cfg: ConfigType, rescale: bool
    ) -> InstanceData:
        dtype = compute_dtype(logits)
        scores = logits.to(dtype).softmax(1)[:, : self.num_classes]
        row, labels = (scores > cfg.get('score_thr', 0.05)).nonzero(as_tuple=True)
        scores = scores[row, labels]
        boxes = self.bbox_coder.decode(rois[row, 1:], self._codes_of(codes.to(dtype)[row], labels))
        boxes = canonicalize_rboxes(boxes)
        if rescale:
            factor = meta['scale_factor']
            boxes = transform_rboxes(boxes, scaling(1 / factor[0], 1 / factor[1]))
        order = nms_rotated(boxes, scores, cfg.get('nms', {}).get('iou_threshold', 0.1), labels=labels)
        order = order[: cfg.get('max_per_img', 2000)]
        return InstanceData(bboxes=boxes[order], scores=scores[order], labels=labels[order])
