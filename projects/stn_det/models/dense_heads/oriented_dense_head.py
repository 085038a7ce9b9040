"""What the one-stage heads for oriented boxes share: losses on assigned points, and predictions."""

from typing import NamedTuple

import torch
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.utils import unpack_gt_instances
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import ConfigType, InstanceList, OptConfigType, OptInstanceList, OptMultiConfig, reduce_mean
from mmengine.structures import InstanceData
from torch import Tensor

from ...errors import ConfigError
from .oriented_results import best_candidates, check_test_cfg, oriented_results


class PointTargets(NamedTuple):
    """What P points of N images should predict.

    Attributes:
        labels: (N, P) int64 classes, the number of classes for background.
        quality: (N, P) target of the score in [0, 1], 0 for background.
        boxes: (N, P, 5) the box of a positive point, pixels and radians; zeros elsewhere.
        bears_loss: (N, P) bool, false for background in regions to ignore.
    """

    labels: Tensor
    quality: Tensor
    boxes: Tensor
    bears_loss: Tensor


class OrientedDenseHead(BaseDenseHead):
    """One oriented box and its class scores for every point of every pyramid level, whatever the layers are.

    A subclass builds its layers and brings ``forward``, which gives class logits ``(N, C, H_l, W_l)`` and box codes
    ``(N, E, H_l, W_l)`` of each level, E being ``bbox_coder.encode_size``. All arithmetic on boxes is in float32,
    whatever autocast says.

    Args:
        num_classes: number of foreground classes C.
        in_channels: channels of each input level.
        feat_channels: channels inside the towers.
        stacked_convs: convolutions of each tower.
        prior_generator: config of the points.
        bbox_coder: config of the point coder: ``encode(points, boxes)``, ``decode(points, code)``, ``encode_size``;
            its first four numbers tell centre and sides, the rest the angle.
        assigner: config of the assigner of points to boxes, which gives a ``PointAssignment``.
        loss_cls: config of the classification loss on (label, quality) targets.
        loss_bbox: config of the main box loss, weighted by quality.
        loss_angle: config of a loss between predicted and true codes of the angle, or None.
        train_cfg: not used by the heads; accepted as every mmdet detector passes it.
        test_cfg: ``nms_pre``, ``score_thr``, ``nms=dict(iou_threshold)``, ``max_per_img``.
        init_cfg: weight initialisation.

    Raises:
        ConfigError: when the number of classes or convolutions cannot be built, or nms is set to what is not there.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        feat_channels: int,
        stacked_convs: int,
        prior_generator: ConfigType,
        bbox_coder: ConfigType,
        assigner: ConfigType,
        loss_cls: ConfigType,
        loss_bbox: ConfigType,
        loss_angle: OptConfigType,
        train_cfg: OptConfigType,
        test_cfg: OptConfigType,
        init_cfg: OptMultiConfig,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if num_classes < 1:
            raise ConfigError(f'num_classes is {num_classes}; expected at least 1 foreground class')
        if stacked_convs < 1:
            raise ConfigError(f'stacked_convs is {stacked_convs}; expected at least 1')
        self.num_classes = self.cls_out_channels = num_classes
        self.in_channels = in_channels
        self.feat_channels = feat_channels
        self.stacked_convs = stacked_convs
        self.train_cfg = train_cfg
        self.test_cfg = test_cfg or {}
        check_test_cfg(self.test_cfg)
        self.bbox_coder = TASK_UTILS.build(bbox_coder)
        self.assigner = TASK_UTILS.build(assigner)
        self.prior_generator = TASK_UTILS.build(prior_generator)
        self.loss_cls = MODELS.build(loss_cls)
        self.loss_bbox = MODELS.build(loss_bbox)
        self.loss_angle = None if loss_angle is None else MODELS.build(loss_angle)

    def loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: OptInstanceList = None,
    ) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            cls_scores: logits ``(N, C, H_l, W_l)`` of each level.
            bbox_preds: codes ``(N, E, H_l, W_l)`` of each level.
            batch_gt_instances: N instances with ``bboxes`` ``(M, 5)`` in input-image pixels and ``labels`` ``(M,)``.
            batch_img_metas: N meta dicts.
            batch_gt_instances_ignore: N instances whose ``bboxes`` ``(I, 5)`` bear no loss, or None.

        Returns:
            ``loss_cls``, ``loss_bbox`` and what the head adds to them.
        """
        with torch.autocast(cls_scores[0].device.type, enabled=False):
            points, logits, codes = self._flatten(cls_scores, bbox_preds)
            boxes = self.bbox_coder.decode(points, codes)
            targets = self._targets(points, logits, boxes, batch_gt_instances, batch_gt_instances_ignore)
            return self._losses(logits, boxes, codes, targets, self._total(targets))

    @staticmethod
    def _total(targets: PointTargets) -> Tensor:
        """What the sums of all terms are divided by."""
        total: Tensor = reduce_mean(targets.quality.sum()).clamp(min=1.0)
        return total

    def _losses(
        self, logits: Tensor, boxes: Tensor, codes: Tensor, targets: PointTargets, total: Tensor
    ) -> dict[str, Tensor]:
        """Reduces the targets of the whole batch to loss terms; tensors but the total start with ``(N, P)``."""
        counts = targets.bears_loss
        judged = (targets.labels[counts], targets.quality[counts])
        loss_cls = self.loss_cls(logits[counts], judged, avg_factor=total)
        return dict(loss_cls=loss_cls, **self._point_losses(boxes, codes, targets, total))

    def _point_losses(self, boxes: Tensor, codes: Tensor, targets: PointTargets, total: Tensor) -> dict[str, Tensor]:
        """Loss terms of boxes ``(N, P, 5)`` and of the codes ``(N, P, E)`` that they come from."""
        positive = targets.labels < self.num_classes
        return self._box_losses(
            codes[positive], boxes[positive], targets.boxes[positive], targets.quality[positive], total
        )

    def _box_losses(
        self, codes: Tensor, boxes: Tensor, truth: Tensor, weight: Tensor, total: Tensor
    ) -> dict[str, Tensor]:
        """Loss terms of K positive points: codes ``(K, E)``, boxes and truth ``(K, 5)``, weight ``(K,)``, its sum."""
        return dict(loss_bbox=self.loss_bbox(boxes, truth, weight=weight, avg_factor=total))

    def _angle_loss(self, code: Tensor, truth: Tensor) -> Tensor:
        """``loss_angle`` between codes ``(K, E)`` and those of boxes ``(K, 5)``, summed over the numbers: ``(K,)``."""
        if code.shape[0] == 0:  # what losses return here is no longer one term a box
            return code.sum(1)
        target = self.bbox_coder.encode_angle(truth[:, 4])
        return self.loss_angle(code[:, 4:], target, reduction_override='none').reshape(len(code), -1).sum(1)

    def _flatten(self, cls_scores: list[Tensor], bbox_preds: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Points ``(P, 3)``, float32 logits ``(N, P, C)`` and codes ``(N, P, E)`` of all levels."""
        sizes = [level.shape[-2:] for level in cls_scores]
        priors = self.prior_generator.grid_priors(sizes, device=cls_scores[0].device, with_stride=True)
        logits = [level.flatten(2).transpose(1, 2).float() for level in cls_scores]
        codes = [level.flatten(2).transpose(1, 2).float() for level in bbox_preds]
        return torch.cat(priors)[:, :3], torch.cat(logits, 1), torch.cat(codes, 1)

    def _targets(
        self, points: Tensor, logits: Tensor, boxes: Tensor, truth: InstanceList, ignored: OptInstanceList
    ) -> PointTargets:
        """Targets of a batch from the truth and from what its points predict now."""
        each = zip(boxes, logits, truth, ignored or [None] * len(truth))
        targets = [self._targets_single(points, *image) for image in each]
        return PointTargets(*(torch.stack(column) for column in zip(*targets)))

    def _targets_single(
        self, points: Tensor, boxes: Tensor, logits: Tensor, truth: InstanceData, ignore: InstanceData | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Labels, quality, truth box and "bears a loss" of each point of one image, all ``(P, ...)``."""
        truth_boxes = get_box_tensor(truth.bboxes).float().reshape(-1, 5)
        ignored = truth_boxes.new_zeros((0, 5)) if ignore is None else get_box_tensor(ignore.bboxes).reshape(-1, 5)
        found = self.assigner.assign(
            points, boxes.detach(), logits.detach().sigmoid(), truth_boxes, truth.labels, ignored.float()
        )
        positive = found.box_index >= 0
        labels = torch.full_like(found.box_index, self.num_classes)
        target = boxes.new_zeros((points.shape[0], 5))
        if positive.any():
            labels[positive] = truth.labels[found.box_index[positive]]
            target[positive] = truth_boxes[found.box_index[positive]]
        return labels, found.quality, target, ~found.ignored

    def predict_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        batch_img_metas: list[dict],
        cfg: ConfigType | None = None,
        rescale: bool = False,
        with_nms: bool = True,
    ) -> InstanceList:
        """Detections of a batch.

        Args:
            cls_scores: logits ``(N, C, H_l, W_l)`` of each level.
            bbox_preds: codes ``(N, E, H_l, W_l)`` of each level.
            batch_img_metas: N meta dicts; ``scale_factor`` (x, y) is needed for ``rescale``.
            cfg: replaces ``test_cfg`` for this call.
            rescale: return boxes in the original image instead of the network input.
            with_nms: suppress duplicates.

        Returns:
            N instances with ``bboxes`` ``(K, 5)`` le90 in pixels and radians, ``scores`` ``(K,)``, ``labels`` ``(K,)``.
        """
        cfg = self.test_cfg if cfg is None else cfg
        with torch.autocast(cls_scores[0].device.type, enabled=False):
            points, logits, codes = self._flatten(cls_scores, bbox_preds)
            sizes = [level.shape[-2] * level.shape[-1] for level in cls_scores]
            return [
                self._predict_single(points, sizes, logits[i], codes[i], batch_img_metas[i], cfg, rescale, with_nms)
                for i in range(len(batch_img_metas))
            ]

    def _predict_single(
        self,
        points: Tensor,
        sizes: list[int],
        logits: Tensor,
        codes: Tensor,
        img_meta: dict,
        cfg: ConfigType,
        rescale: bool,
        with_nms: bool,
    ) -> InstanceData:
        kept = []
        for point, logit, code in zip(points.split(sizes), logits.split(sizes), codes.split(sizes)):
            score, label, index = best_candidates(logit.sigmoid(), cfg)
            kept.append((self.bbox_coder.decode(point[index], code[index]), score, label))
        boxes, scores, labels = (torch.cat(column) for column in zip(*kept))
        return oriented_results(boxes, scores, labels, img_meta, cfg, rescale, with_nms)

    def loss_and_predict(
        self, x: tuple[Tensor, ...], batch_data_samples: list, proposal_cfg: ConfigType | None = None
    ) -> tuple[dict[str, Tensor], InstanceList]:
        """Losses and detections of one forward pass; see ``loss_by_feat`` and ``predict_by_feat``."""
        outs = self(x)
        instances, ignored, metas = unpack_gt_instances(batch_data_samples)
        losses = self.loss_by_feat(*outs, instances, metas, ignored)
        return losses, self.predict_by_feat(*outs, batch_img_metas=metas, cfg=proposal_cfg)
