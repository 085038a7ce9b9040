"""Anchor-free one-stage head for oriented boxes: decoupled towers, double-angle vector, task-aligned assignment."""

import torch
from mmcv.cnn import ConvModule, Scale
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.utils import filter_scores_and_topk, unpack_gt_instances
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import ConfigType, InstanceList, OptConfigType, OptInstanceList, OptMultiConfig, reduce_mean
from mmengine.model import bias_init_with_prob, normal_init
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ...errors import ConfigError
from ...geometry import canonicalize_rboxes
from ...ops import nms_rotated
from ...structures import RotatedBoxes
from ..task_modules.oriented_point_coder import angle_vectors, squareness


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
        dcn_on_last_conv: make the last convolution of both towers a modulated deformable one.
        bbox_coder: config of the point coder.
        assigner: config of the assigner.
        loss_cls: config of the classification loss on (label, quality) targets.
        loss_bbox: config of the main box loss, weighted by quality.
        loss_iou: config of a second box loss, or None. Gaussians cannot see how a square is turned; an exact IoU can.
        loss_angle: config of a loss between predicted and true codes of the angle, summed over the numbers of a box;
            None for the squared error of the angle vectors, which an ``angle_coder`` in ``bbox_coder`` does not have.
        loss_angle_weight: weight of the loss of the angle; 0 leaves the term out. Without it training settles for
            upright boxes: where an upright box covers a turned object, neither IoU nor Gaussians say which way to turn.
        train_cfg: not used by this head; accepted as every mmdet detector passes it.
        test_cfg: ``nms_pre``, ``score_thr``, ``nms=dict(iou_threshold)``, ``max_per_img``.
        init_cfg: weight initialisation.

    Raises:
        ConfigError: when the number of classes or convolutions cannot be built, or an angle coder has no loss.

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
        bbox_coder: OptConfigType = None,
        assigner: OptConfigType = None,
        loss_cls: OptConfigType = None,
        loss_bbox: OptConfigType = None,
        loss_iou: OptConfigType = None,
        loss_angle: OptConfigType = None,
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
        self.dcn_on_last_conv = dcn_on_last_conv
        self.loss_angle_weight = loss_angle_weight
        self.train_cfg = train_cfg
        self.test_cfg = test_cfg or {}
        self._check_nms(self.test_cfg)
        self.bbox_coder = TASK_UTILS.build(bbox_coder or dict(type='OrientedPointCoder'))
        self.assigner = TASK_UTILS.build(assigner or dict(type='RotatedTaskAlignedAssigner'))
        self.prior_generator = TASK_UTILS.build(dict(type='MlvlPointGenerator', strides=list(self.strides)))
        self.loss_cls = MODELS.build(loss_cls or dict(type='QualityFocalLoss', use_sigmoid=True, beta=2.0))
        self.loss_bbox = MODELS.build(loss_bbox or dict(type='GaussianBoxLoss', distance='kld', loss_weight=2.0))
        self.loss_iou = None if loss_iou is None else MODELS.build(loss_iou)
        self.loss_angle = None if loss_angle is None else MODELS.build(loss_angle)
        if self.bbox_coder.angle_coder is not None and loss_angle is None and loss_angle_weight > 0:
            name = type(self.bbox_coder.angle_coder).__name__
            raise ConfigError(
                f'loss_angle is None; expected the config of a loss on the codes of {name}, see docs/losses.md'
            )
        self._init_layers()

    @staticmethod
    def _check_nms(cfg: ConfigType) -> None:
        """Refuses what ``predict_by_feat`` would pass over without a word."""
        nms = cfg.get('nms', {})
        unknown = set(nms) - {'type', 'iou_threshold'}
        if unknown or nms.get('type', 'nms_rotated') != 'nms_rotated':
            raise ConfigError(
                f"test_cfg.nms is {dict(nms)}; expected dict(type='nms_rotated', iou_threshold=...) and nothing else"
            )

    def _init_layers(self) -> None:
        self.cls_convs = self._tower()
        self.reg_convs = self._tower()
        self.conv_cls = nn.Conv2d(self.feat_channels, self.num_classes, 3, padding=1)
        self.conv_reg = nn.Conv2d(self.feat_channels, self.bbox_coder.encode_size, 3, padding=1)
        self.scales = nn.ModuleList(Scale(1.0) for _ in self.strides)

    def _tower(self) -> nn.Sequential:
        layers = []
        for i in range(self.stacked_convs):
            deformable = self.dcn_on_last_conv and i == self.stacked_convs - 1
            layers.append(
                ConvModule(
                    self.in_channels if i == 0 else self.feat_channels,
                    self.feat_channels,
                    3,
                    padding=1,
                    conv_cfg=dict(type='DCNv2') if deformable else None,
                    norm_cfg=self.norm_cfg,
                )
            )
        return nn.Sequential(*layers)

    def init_weights(self) -> None:
        """Starts with rare objects (score 0.01) and, where the coder allows, upright boxes: both vectors (1, 0)."""
        super().init_weights()
        for module in (*self.cls_convs.modules(), *self.reg_convs.modules()):
            if isinstance(module, nn.Conv2d) and not hasattr(module, 'conv_offset'):
                normal_init(module, std=0.01)
        normal_init(self.conv_cls, std=0.01, bias=bias_init_with_prob(0.01))
        normal_init(self.conv_reg, std=0.01)
        with torch.no_grad():
            self.conv_reg.bias[4:] = self.bbox_coder.initial_angle_code()

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
            hidden = self.reg_convs(feature)
            # bfloat16 keeps 8 bits, too few for a side of 100 pixels: the last layer always runs in float32
            with torch.autocast(hidden.device.type, enabled=False):
                code = self.conv_reg(hidden.float())
                codes.append(torch.cat([scale(code[:, :4]), code[:, 4:]], 1))
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
        weight = quality[positive]
        boxes, truth = boxes[positive], truth[positive]
        losses['loss_bbox'] = self.loss_bbox(boxes, truth, weight=weight, avg_factor=total)
        if self.loss_iou is not None:
            losses['loss_iou'] = self.loss_iou(boxes, truth, weight=weight, avg_factor=total)
        if self.loss_angle_weight > 0:
            code = codes[positive]
            error = self._angle_error(code, truth) if self.loss_angle is None else self._angle_loss(code, truth)
            losses['loss_angle'] = self.loss_angle_weight * (error * weight).sum() / total
        return losses

    def _angle_loss(self, code: Tensor, truth: Tensor) -> Tensor:
        """``loss_angle`` between codes ``(K, D)`` and those of boxes ``(K, 5)``, summed over the numbers: ``(K,)``."""
        if code.shape[0] == 0:  # what losses return here is no longer one term a box
            return code.sum(1)
        target = self.bbox_coder.encode_angle(truth[:, 4])
        return self.loss_angle(code[:, 4:], target, reduction_override='none').reshape(len(code), -1).sum(1)

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
