"""Region proposals around oriented objects, from horizontal anchors."""

import torch
from mmdet.models.dense_heads import RPNHead
from mmdet.registry import MODELS
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import ConfigType, InstanceList, OptConfigType, OptInstanceList, OptMultiConfig, reduce_mean
from mmengine.structures import InstanceData
from torch import Tensor

from ...checks import compute_dtype
from ...errors import ConfigError
from ...geometry import rbox_to_hbox
from ...ops import nms


@MODELS.register_module()
class RotatedRPNHead(RPNHead):
    """The region proposal network of "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks"
    https://arxiv.org/abs/1506.01497 for oriented truth: horizontal proposals, taught by the boxes around the objects.

    The layers are mmdet's. Losses are computed on the sampled anchors alone, in float32, and anchors are assigned in
    chunks of objects, so memory does not grow with their number. Anchors centred in the padding of a batch neither
    bear a loss nor propose anything.

    Args:
        in_channels: channels of each input level.
        feat_channels: channels of the hidden layer.
        num_classes: 1; mmdet's detector sets it.
        num_convs: hidden layers.
        anchor_generator: config of the horizontal anchors; by default those of RPNHead.
        bbox_coder: config of the coder of proposals relative to anchors.
        loss_cls: config of the objectness loss, with sigmoid.
        loss_bbox: config of the loss on codes.
        train_cfg: ``assigner``, ``sampler``, ``allowed_border`` (pixels that an anchor may reach beyond the image to
            bear a loss; negative for any).
        test_cfg: ``nms_pre`` boxes of a level before suppression (all for -1), ``nms=dict(type='nms', iou_threshold)``
            within a level, ``max_per_img`` proposals, ``min_bbox_size``: least side in pixels.
        init_cfg: weight initialisation.

    Raises:
        ConfigError: for a suppression that is not known, or a loss without sigmoid.

    Example:
        >>> import torch, stn_det.register
        >>> from mmdet.registry import MODELS
        >>> head = MODELS.build(dict(type='RotatedRPNHead', in_channels=16, feat_channels=16))
        >>> scores, codes = head([torch.zeros(1, 16, 64 // s, 64 // s) for s in (4, 8, 16, 32, 64)])
        >>> tuple(scores[0].shape), tuple(codes[0].shape)
        ((1, 9, 16, 16), (1, 36, 16, 16))
    """

    suppressions: tuple[str, ...] = ('nms',)
    default_coder = 'DeltaXYWHBBoxCoder'

    def __init__(
        self,
        in_channels: int,
        feat_channels: int = 256,
        num_classes: int = 1,
        num_convs: int = 1,
        anchor_generator: OptConfigType = None,
        bbox_coder: OptConfigType = None,
        loss_cls: OptConfigType = None,
        loss_bbox: OptConfigType = None,
        train_cfg: OptConfigType = None,
        test_cfg: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        anchors = dict(
            type='AnchorGenerator', scales=[8, 16, 32], ratios=[0.5, 1.0, 2.0], strides=[4, 8, 16, 32, 64]
        )  # RPNHead's own
        super().__init__(
            in_channels,
            num_classes,
            init_cfg or dict(type='Normal', layer='Conv2d', std=0.01),
            num_convs,
            feat_channels=feat_channels,
            anchor_generator=anchor_generator or anchors,
            bbox_coder=bbox_coder or dict(type=self.default_coder),
            loss_cls=loss_cls or dict(type='CrossEntropyLoss', use_sigmoid=True),
            loss_bbox=loss_bbox or dict(type='SmoothL1Loss', beta=1 / 9),
            train_cfg=train_cfg,
            test_cfg=test_cfg,
        )
        if not self.use_sigmoid_cls:
            raise ConfigError(f'loss_cls is {loss_cls}; expected a loss with use_sigmoid=True: there is one class')
        self._check_nms(self.test_cfg)

    def _check_nms(self, cfg: OptConfigType) -> None:
        chosen = dict((cfg or {}).get('nms', {}))
        if set(chosen) - {'type', 'iou_threshold'} or chosen.get('type', 'nms') not in self.suppressions:
            raise ConfigError(
                f'test_cfg.nms is {chosen}; expected dict(type=..., iou_threshold=...) with one of the types '
                f'{", ".join(self.suppressions)}'
            )

    def _truth_of_anchors(self, boxes: Tensor) -> Tensor:
        """What proposals are taught, of boxes ``(M, 5)``."""
        return rbox_to_hbox(boxes)

    def _suppress(self, boxes: Tensor, scores: Tensor, levels: Tensor, cfg: ConfigType) -> Tensor:
        """Indices of the kept proposals, by falling score."""
        return nms(boxes, scores, cfg.get('iou_threshold', 0.7), labels=levels)

    @staticmethod
    def _sides(boxes: Tensor) -> Tensor:
        """Sides ``(M, 2)`` of proposals."""
        return boxes[:, 2:] - boxes[:, :2]

    @staticmethod
    def _rescaled(boxes: Tensor, scale_factor: tuple[float, float]) -> Tensor:
        """Proposals in the frame of the original image, of which the input is ``scale_factor`` (x, y) times."""
        return boxes / boxes.new_tensor(scale_factor).repeat(2)

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
            cls_scores: objectness logits ``(N, A, H_l, W_l)`` of each level, A anchors a cell.
            bbox_preds: codes ``(N, A * K, H_l, W_l)`` of each level, K numbers a box.
            batch_gt_instances: N instances with ``bboxes`` ``(M, 5)`` in pixels of the input.
            batch_img_metas: N meta dicts with ``img_shape``.
            batch_gt_instances_ignore: N instances whose ``bboxes`` ``(I, 5)`` bear no loss, or None.

        Returns:
            ``loss_rpn_cls`` and ``loss_rpn_bbox``.
        """
        with torch.autocast(cls_scores[0].device.type, enabled=False):
            anchors, logits, codes = self._flatten(cls_scores, bbox_preds)
            every_anchor, every_logit, every_code = torch.cat(anchors), torch.cat(logits, 1), torch.cat(codes, 1)
            ignores = batch_gt_instances_ignore or [None] * len(batch_gt_instances)
            sampled_logits, labels, sampled_codes, targets = [], [], [], []
            for index, (truth, ignore, meta) in enumerate(zip(batch_gt_instances, ignores, batch_img_metas)):
                positive, negative, target = self._sample(every_anchor, truth, ignore, meta)
                both = torch.cat([positive, negative])
                sampled_logits.append(every_logit[index, both])
                labels.append((torch.arange(both.numel(), device=both.device) >= positive.numel()).long())
                sampled_codes.append(every_code[index, positive])
                targets.append(target)
            return self._losses(*(torch.cat(part) for part in (sampled_logits, labels, sampled_codes, targets)))

    def _losses(self, logits: Tensor, labels: Tensor, codes: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Of logits ``(S,)`` with label 0 for objects and 1 for background, and codes and targets ``(P, K)``."""
        total = reduce_mean(logits.new_tensor(float(logits.numel()))).clamp(min=1.0)
        return dict(
            loss_rpn_cls=self.loss_cls(logits[:, None], labels, avg_factor=total),
            loss_rpn_bbox=self.loss_bbox(codes, targets.to(codes.dtype), avg_factor=total),
        )

    def _flatten(
        self, cls_scores: list[Tensor], bbox_preds: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Of each level, anchors ``(A_l, 4)``, logits ``(N, A_l)`` and codes ``(N, A_l, K)``, float32 or wider."""
        sizes = [level.shape[-2:] for level in cls_scores]
        dtype = compute_dtype(cls_scores[0])
        anchors = self.prior_generator.grid_priors(sizes, device=cls_scores[0].device)
        logits = [level.permute(0, 2, 3, 1).flatten(1).to(dtype) for level in cls_scores]
        length = self.bbox_coder.encode_size
        codes = [level.permute(0, 2, 3, 1).reshape(level.shape[0], -1, length).to(dtype) for level in bbox_preds]
        return [level.to(dtype) for level in anchors], logits, codes

    @torch.no_grad()
    def _sample(
        self, anchors: Tensor, truth: InstanceData, ignore: InstanceData | None, meta: dict
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Indices of the sampled positive and negative anchors of one image, and targets of the positive ones."""
        candidates = _inside(anchors, meta['img_shape'], self.train_cfg.get('allowed_border', -1)).nonzero()[:, 0]
        boxes = get_box_tensor(truth.bboxes).to(anchors.dtype).reshape(-1, 5)
        around = InstanceData(bboxes=rbox_to_hbox(boxes), labels=torch.zeros_like(truth.labels))
        if ignore is not None:
            regions = get_box_tensor(ignore.bboxes).to(anchors.dtype).reshape(-1, 5)
            ignore = InstanceData(bboxes=rbox_to_hbox(regions))
        priors = InstanceData(priors=anchors[candidates])
        found = self.sampler.sample(self.assigner.assign(priors, around, ignore), priors, around)
        positive = candidates[found.pos_inds]
        wanted = self._truth_of_anchors(boxes[found.pos_assigned_gt_inds])
        return positive, candidates[found.neg_inds], self.bbox_coder.encode(anchors[positive], wanted)

    @torch.no_grad()
    def predict_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        batch_img_metas: list[dict],
        cfg: ConfigType | None = None,
        rescale: bool = False,
        with_nms: bool = True,
    ) -> InstanceList:
        """Proposals of a batch, without a gradient.

        Args:
            cls_scores: objectness logits ``(N, A, H_l, W_l)`` of each level.
            bbox_preds: codes ``(N, A * K, H_l, W_l)`` of each level.
            batch_img_metas: N meta dicts with ``img_shape``; ``scale_factor`` (x, y) is needed for ``rescale``.
            cfg: replaces ``test_cfg`` for this call.
            rescale: return boxes in the original image instead of the network input.
            with_nms: suppress duplicates.

        Returns:
            N instances with ``bboxes`` ``(R, 4)`` or ``(R, 5)`` in pixels, ``scores`` ``(R,)`` in [0, 1] and falling,
            ``labels`` ``(R,)``, all 0.
        """
        cfg = self.test_cfg if cfg is None else cfg
        self._check_nms(cfg)
        with torch.autocast(cls_scores[0].device.type, enabled=False):
            anchors, logits, codes = self._flatten(cls_scores, bbox_preds)
            proposals = []
            for index, meta in enumerate(batch_img_metas):
                levels = [(a, o[index], c[index]) for a, o, c in zip(anchors, logits, codes)]
                proposals.append(self._predict_single(levels, meta, cfg, rescale, with_nms))
            return proposals

    def _predict_single(
        self, levels: list[tuple[Tensor, Tensor, Tensor]], meta: dict, cfg: ConfigType, rescale: bool, with_nms: bool
    ) -> InstanceData:
        """Proposals of one image of each level's anchors ``(A_l, 4)``, logits ``(A_l,)`` and codes ``(A_l, K)``."""
        parts = []
        for number, (anchors, logits, codes) in enumerate(levels):
            candidates = _inside(anchors, meta['img_shape'], -1).nonzero()[:, 0]
            limit = cfg.get('nms_pre', 2000)
            number_kept = min(limit, candidates.numel()) if limit > 0 else candidates.numel()
            chosen = candidates[logits[candidates].topk(number_kept).indices]
            boxes = self.bbox_coder.decode(anchors[chosen], codes[chosen], max_shape=meta['img_shape'])
            parts.append((boxes, logits[chosen].sigmoid(), torch.full_like(chosen, number)))
        boxes, scores, level = (torch.cat(column) for column in zip(*parts))
        large = (self._sides(boxes) > max(cfg.get('min_bbox_size', 0), 0)).all(1)
        boxes, scores, level = boxes[large], scores[large], level[large]
        if with_nms:
            kept = self._suppress(boxes, scores, level, cfg.get('nms', {}))
        else:
            kept = scores.argsort(descending=True, stable=True)
        kept = kept[: cfg.get('max_per_img', 2000)]
        boxes, scores = boxes[kept], scores[kept]
        if rescale:
            boxes = self._rescaled(boxes, meta['scale_factor'])
        return InstanceData(bboxes=boxes, scores=scores, labels=torch.zeros_like(kept))


def _inside(anchors: Tensor, shape: tuple[int, ...], border: int) -> Tensor:
    """Mask ``(A,)`` of anchors centred in an image (height, width); with ``border`` >= 0 no further out than that."""
    high = anchors.new_tensor([shape[1], shape[0]])
    centre = (anchors[:, :2] + anchors[:, 2:]) / 2
    inside = (centre >= 0).all(1) & (centre <= high).all(1)
    if border >= 0:
        inside &= (anchors[:, :2] >= -border).all(1) & (anchors[:, 2:] <= high + border).all(1)
    return inside
