"""Single-shot alignment head: anchors become oriented boxes, features are aligned with these, then it predicts."""

import torch
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures import SampleList
from mmdet.utils import ConfigType, InstanceList, OptConfigType, OptInstanceList, OptMultiConfig, reduce_mean
from mmengine.model import bias_init_with_prob, normal_init
from torch import Tensor, nn

from ...errors import ConfigError
from ...geometry import hbox_to_rbox
from ..layers import AlignConv, ORConv2d, orientation_pool
from ..task_modules.anchor_targets import AnchorTargets, anchor_targets
from .oriented_results import best_candidates, check_test_cfg, oriented_results
from .tower import conv_tower, init_tower

Maps = list[Tensor]
STAGES = ('fam', 'odm')


@MODELS.register_module()
class S2AHead(BaseDenseHead):
    """Feature alignment module (FAM) and oriented detection module (ODM) in one head, for ``SingleStageDetector``.

    The FAM makes one oriented box of the square anchor of each cell; an alignment convolution reads the level through
    this box; the ODM regresses the final box relative to it and classifies. Proposed in "Align Deep Features for
    Oriented Object Detection" https://arxiv.org/abs/2008.09397. Active rotating filters stand in front of the ODM: its
    boxes see all eight directions, its classes the strongest one.

    Differences: the anchor of a cell and the grid of the alignment sit on the cell's centre, not on its corner; boxes
    are le90, and their turn is coded relative to the nearer side (``edge_swap``), so that an object along the y axis
    is no seam; objects to ignore bear no loss.

    Args:
        num_classes: number of foreground classes C.
        in_channels: channels of each input level.
        feat_channels: channels inside the towers, a multiple of 8 with ``with_orconv``.
        stacked_convs: convolutions of each of the four towers.
        anchor_generator: config of a generator of one anchor a cell; squares of four strides on strides 8 to 128 by
            default.
        with_orconv: use active rotating filters.
        norm_cfg: normalisation of the towers; none by default, as in the paper.
        bbox_coder: config of the coder that both modules use.
        reg_decoded_bbox: give the box losses decoded boxes (pixels and radians) instead of the coder's numbers, as
            ``GaussianBoxLoss`` and ``OrientedIoULoss`` need.
        loss_fam_cls, loss_fam_bbox: configs of the losses of the FAM.
        loss_odm_cls, loss_odm_bbox: configs of the losses of the ODM.
        train_cfg: ``fam_cfg=dict(assigner)`` and ``odm_cfg=dict(assigner)``; by default both assign by rotated IoU with
            thresholds 0.5 and 0.4, each object its best anchor, and leave out anchors that an ignored object covers by
            0.4.
        test_cfg: ``nms_pre``, ``score_thr``, ``nms=dict(iou_threshold)``, ``max_per_img``.
        init_cfg: weight initialisation.

    Raises:
        ConfigError: when there is not one anchor a cell, or a setting has no meaning.

    Example:
        >>> import torch, stn_det.register
        >>> from mmdet.registry import MODELS
        >>> anchors = dict(type='AnchorGenerator', scales=[4], ratios=[1.0], strides=[8, 16], center_offset=0.5)
        >>> head = MODELS.build(
        ...     dict(type='S2AHead', num_classes=6, in_channels=16, feat_channels=16, anchor_generator=anchors)
        ... )
        >>> scores, codes, refined, _, _ = head([torch.zeros(1, 16, 64 // s, 64 // s) for s in (8, 16)])
        >>> [tuple(level.shape) for level in refined]
        [(1, 8, 8, 5), (1, 4, 4, 5)]
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        feat_channels: int = 256,
        stacked_convs: int = 2,
        anchor_generator: OptConfigType = None,
        with_orconv: bool = True,
        norm_cfg: OptConfigType = None,
        bbox_coder: OptConfigType = None,
        reg_decoded_bbox: bool = False,
        loss_fam_cls: OptConfigType = None,
        loss_fam_bbox: OptConfigType = None,
        loss_odm_cls: OptConfigType = None,
        loss_odm_bbox: OptConfigType = None,
        train_cfg: OptConfigType = None,
        test_cfg: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if num_classes < 1 or stacked_convs < 1:
            raise ConfigError(
                f'num_classes is {num_classes} and stacked_convs is {stacked_convs}; expected at least 1 of each'
            )
        self.num_classes = self.cls_out_channels = num_classes
        self.in_channels, self.feat_channels = in_channels, feat_channels
        self.stacked_convs = stacked_convs
        self.with_orconv = with_orconv
        self.norm_cfg = norm_cfg
        self.reg_decoded_bbox = reg_decoded_bbox
        self.prior_generator = TASK_UTILS.build(anchor_generator or _default_anchors())
        self.strides = _cell_strides(self.prior_generator)
        self.bbox_coder = TASK_UTILS.build(bbox_coder or _default_coder())
        self.train_cfg = train_cfg
        self.test_cfg = test_cfg or {}
        check_test_cfg(self.test_cfg)
        self.assigners = _assigners(train_cfg or {})
        self.loss_fam_cls, self.loss_odm_cls = (
            MODELS.build(loss or dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25))
            for loss in (loss_fam_cls, loss_odm_cls)
        )
        self.loss_fam_bbox, self.loss_odm_bbox = (
            MODELS.build(loss or dict(type='SmoothL1Loss', beta=1 / 9)) for loss in (loss_fam_bbox, loss_odm_bbox)
        )
        self._init_layers()

    def _init_layers(self) -> None:
        width, size, convs = self.feat_channels, self.bbox_coder.encode_size, [None] * self.stacked_convs
        self.fam_cls_convs = conv_tower(self.in_channels, width, convs, self.norm_cfg)
        self.fam_reg_convs = conv_tower(self.in_channels, width, convs, self.norm_cfg)
        self.fam_cls = nn.Conv2d(width, self.num_classes, 1)
        self.fam_reg = nn.Conv2d(width, size, 1)
        self.align_conv = AlignConv(self.in_channels, width)
        self.or_conv = ORConv2d(width, width) if self.with_orconv else None
        self.odm_cls_convs = conv_tower(width // 8 if self.with_orconv else width, width, convs, self.norm_cfg)
        self.odm_reg_convs = conv_tower(width, width, convs, self.norm_cfg)
        self.odm_cls = nn.Conv2d(width, self.num_classes, 3, padding=1)
        self.odm_reg = nn.Conv2d(width, size, 3, padding=1)

    def init_weights(self) -> None:
        """Starts with rare objects (score 0.01) and boxes close to the anchors."""
        super().init_weights()
        for tower in (self.fam_cls_convs, self.fam_reg_convs, self.odm_cls_convs, self.odm_reg_convs):
            init_tower(tower)
        for layer in (self.fam_reg, self.odm_reg, self.align_conv.conv):
            normal_init(layer, std=0.01)
        if self.or_conv is not None:
            normal_init(self.or_conv, std=0.01)
        for layer in (self.fam_cls, self.odm_cls):
            normal_init(layer, std=0.01, bias=bias_init_with_prob(0.01))

    def forward(self, x: tuple[Tensor, ...]) -> tuple[Maps, Maps, Maps, Maps, Maps]:
        """Predictions of both modules at every level.

        Args:
            x: one ``(N, in_channels, H_l, W_l)`` map a level.

        Returns:
            Of the ODM logits ``(N, C, H_l, W_l)`` and codes ``(N, 5, H_l, W_l)``; the boxes of the FAM
            ``(N, H_l, W_l, 5)``, pixels and radians, without a gradient; of the FAM logits and codes of the same shapes
            as the ODM's. Codes and boxes are float32 whatever autocast says.
        """
        scores, codes, refined, fam_codes = self._detect(x)
        fam_scores = [self.fam_cls(self.fam_cls_convs(feature)) for feature in x]
        return scores, codes, refined, fam_scores, fam_codes

    def _detect(self, x: tuple[Tensor, ...]) -> tuple[Maps, Maps, Maps, Maps]:
        """All of :meth:`forward` but the FAM's logits, which detection does not need."""
        outputs = []
        for feature, anchors, stride in zip(x, self._anchors(x), self.strides):
            fam_code = _in_float32(self.fam_reg, self.fam_reg_convs(feature))
            code = fam_code.detach().permute(0, 2, 3, 1)
            boxes = self.bbox_coder.decode(anchors.view(1, *code.shape[1:]).expand_as(code), code)
            hidden = self.align_conv(feature, boxes, stride).relu()
            if self.or_conv is not None:
                hidden = self.or_conv(hidden)
            pooled = hidden if self.or_conv is None else orientation_pool(hidden)
            score = self.odm_cls(self.odm_cls_convs(pooled))
            outputs.append((score, _in_float32(self.odm_reg, self.odm_reg_convs(hidden)), boxes, fam_code))
        scores, codes, refined, fam_codes = (list(column) for column in zip(*outputs))
        return scores, codes, refined, fam_codes

    def _anchors(self, levels: tuple[Tensor, ...] | Maps) -> Maps:
        """Anchors ``(H_l * W_l, 5)`` of every level, row by row, float32."""
        sizes = [level.shape[-2:] for level in levels]
        return [hbox_to_rbox(boxes) for boxes in self.prior_generator.grid_priors(sizes, device=levels[0].device)]

    def loss_by_feat(
        self,
        cls_scores: Maps,
        bbox_preds: Maps,
        refined: Maps,
        fam_cls_scores: Maps,
        fam_bbox_preds: Maps,
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: OptInstanceList = None,
    ) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            cls_scores, bbox_preds, refined, fam_cls_scores, fam_bbox_preds: as :meth:`forward` returns them.
            batch_gt_instances: N instances with ``bboxes`` ``(M, 5)`` in input-image pixels and ``labels`` ``(M,)``.
            batch_img_metas: N meta dicts.
            batch_gt_instances_ignore: N instances whose ``bboxes`` ``(I, 5)`` bear no loss, or None.

        Returns:
            ``loss_fam_cls``, ``loss_fam_bbox``, ``loss_odm_cls``, ``loss_odm_bbox``.
        """
        truth = batch_gt_instances, batch_gt_instances_ignore or [None] * len(batch_gt_instances)
        with torch.autocast(cls_scores[0].device.type, enabled=False):
            anchors = torch.cat(self._anchors(cls_scores)).expand(len(batch_gt_instances), -1, -1)
            boxes = torch.cat([level.flatten(1, 2) for level in refined], 1)
            losses = self._stage_losses('fam', anchors, fam_cls_scores, fam_bbox_preds, truth)
            losses.update(self._stage_losses('odm', boxes, cls_scores, bbox_preds, truth))
        return losses

    def _stage_losses(
        self, stage: str, anchors: Tensor, scores: Maps, codes: Maps, truth: tuple[InstanceList, list]
    ) -> dict[str, Tensor]:
        """Losses of one module on its anchors ``(N, P, 5)``."""
        assigner, classes = self.assigners[stage], self.num_classes
        targets = [anchor_targets(*image, assigner, classes) for image in zip(anchors, *truth)]
        labels, boxes, bears_loss = AnchorTargets(*(torch.stack(column) for column in zip(*targets)))
        positive = labels < classes
        total = reduce_mean(positive.sum().float()).clamp(min=1.0)
        logits, code = (
            torch.cat([level.flatten(2).transpose(1, 2).float() for level in maps], 1) for maps in (scores, codes)
        )
        loss_cls, loss_bbox = getattr(self, f'loss_{stage}_cls'), getattr(self, f'loss_{stage}_bbox')
        predicted, wanted, anchors = code[positive], boxes[positive], anchors[positive]
        if self.reg_decoded_bbox:
            predicted = self.bbox_coder.decode(anchors, predicted)
        else:
            wanted = self.bbox_coder.encode(anchors, wanted)
        weight = bears_loss.flatten().float()
        return {
            f'loss_{stage}_cls': loss_cls(logits.flatten(0, 1), labels.flatten(), weight, avg_factor=total),
            f'loss_{stage}_bbox': loss_bbox(predicted, wanted, avg_factor=total),
        }

    def predict(self, x: tuple[Tensor, ...], batch_data_samples: SampleList, rescale: bool = False) -> InstanceList:
        """Detections from features; see :meth:`predict_by_feat`."""
        metas = [sample.metainfo for sample in batch_data_samples]
        scores, codes, refined, fam_codes = self._detect(x)
        return self.predict_by_feat(scores, codes, refined, None, fam_codes, batch_img_metas=metas, rescale=rescale)

    def predict_by_feat(
        self,
        cls_scores: Maps,
        bbox_preds: Maps,
        refined: Maps,
        fam_cls_scores: Maps | None,
        fam_bbox_preds: Maps | None,
        batch_img_metas: list[dict],
        cfg: ConfigType | None = None,
        rescale: bool = False,
        with_nms: bool = True,
    ) -> InstanceList:
        """Detections of a batch.

        Args:
            cls_scores, bbox_preds, refined: as :meth:`forward` returns them.
            fam_cls_scores, fam_bbox_preds: the rest of what it returns; without effect.
            batch_img_metas: N meta dicts; ``scale_factor`` (x, y) is needed for ``rescale``.
            cfg: replaces ``test_cfg`` for this call.
            rescale: return boxes in the original image instead of the network input.
            with_nms: suppress duplicates.

        Returns:
            N instances with ``bboxes`` ``(K, 5)`` le90 in pixels and radians, ``scores`` ``(K,)``, ``labels`` ``(K,)``.
        """
        cfg = self.test_cfg if cfg is None else cfg
        results = []
        with torch.autocast(cls_scores[0].device.type, enabled=False):
            for image, meta in enumerate(batch_img_metas):
                kept = []
                for scores, codes, boxes in zip(cls_scores, bbox_preds, refined):
                    score, label, index = best_candidates(scores[image].float().sigmoid().flatten(1).t(), cfg)
                    code = codes[image].flatten(1).t()[index]
                    kept.append((self.bbox_coder.decode(boxes[image].flatten(0, 1)[index], code), score, label))
                candidates = (torch.cat(column) for column in zip(*kept))
                results.append(oriented_results(*candidates, meta, cfg, rescale, with_nms))
        return results


def _default_anchors() -> ConfigType:
    return dict(type='AnchorGenerator', scales=[4], ratios=[1.0], strides=[8, 16, 32, 64, 128], center_offset=0.5)


def _default_coder() -> ConfigType:
    return dict(type='DeltaXYWHTRBBoxCoder', norm_factor=1, edge_swap=True, proj_xy=True)


def _cell_strides(generator: nn.Module) -> tuple[int, ...]:
    """Pixels a cell of each level, of a generator that makes one anchor a cell."""
    strides, counts = generator.strides, generator.num_base_priors
    if any(count != 1 for count in counts) or any(across != down for across, down in strides):
        raise ConfigError(
            f'anchor_generator makes {list(counts)} anchors a cell on strides {list(strides)}; expected one anchor a '
            f'cell, so one scale and one ratio, and equal strides in x and y'
        )
    return tuple(across for across, _ in strides)


def _assigners(train_cfg: ConfigType) -> dict[str, object]:
    """The assigner of each module."""
    default = dict(
        type='ChunkedMaxIoUAssigner',
        pos_iou_thr=0.5,
        neg_iou_thr=0.4,
        ignore_iof_thr=0.4,
        iou_calculator=dict(type='RBboxOverlaps2D'),
    )
    assigners = {}
    for stage in STAGES:
        cfg = train_cfg.get(f'{stage}_cfg', {})
        if set(cfg) - {'assigner'}:
            raise ConfigError(f'train_cfg.{stage}_cfg has the keys {sorted(cfg)}; expected assigner and nothing else')
        assigners[stage] = TASK_UTILS.build(cfg.get('assigner', default))
    return assigners


def _in_float32(conv: nn.Conv2d, hidden: Tensor) -> Tensor:
    """A convolution outside of autocast: bfloat16 keeps 8 bits, too few for a place or a side."""
    with torch.autocast(hidden.device.type, enabled=False):
        result: Tensor = conv(hidden.float())
        return result
