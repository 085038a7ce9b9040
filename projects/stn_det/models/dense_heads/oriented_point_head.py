"""Anchor-free one-stage head for oriented boxes: decoupled towers, double-angle vector, task-aligned assignment."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmcv.cnn import Scale
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.utils import unpack_gt_instances
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import ConfigType, InstanceList, OptConfigType, OptInstanceList, OptMultiConfig, reduce_mean
from mmengine.model import bias_init_with_prob, normal_init
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ...errors import ConfigError
from ..task_modules.oriented_point_coder import angle_vectors, squareness
from .oriented_results import best_candidates, check_test_cfg, oriented_results
from .tower import conv_tower, init_tower, tower_cfgs


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


@MODELS.register_module()
class OrientedPointHead(BaseDenseHead):
    """One oriented box and its class scores for every point of every pyramid level.

    The towers are shared by the levels, in the mould of "FCOS: Fully Convolutional One-Stage Object Detection"
    https://arxiv.org/abs/1904.01355; the classification score is trained towards the alignment of box and truth, as in
    "TOOD" https://arxiv.org/abs/2108.07755. The angle is regressed as a vector of twice the angle and judged by
    Gaussians, so nothing breaks at the le90 seam.

    Args:
        num_classes: number of foreground classes C.
        in_channels: channels of each input level.
        feat_channels: channels inside the towers.
        stacked_convs: convolutions of each tower.
        strides: stride in pixels of each level, finest first.
        norm_cfg: normalisation of the towers; group normalisation by default, since levels share the weights.
        dcn_on_last_conv: make the last convolution of both towers a modulated deformable one; short for a
            ``conv_cfgs`` with ``dict(type='DCNv2')`` in the last place.
        conv_cfgs: for each of the ``stacked_convs`` of both towers None or the config of another convolution, such as
            ``dict(type='DCNv2')`` or ``dict(type='DCNv4')``; None for ordinary ones.
        bbox_coder: config of the point coder.
        assigner: config of the assigner.
        loss_cls: config of the classification loss on (label, quality) targets.
        loss_bbox: config of the main box loss, weighted by quality.
        loss_iou: config of a second box loss, or None. Gaussians cannot see how a square is turned; an exact IoU can.
        loss_angle_weight: weight of the squared error of the angle vectors; 0 leaves the term out. Without it training
            settles for upright boxes: where an upright box covers a turned object, neither IoU nor Gaussians say which
            way to turn.
        train_cfg: not used by this head; accepted as every mmdet detector passes it.
        test_cfg: ``nms_pre``, ``score_thr``, ``nms=dict(iou_threshold)``, ``max_per_img``.
        init_cfg: weight initialisation.

    Raises:
        ConfigError: when the number of classes or convolutions cannot be built, or ``conv_cfgs`` does not fit it.

    Example:
        >>> import torch, stn_det.register
        >>> from mmdet.registry import MODELS
        >>> head = MODELS.build(dict(type='OrientedPointHead', num_classes=6, in_channels=16, feat_channels=16))
        >>> scores, codes = head([torch.zeros(1, 16, 64 // s, 64 // s) for s in (8, 16, 32)])
        >>> [tuple(level.shape) for level in codes]
        [(1, 8, 8, 8), (1, 8, 4, 4), (1, 8, 2, 2)]
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        feat_channels: int = 256,
        stacked_convs: int = 2,
        strides: tuple[int, ...] = (8, 16, 32),
        norm_cfg: OptConfigType = None,
        dcn_on_last_conv: bool = False,
        conv_cfgs: Sequence[ConfigType | None] | None = None,
        bbox_coder: OptConfigType = None,
        assigner: OptConfigType = None,
        loss_cls: OptConfigType = None,
        loss_bbox: OptConfigType = None,
        loss_iou: OptConfigType = None,
        loss_angle_weight: float = 1.0,
        train_cfg: OptConfigType = None,
        test_cfg: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
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
        self.strides = tuple(strides)
        self.norm_cfg = norm_cfg or dict(type='GN', num_groups=8, requires_grad=True)
        self.conv_cfgs = tower_cfgs(stacked_convs, conv_cfgs, dcn_on_last_conv)
        self.loss_angle_weight = loss_angle_weight
        self.train_cfg = train_cfg
        self.test_cfg = test_cfg or {}
        check_test_cfg(self.test_cfg)
        self.bbox_coder = TASK_UTILS.build(bbox_coder or dict(type='OrientedPointCoder'))
        self.assigner = TASK_UTILS.build(assigner or dict(type='RotatedTaskAlignedAssigner'))
        self.prior_generator = TASK_UTILS.build(dict(type='MlvlPointGenerator', strides=list(self.strides)))
        self.loss_cls = MODELS.build(loss_cls or dict(type='QualityFocalLoss', use_sigmoid=True, beta=2.0))
        self.loss_bbox = MODELS.build(loss_bbox or dict(type='GaussianBoxLoss', distance='kld', loss_weight=2.0))
        self.loss_iou = None if loss_iou is None else MODELS.build(loss_iou)
        self._init_layers()

    def _init_layers(self) -> None:
        self.cls_convs = self._tower()
        self.reg_convs = self._tower()
        self.conv_cls = nn.Conv2d(self.feat_channels, self.num_classes, 3, padding=1)
        self.conv_reg = nn.Conv2d(self.feat_channels, self.bbox_coder.encode_size, 3, padding=1)
        self.scales = nn.ModuleList(Scale(1.0) for _ in self.strides)

    def _tower(self) -> nn.Sequential:
        return conv_tower(self.in_channels, self.feat_channels, self.conv_cfgs, self.norm_cfg)

    def init_weights(self) -> None:
        """Starts with rare objects (score 0.01) and upright boxes: both angle vectors (1, 0)."""
        super().init_weights()
        for tower in (self.cls_convs, self.reg_convs):
            init_tower(tower)
        normal_init(self.conv_cls, std=0.01, bias=bias_init_with_prob(0.01))
        normal_init(self.conv_reg, std=0.01)
        with torch.no_grad():
            self.conv_reg.bias[4::2] = 1.0

    def forward(self, x: tuple[Tensor, ...]) -> tuple[list[Tensor], list[Tensor]]:
        """Class logits and box codes of every level.

        Args:
            x: one ``(N, in_channels, H_l, W_l)`` map a level.

        Returns:
            Logits ``(N, C, H_l, W_l)`` and codes ``(N, 8, H_l, W_l)`` of each level; see the coder for the codes.
        """
        scores, codes = [], []
        for feature, scale in zip(x, self.scales):
            scores.append(self.conv_cls(self.cls_convs(feature)))
            codes.append(predict_codes(self.conv_reg, self.reg_convs(feature), scale))
        return scores, codes

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
            bbox_preds: codes ``(N, 8, H_l, W_l)`` of each level.
            batch_gt_instances: N instances with ``bboxes`` ``(M, 5)`` in input-image pixels and ``labels`` ``(M,)``.
            batch_img_metas: N meta dicts.
            batch_gt_instances_ignore: N instances whose ``bboxes`` ``(I, 5)`` bear no loss, or None.

        Returns:
            ``loss_cls``, ``loss_bbox`` and, when asked for, ``loss_iou`` and ``loss_angle``.
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
        return dict(loss_cls=loss_cls, **self._box_losses(boxes, codes, targets, total))

    def _box_losses(self, boxes: Tensor, codes: Tensor, targets: PointTargets, total: Tensor) -> dict[str, Tensor]:
        """Loss terms of boxes ``(N, P, 5)`` and of the codes ``(N, P, 8)`` that they come from."""
        positive = targets.labels < self.num_classes
        weight = targets.quality[positive]
        boxes, truth = boxes[positive], targets.boxes[positive]
        losses = dict(loss_bbox=self.loss_bbox(boxes, truth, weight=weight, avg_factor=total))
        if self.loss_iou is not None:
            losses['loss_iou'] = self.loss_iou(boxes, truth, weight=weight, avg_factor=total)
        if self.loss_angle_weight > 0:
            error = self._angle_error(codes[positive], truth)
            losses['loss_angle'] = self.loss_angle_weight * (error * weight).sum() / total
        return losses

    @staticmethod
    def _angle_error(code: Tensor, truth: Tensor) -> Tensor:
        """Half the squared distance of both angle vectors in codes ``(K, 8)`` from those of boxes ``(K, 5)``.

        The first vector means little for a box that is nearly square, and there its part fades; the second is needed
        only there, and elsewhere counts a tenth.
        """
        squared = (code[:, 4:] - angle_vectors(truth[:, 4])) ** 2
        short, long = truth[:, 2:4].clamp(min=1e-3).aminmax(dim=1)
        first = 1 - (short / long) ** 2
        second = squareness(truth[:, 2:4]).clamp(min=0.1)
        return 0.5 * (squared[:, :2].sum(1) * first + squared[:, 2:].sum(1) * second)

    def _flatten(self, cls_scores: list[Tensor], bbox_preds: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Points ``(P, 3)``, float32 logits ``(N, P, C)`` and codes ``(N, P, 8)`` of all levels."""
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
            bbox_preds: codes ``(N, 8, H_l, W_l)`` of each level.
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


def predict_codes(conv: nn.Conv2d, hidden: Tensor, scale: Scale) -> Tensor:
    """Codes (N, 8, H, W) of a level, the first four times a learned factor.

    bfloat16 keeps 8 bits, too few for a side of 100 pixels: the last layer always runs in float32.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        code = conv(hidden.float())
        return torch.cat([scale(code[:, :4]), code[:, 4:]], 1)
