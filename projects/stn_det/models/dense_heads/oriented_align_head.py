"""The oriented point head with a second look: features read again through a first box."""

from typing import Any

import torch
from mmcv.cnn import Scale, build_norm_layer
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, InstanceList, OptInstanceList
from mmengine.model import normal_init
from torch import Tensor, nn

from ...errors import ConfigError
from ..layers import AlignConv
from .oriented_point_head import OrientedPointHead, predict_codes


@MODELS.register_module()
class OrientedAlignHead(OrientedPointHead):
    """Oriented boxes in two steps: the towers give a coarse box a cell, aligned features the final box and the scores.

    Between the towers and the predictions stands an alignment convolution for each branch, whose kernel lies over the
    coarse box, as in "Align Deep Features for Oriented Object Detection" https://arxiv.org/abs/2008.09397. The final
    code is the coarse one plus a correction that starts at zero. Unlike there, points take the place of anchors: one
    task-aligned assignment, made from the final boxes, teaches both steps. The gradient of the final box does not reach
    the coarse one, which has a loss of its own.

    Args:
        coarse_weight: factor of the coarse boxes' losses, the same as those of the final boxes; above 0, because
            nothing else teaches these boxes.
        **kwargs: all arguments of :class:`OrientedPointHead`.

    Raises:
        ConfigError: when the factor is not above 0, or for a setting that ``OrientedPointHead`` refuses.

    Example:
        >>> import torch, stn_det.register
        >>> from mmdet.registry import MODELS
        >>> head = MODELS.build(dict(type='OrientedAlignHead', num_classes=6, in_channels=16, feat_channels=16))
        >>> scores, codes, coarse = head([torch.zeros(1, 16, 64 // s, 64 // s) for s in (8, 16, 32)])
        >>> [tuple(level.shape) for level in coarse]
        [(1, 8, 8, 8), (1, 8, 4, 4), (1, 8, 2, 2)]
    """

    def __init__(self, coarse_weight: float = 0.5, **kwargs: Any) -> None:
        if not coarse_weight > 0:
            raise ConfigError(
                f'coarse_weight is {coarse_weight!r}; expected a factor above 0, or OrientedPointHead, which has no '
                f'coarse boxes'
            )
        super().__init__(**kwargs)
        self.coarse_weight = coarse_weight

    def _init_layers(self) -> None:
        super()._init_layers()
        self.conv_coarse = nn.Conv2d(self.feat_channels, self.bbox_coder.encode_size, 3, padding=1)
        self.coarse_scales = nn.ModuleList(Scale(1.0) for _ in self.strides)
        self.cls_align, self.reg_align = (
            AlignConv(self.feat_channels, self.feat_channels, bias=False) for _ in range(2)
        )
        self.cls_norm, self.reg_norm = (build_norm_layer(self.norm_cfg, self.feat_channels)[1] for _ in range(2))

    def init_weights(self) -> None:
        """As ``OrientedPointHead``, with the coarse boxes in place of the final ones, which start equal to them."""
        super().init_weights()
        normal_init(self.conv_coarse, std=0.01)
        with torch.no_grad():
            self.conv_coarse.bias[4::2] = 1.0
        nn.init.zeros_(self.conv_reg.weight)
        nn.init.zeros_(self.conv_reg.bias)

    def forward(self, x: tuple[Tensor, ...]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:  # type: ignore[override]
        """Class logits, box codes and coarse box codes of every level.

        Args:
            x: one ``(N, in_channels, H_l, W_l)`` map a level.

        Returns:
            Logits ``(N, C, H_l, W_l)`` and twice codes ``(N, 8, H_l, W_l)`` of each level; see the coder for the codes.
        """
        scores, codes, coarse = [], [], []
        for level, feature in enumerate(x):
            cls_hidden, reg_hidden = self.cls_convs(feature), self.reg_convs(feature)
            first = predict_codes(self.conv_coarse, reg_hidden, self.coarse_scales[level])
            boxes, stride = self._cell_boxes(first.detach(), level), self.strides[level]
            cls_hidden = self.cls_norm(self.cls_align(cls_hidden, boxes, stride)).relu()
            reg_hidden = self.reg_norm(self.reg_align(reg_hidden, boxes, stride)).relu()
            scores.append(self.conv_cls(cls_hidden))
            codes.append(first.detach() + predict_codes(self.conv_reg, reg_hidden, self.scales[level]))
            coarse.append(first)
        return scores, codes, coarse

    def _cell_boxes(self, codes: Tensor, level: int) -> Tensor:
        """Boxes ``(N, H, W, 5)`` of codes ``(N, 8, H, W)`` of a level, pixels and radians."""
        size = codes.shape[-2:]
        points = self.prior_generator.single_level_grid_priors(size, level, codes.dtype, codes.device, True)
        boxes: Tensor = self.bbox_coder.decode(points[:, :3], codes.flatten(2).transpose(1, 2))
        return boxes.unflatten(1, size)

    def loss_by_feat(  # type: ignore[override]
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        coarse_preds: list[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: OptInstanceList = None,
    ) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            cls_scores: logits ``(N, C, H_l, W_l)`` of each level.
            bbox_preds: codes ``(N, 8, H_l, W_l)`` of each level.
            coarse_preds: coarse codes ``(N, 8, H_l, W_l)`` of each level.
            batch_gt_instances: N instances with ``bboxes`` ``(M, 5)`` in input-image pixels and ``labels`` ``(M,)``.
            batch_img_metas: N meta dicts.
            batch_gt_instances_ignore: N instances whose ``bboxes`` ``(I, 5)`` bear no loss, or None.

        Returns:
            The terms of ``OrientedPointHead``, and those of the coarse boxes: ``loss_coarse_bbox`` and so on.
        """
        with torch.autocast(cls_scores[0].device.type, enabled=False):
            points, logits, codes = self._flatten(cls_scores, bbox_preds)
            coarse = self._flatten(cls_scores, coarse_preds)[2]
            boxes, coarse_boxes = self.bbox_coder.decode(points, codes), self.bbox_coder.decode(points, coarse)
            targets = self._targets(points, logits, boxes, batch_gt_instances, batch_gt_instances_ignore)
            total = self._total(targets)
            losses = self._losses(logits, boxes, codes, targets, total)
            for name, loss in self._point_losses(coarse_boxes, coarse, targets, total).items():
                losses[name.replace('loss_', 'loss_coarse_')] = self.coarse_weight * loss
            return losses

    def predict_by_feat(  # type: ignore[override]
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        coarse_preds: list[Tensor],
        batch_img_metas: list[dict],
        cfg: ConfigType | None = None,
        rescale: bool = False,
        with_nms: bool = True,
    ) -> InstanceList:
        """Detections of a batch, as of ``OrientedPointHead``; the coarse boxes have done their part."""
        return super().predict_by_feat(cls_scores, bbox_preds, batch_img_metas, cfg, rescale, with_nms)
