"""What the one-stage heads for oriented boxes share: losses on assigned points, and predictions."""

import torch
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.utils import filter_scores_and_topk, unpack_gt_instances
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import ConfigType, InstanceList, OptConfigType, OptInstanceList, OptMultiConfig, reduce_mean
from mmengine.structures import InstanceData
from torch import Tensor

from ...errors import ConfigError
from ...geometry import canonicalize_rboxes
from ...ops import nms_rotated
from ...structures import RotatedBoxes


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
        self._check_nms(self.test_cfg)
        self.bbox_coder = TASK_UTILS.build(bbox_coder)
        self.assigner = TASK_UTILS.build(assigner)
        self.prior_generator = TASK_UTILS.build(prior_generator)
        self.loss_cls = MODELS.build(loss_cls)
        self.loss_bbox = MODELS.build(loss_bbox)
        self.loss_angle = None if loss_angle is None else MODELS.build(loss_angle)

    @staticmethod
    def _check_nms(cfg: ConfigType) -> None:
        """Refuses what ``predict_by_feat`` would pass over without a word."""
        nms = cfg.get('nms', {})
        unknown = set(nms) - {'type', 'iou_threshold'}
        if unknown or nms.get('type', 'nms_rotated') != 'nms_rotated':
            raise ConfigError(
                f"test_cfg.nms is {dict(nms)}; expected dict(type='nms_rotated', iou_threshold=...) and nothing else"
            )

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
            ignores = batch_gt_instances_ignore or [None] * len(batch_gt_instances)
            targets = [
                self._targets_single(points, box, logit, truth, ignore)
                for box, logit, truth, ignore in zip(boxes, logits, batch_gt_instances, ignores)
            ]
            labels, quality, truth, bears_loss = (torch.stack(column) for column in zip(*targets))
            return self._losses(logits, boxes, codes, labels, quality, truth, bears_loss)

    def _losses(
        self,
        logits: Tensor,
        boxes: Tensor,
        codes: Tensor,
        labels: Tensor,
        quality: Tensor,
        truth: Tensor,
        bears_loss: Tensor,
    ) -> dict[str, Tensor]:
        """Reduces the targets of the whole batch to loss terms; all arguments start with ``(N, P)``."""
        positive = labels < self.num_classes
        total = reduce_mean(quality.sum()).clamp(min=1.0)
        losses = dict(
            loss_cls=self.loss_cls(logits[bears_loss], (labels[bears_loss], quality[bears_loss]), avg_factor=total)
        )
        losses.update(
            self._box_losses(codes[positive], boxes[positive], truth[positive], quality[positive], total),
        )
        return losses

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
            score, label, index, _ = filter_scores_and_topk(
                logit.sigmoid(), cfg.get('score_thr', 0.05), cfg.get('nms_pre', 1000)
            )
            kept.append((score, label, self.bbox_coder.decode(point[index], code[index])))
        scores, labels, boxes = (torch.cat(column) for column in zip(*kept))
        boxes = canonicalize_rboxes(boxes)
        if rescale:
            scaled = RotatedBoxes(boxes)
            scaled.rescale_([1 / factor for factor in img_meta['scale_factor']])
            boxes = scaled.tensor
        if with_nms:
            order = nms_rotated(boxes, scores, cfg.get('nms', {}).get('iou_threshold', 0.1), labels=labels)
            order = order[: cfg.get('max_per_img', 2000)]
            boxes, scores, labels = boxes[order], scores[order], labels[order]
        return InstanceData(bboxes=boxes, scores=scores, labels=labels)

    def loss_and_predict(
        self, x: tuple[Tensor, ...], batch_data_samples: list, proposal_cfg: ConfigType | None = None
    ) -> tuple[dict[str, Tensor], InstanceList]:
        """Losses and detections of one forward pass; see ``loss_by_feat`` and ``predict_by_feat``."""
        outs = self(x)
        instances, ignored, metas = unpack_gt_instances(batch_data_samples)
        losses = self.loss_by_feat(*outs, instances, metas, ignored)
        return losses, self.predict_by_feat(*outs, batch_img_metas=metas, cfg=proposal_cfg)
