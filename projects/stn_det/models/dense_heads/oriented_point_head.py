"""Anchor-free one-stage head for oriented boxes: decoupled towers, double-angle vector, task-aligned assignment."""

from collections.abc import Sequence

import torch
from mmcv.cnn import Scale
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from mmengine.model import bias_init_with_prob, normal_init
from torch import Tensor, nn

from ...errors import ConfigError
from ..task_modules.oriented_point_coder import angle_vectors, elongation, squareness
from .oriented_dense_head import OrientedDenseHead
from .tower import conv_tower, init_tower, tower_cfgs


@MODELS.register_module()
class OrientedPointHead(OrientedDenseHead):
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
        loss_angle: config of a loss between predicted and true codes of the angle, summed over the numbers of a box;
            None for the squared error of the angle vectors, which an ``angle_coder`` in ``bbox_coder`` does not have.
        loss_angle_weight: weight of the loss of the angle; 0 leaves the term out. Without it training settles for
            upright boxes: where an upright box covers a turned object, neither IoU nor Gaussians say which way to turn.
        train_cfg: not used by this head; accepted as every mmdet detector passes it.
        test_cfg: ``nms_pre``, ``score_thr``, ``nms=dict(iou_threshold)``, ``max_per_img``.
        init_cfg: weight initialisation.

    Raises:
        ConfigError: when the number of classes or convolutions cannot be built, ``conv_cfgs`` does not fit it, or an
            angle coder has no loss.

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
        loss_angle: OptConfigType = None,
        loss_angle_weight: float = 1.0,
        train_cfg: OptConfigType = None,
        test_cfg: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            in_channels=in_channels,
            feat_channels=feat_channels,
            stacked_convs=stacked_convs,
            prior_generator=dict(type='MlvlPointGenerator', strides=list(strides)),
            bbox_coder=bbox_coder or dict(type='OrientedPointCoder'),
            assigner=assigner or dict(type='RotatedTaskAlignedAssigner'),
            loss_cls=loss_cls or dict(type='QualityFocalLoss', use_sigmoid=True, beta=2.0),
            loss_bbox=loss_bbox or dict(type='GaussianBoxLoss', distance='kld', loss_weight=2.0),
            loss_angle=loss_angle,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            init_cfg=init_cfg,
        )
        self.strides = tuple(strides)
        self.norm_cfg = norm_cfg or dict(type='GN', num_groups=8, requires_grad=True)
        self.conv_cfgs = tower_cfgs(stacked_convs, conv_cfgs, dcn_on_last_conv)
        self.loss_angle_weight = loss_angle_weight
        self.loss_iou = None if loss_iou is None else MODELS.build(loss_iou)
        if self.bbox_coder.angle_coder is not None and loss_angle is None and loss_angle_weight > 0:
            name = type(self.bbox_coder.angle_coder).__name__
            raise ConfigError(
                f'loss_angle is None; expected the config of a loss on the codes of {name}, see docs/losses.md'
            )
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
        """Starts with rare objects (score 0.01) and, where the coder allows, upright boxes: both vectors (1, 0)."""
        super().init_weights()
        for tower in (self.cls_convs, self.reg_convs):
            init_tower(tower)
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
            codes.append(predict_codes(self.conv_reg, self.reg_convs(feature), scale))
        return scores, codes

    def _box_losses(
        self, codes: Tensor, boxes: Tensor, truth: Tensor, weight: Tensor, total: Tensor
    ) -> dict[str, Tensor]:
        """Box losses of K positive points, all weighted by quality; see the base class."""
        losses = super()._box_losses(codes, boxes, truth, weight, total)
        if self.loss_iou is not None:
            losses['loss_iou'] = self.loss_iou(boxes, truth, weight=weight, avg_factor=total)
        if self.loss_angle_weight > 0:
            error = self._angle_error(codes, truth) if self.loss_angle is None else self._angle_loss(codes, truth)
            losses['loss_angle'] = self.loss_angle_weight * (error * weight).sum() / total
        return losses

    @staticmethod
    def _angle_error(code: Tensor, truth: Tensor) -> Tensor:
        """Half the squared distance of both angle vectors in codes ``(K, 8)`` from those of boxes ``(K, 5)``.

        The first vector means little for a box that is nearly square, and there its part fades; the second is needed
        only there, and elsewhere counts a tenth.
        """
        squared = (code[:, 4:] - angle_vectors(truth[:, 4])) ** 2
        first = elongation(truth[:, 2:4])
        second = squareness(truth[:, 2:4]).clamp(min=0.1)
        return 0.5 * (squared[:, :2].sum(1) * first + squared[:, 2:].sum(1) * second)


def predict_codes(conv: nn.Conv2d, hidden: Tensor, scale: Scale) -> Tensor:
    """Codes (N, 8, H, W) of a level, the first four times a learned factor.

    bfloat16 keeps 8 bits, too few for a side of 100 pixels: the last layer always runs in float32.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        code = conv(hidden.float())
        return torch.cat([scale(code[:, :4]), code[:, 4:]], 1)
