"""Anchor-free one-stage head for oriented boxes with convolutions shared by the levels and norms of their own."""

import torch
from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from mmdet.utils import OptConfigType, OptMultiConfig
from mmengine.model import bias_init_with_prob, normal_init
from torch import Tensor, nn

from ..task_modules.oriented_point_coder import elongation
from .oriented_dense_head import OrientedDenseHead


@MODELS.register_module()
class RotatedRTMDetSepBNHead(OrientedDenseHead):
    """Head of RTMDet for oriented boxes: shared convolutions, separate norms, dynamic soft label assignment.

    Objects look alike on all levels, statistics of the levels do not: so the towers share the weights of their
    convolutions, while each level has its own batch norms and its own last layers. Proposed in "RTMDet: An Empirical
    Study of Designing Real-Time Object Detectors" https://arxiv.org/abs/2212.07784. The parameters have the names that
    they have in the field's other implementations. Boxes are judged by the exact rotated IoU.

    Args:
        num_classes: number of foreground classes C.
        in_channels: channels of each input level.
        feat_channels: channels inside the towers.
        stacked_convs: convolutions of each tower.
        share_conv: share the weights of the towers' convolutions between levels.
        pred_kernel_size: kernel size of the last layers.
        norm_cfg: normalisation of the towers, batch norm by default.
        act_cfg: activation of the towers, SiLU by default.
        anchor_generator: config of the points; ``strides`` in pixels of each level, finest first, and ``offset`` of a
            point in its cell, 0.5 for the centre. Weights of the field that were trained with points in the corners
            need 0.
        bbox_coder: config of the point coder. The default codes distances along the box's own axes and twice the angle
            as a vector; ``OrientedPointCoder`` codes the centre in the frame of the image.
        assigner: config of the assigner.
        loss_cls: config of the classification loss on (label, quality) targets.
        loss_bbox: config of the box loss, weighted by quality; the exact IoU by default.
        loss_angle: config of a loss between predicted and true codes of the angle, summed over the numbers of a box, or
            None. A box that is nearly square weighs little. Needed where the angle coder has no gradient.
        train_cfg: not used by this head; accepted as every mmdet detector passes it.
        test_cfg: ``nms_pre``, ``score_thr``, ``nms=dict(iou_threshold)``, ``max_per_img``.
        init_cfg: weight initialisation.

    Raises:
        ConfigError: when the number of classes or convolutions cannot be built.

    Example:
        >>> import torch, stn_det.register
        >>> from mmdet.registry import MODELS
        >>> head = MODELS.build(dict(type='RotatedRTMDetSepBNHead', num_classes=6, in_channels=16, feat_channels=16))
        >>> scores, codes = head([torch.zeros(1, 16, 64 // s, 64 // s) for s in (8, 16, 32)])
        >>> [tuple(level.shape) for level in codes]
        [(1, 6, 8, 8), (1, 6, 4, 4), (1, 6, 2, 2)]
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        feat_channels: int = 256,
        stacked_convs: int = 2,
        share_conv: bool = True,
        pred_kernel_size: int = 1,
        norm_cfg: OptConfigType = None,
        act_cfg: OptConfigType = None,
        anchor_generator: OptConfigType = None,
        bbox_coder: OptConfigType = None,
        assigner: OptConfigType = None,
        loss_cls: OptConfigType = None,
        loss_bbox: OptConfigType = None,
        loss_angle: OptConfigType = None,
        train_cfg: OptConfigType = None,
        test_cfg: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            in_channels=in_channels,
            feat_channels=feat_channels,
            stacked_convs=stacked_convs,
            prior_generator=anchor_generator or dict(type='MlvlPointGenerator', strides=[8, 16, 32], offset=0.5),
            bbox_coder=bbox_coder or dict(type='DistanceAnglePointCoder'),
            assigner=assigner or dict(type='RotatedDynamicSoftLabelAssigner'),
            loss_cls=loss_cls or dict(type='QualityFocalLoss', use_sigmoid=True, beta=2.0),
            loss_bbox=loss_bbox or dict(type='OrientedIoULoss', mode='iou', loss_weight=2.0),
            loss_angle=loss_angle,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            init_cfg=init_cfg,
        )
        self.share_conv = share_conv
        self.pred_kernel_size = pred_kernel_size
        self.norm_cfg = norm_cfg or dict(type='BN')
        self.act_cfg = act_cfg or dict(type='SiLU')
        self._init_layers()

    def _init_layers(self) -> None:
        levels = range(self.prior_generator.num_levels)
        self.cls_convs = self._towers()
        self.reg_convs = self._towers()
        self.rtm_cls = nn.ModuleList(self._last(self.num_classes) for _ in levels)
        self.rtm_reg = nn.ModuleList(self._last(4) for _ in levels)
        self.rtm_ang = nn.ModuleList(self._last(self.bbox_coder.encode_size - 4) for _ in levels)

    def _towers(self) -> nn.ModuleList:
        """A tower for each level; with shared convolutions they differ in their norms."""
        towers = [self._tower() for _ in range(self.prior_generator.num_levels)]
        if self.share_conv:
            for tower in towers[1:]:
                for layer, first in zip(tower, towers[0]):
                    layer.conv = first.conv
        return nn.ModuleList(towers)

    def _tower(self) -> nn.Sequential:
        return nn.Sequential(
            *(
                ConvModule(
                    self.in_channels if i == 0 else self.feat_channels,
                    self.feat_channels,
                    3,
                    padding=1,
                    norm_cfg=self.norm_cfg,
                    act_cfg=self.act_cfg,
                )
                for i in range(self.stacked_convs)
            )
        )

    def _last(self, channels: int) -> nn.Conv2d:
        return nn.Conv2d(self.feat_channels, channels, self.pred_kernel_size, padding=self.pred_kernel_size // 2)

    def init_weights(self) -> None:
        """Starts with rare objects (score 0.01) and upright squares with sides of two strides."""
        super().init_weights()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                normal_init(module, std=0.01)
        point, square = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.0, 0.0, 2.0, 2.0, 0.0])
        sides = self.bbox_coder.encode(point, square)[:4]
        for cls, reg, ang in zip(self.rtm_cls, self.rtm_reg, self.rtm_ang):
            nn.init.constant_(cls.bias, bias_init_with_prob(0.01))
            with torch.no_grad():
                reg.bias.copy_(sides)
                ang.bias.copy_(self.bbox_coder.initial_angle_code())

    def forward(self, x: tuple[Tensor, ...]) -> tuple[list[Tensor], list[Tensor]]:
        """Class logits and box codes of every level.

        Args:
            x: one ``(N, in_channels, H_l, W_l)`` map a level.

        Returns:
            Logits ``(N, C, H_l, W_l)`` and codes ``(N, E, H_l, W_l)`` of each level; see the coder for the codes.
        """
        scores, codes = [], []
        for level, feature in enumerate(x):
            scores.append(self.rtm_cls[level](self.cls_convs[level](feature)))
            hidden = self.reg_convs[level](feature)
            # bfloat16 keeps 8 bits, too few for a side of 100 pixels: the last layers always run in float32
            with torch.autocast(hidden.device.type, enabled=False):
                hidden = hidden.float()
                codes.append(torch.cat([self.rtm_reg[level](hidden), self.rtm_ang[level](hidden)], 1))
        return scores, codes

    def _box_losses(
        self, codes: Tensor, boxes: Tensor, truth: Tensor, weight: Tensor, total: Tensor
    ) -> dict[str, Tensor]:
        """Box losses of K positive points, all weighted by quality; see the base class."""
        losses = super()._box_losses(codes, boxes, truth, weight, total)
        if self.loss_angle is not None:
            # of a square nobody knows which side is the long one
            error = self._angle_loss(codes, truth) * elongation(truth[:, 2:4])
            losses['loss_angle'] = (error * weight).sum() / total
        return losses
