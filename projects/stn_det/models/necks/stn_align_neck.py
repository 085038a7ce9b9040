"""Dense alignment of pyramid levels: every cell reads its surroundings through a frame of its own."""

from collections.abc import Sequence
from itertools import pairwise
from math import inf

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import OptConfigType, OptMultiConfig, reduce_mean
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...errors import ConfigError
from ...ops import deform_conv2d
from ..layers.levels import check_levels, check_strides
from ..layers.local_frames import FRAME_NUMBERS, LocalFrames, decode_frames, frame_offsets
from ..task_modules.frame_targets import FrameTargets, as_rboxes, frame_targets

Levels = tuple[Tensor, ...]


@MODELS.register_module()
class STNAlignNeck(BaseModule):
    """Adds to each cell what a turned and scaled 3x3 kernel around an object sees, with one predicted frame a cell.

    A spatial transformer for every cell ("Spatial Transformer Networks" https://arxiv.org/abs/1506.02025): a small
    tower predicts offset, scales and angle, a deformable convolution reads the level through this frame, and the result
    is added behind a convolution that starts at zero, so that an untrained neck is the identity bit for bit. The kernel
    lies on the object as in "Align Deep Features for Oriented Object Detection" https://arxiv.org/abs/2008.09397, which
    takes its frames from a first box regression; here the neck predicts them itself and shares its weights between the
    levels, so it fits between any pyramid and any head. Write it behind the pyramid in a list, which mmdet builds in
    sequence: ``neck=[dict(type='FPN', ...), dict(type='STNAlignNeck', ...)]``.

    mmdet gives no truth to a neck. In training this one keeps its frames, and :meth:`auxiliary_loss` holds them against
    the boxes; ``AlignedSingleStageDetector`` calls it, other detectors by ``auxiliary_losses``. Without that call the
    frames learn from the detector's losses alone.

    Args:
        in_channels: Channels C of every level, in and out.
        strides: Pixels a cell of each level, finest first.
        tower_channels: Channels inside of the tower that predicts the frames.
        stacked_convs: Convolutions of the tower.
        max_offset: Largest offset in x and in y, cells; 0.5 at least.
        max_scale: The points of a frame are at least ``1 / max_scale`` and at most ``max_scale`` cells apart.
        size_range: Least and largest ``sqrt(w h)``, in strides, of the boxes that a level's frames learn from; the
            finest level takes all smaller ones, too, the coarsest all larger ones. The default overlaps, because it is
            the head that decides which level detects what.
        aux_weight: Factor of the auxiliary losses; 0 leaves them out.
        norm_cfg: Normalisation; group normalisation by default, since levels share the weights.
        init_cfg: Weight initialisation.

    Raises:
        ConfigError: If a limit or the strides make no sense.

    Example:
        >>> import torch, stn_det.register
        >>> from mmdet.registry import MODELS
        >>> neck = MODELS.build(dict(type='STNAlignNeck', in_channels=16, strides=(8, 16)))
        >>> levels = torch.rand(1, 16, 8, 12), torch.rand(1, 16, 4, 6)
        >>> [torch.equal(a, b) for a, b in zip(neck(levels), levels)]
        [True, True]
        >>> [tuple(frames.angle.shape) for frames in neck.predict_frames(levels)]
        [(1, 8, 12), (1, 4, 6)]
    """

    def __init__(
        self,
        in_channels: int,
        strides: Sequence[int] = (8, 16, 32),
        tower_channels: int = 64,
        stacked_convs: int = 2,
        max_offset: float = 4.0,
        max_scale: float = 4.0,
        size_range: tuple[float, float] = (2.0, 12.0),
        aux_weight: float = 0.2,
        norm_cfg: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        _check_limits(stacked_convs, max_offset, max_scale, size_range, aux_weight)
        self.in_channels = in_channels
        self.strides = check_strides('STNAlignNeck', strides)
        self.max_offset, self.max_scale = max_offset, max_scale
        self.size_range = size_range
        self.aux_weight = aux_weight
        norm_cfg = norm_cfg or dict(type='GN', num_groups=8, requires_grad=True)
        widths = [in_channels, *[tower_channels] * stacked_convs]
        self.tower = nn.Sequential(*(ConvModule(a, b, 3, padding=1, norm_cfg=norm_cfg) for a, b in pairwise(widths)))
        self.frame = nn.Conv2d(tower_channels, FRAME_NUMBERS, 3, padding=1)
        self.aligned = ConvModule(in_channels, in_channels, 3, padding=1, norm_cfg=norm_cfg)
        self.out = nn.Conv2d(in_channels, in_channels, 1)
        self._kept: list[LocalFrames] | None = None
        self._start_at_identity()

    def _start_at_identity(self) -> None:
        for conv in (self.frame, self.out):
            nn.init.zeros_(conv.weight)
            nn.init.zeros_(conv.bias)

    def init_weights(self) -> None:
        """As ``init_cfg`` says, but for the convolutions that make the neck the identity."""
        super().init_weights()
        self._start_at_identity()

    def predict_frames(self, levels: Sequence[Tensor]) -> list[LocalFrames]:
        """Frames of all cells, for :meth:`forward` and to look at.

        Args:
            levels: (N, C, H_l, W_l) of each level.

        Returns:
            For each level ``offset`` (N, 2, H_l, W_l), ``scale`` (N, 2, H_l, W_l) in cells and ``angle`` (N, H_l, W_l)
            in radians; float32 at least.

        Raises:
            InputError: If the levels do not fit the strides or channels.
        """
        check_levels('STNAlignNeck', levels, self.strides, [self.in_channels] * len(self.strides))
        frames = []
        for level in levels:
            raw = self.frame(self.tower(level))
            wide = raw if raw.dtype == torch.float64 else raw.float()
            frames.append(decode_frames(wide, self.max_offset, self.max_scale))
        return frames

    def forward(self, levels: Sequence[Tensor]) -> Levels:
        """Aligned levels.

        Args:
            levels: (N, C, H_l, W_l) of each level, finest first.

        Returns:
            The same shapes and dtypes; the same values until the neck is trained.

        Raises:
            InputError: If the levels do not fit the strides or channels.
        """
        frames = self.predict_frames(levels)
        self._kept = frames if self.training and self.aux_weight > 0 else None
        return tuple(level + self._read(level, frame).to(level.dtype) for level, frame in zip(levels, frames))

    def _read(self, level: Tensor, frames: LocalFrames) -> Tensor:
        """What the neck adds to a level (N, C, H, W)."""
        conv = self.aligned.conv
        read = deform_conv2d(level, frame_offsets(frames), conv.weight, conv.bias, padding=1)
        return self.out(self.aligned.activate(self.aligned.norm(read)))

    def auxiliary_loss(self, batch_data_samples: SampleList) -> dict[str, Tensor]:
        """Distance of the frames that the last forward pass in training predicted from the boxes around their cells.

        :func:`~stn_det.models.task_modules.frame_targets` says which cells count; each counts the same. The frames are
        given up afterwards.

        Args:
            batch_data_samples: N samples, whose ``gt_instances.bboxes`` (M, 5), (M, 8) or (M, 4) are in pixels of the
                network's input.

        Returns:
            ``loss_frame_offset`` and ``loss_frame_scale``, smooth L1 in cells and in logarithms, and
            ``loss_frame_angle``, half the squared distance of the direction from the unit vector of twice the angle,
            which fades out for squares. 0 where there are no boxes; nothing where no frames were kept.
        """
        frames, self._kept = self._kept, None
        if frames is None:
            return {}
        boxes = [as_rboxes(get_box_tensor(sample.gt_instances.bboxes)) for sample in batch_data_samples]
        targets = [self._targets(boxes, frame, level) for level, frame in enumerate(frames)]
        sums = torch.stack([_frame_distances(frame, target) for frame, target in zip(frames, targets)]).sum(0)
        count = torch.stack([target.positive.sum() for target in targets]).sum().float()
        mean = self.aux_weight * sums / reduce_mean(count).clamp(min=1.0)
        return dict(zip(('loss_frame_offset', 'loss_frame_scale', 'loss_frame_angle'), mean))

    def _targets(self, boxes: list[Tensor], frames: LocalFrames, level: int) -> FrameTargets:
        """Targets of a level for N images with boxes (M, 5) each, stacked."""
        low = 0.0 if level == 0 else self.size_range[0]
        high = inf if level == len(self.strides) - 1 else self.size_range[1]
        options = frames.offset.shape[-2:], self.strides[level], (low, high), self.max_offset, self.max_scale
        targets = [frame_targets(each.to(frames.offset.device), *options) for each in boxes]
        return FrameTargets(*(torch.stack(column) for column in zip(*targets)))

    def __getstate__(self) -> dict:
        """Without the kept frames, whose graph can be neither copied nor saved."""
        return {**self.__dict__, '_kept': None}


def _frame_distances(frames: LocalFrames, target: FrameTargets) -> Tensor:
    """Sums (3,) of the distances in offset, scale and angle over the positive cells of targets (N, ...)."""
    positive = target.positive
    offset = F.smooth_l1_loss(frames.offset, target.offset, reduction='none').sum(1)
    scale = F.smooth_l1_loss(frames.log_scale, target.log_scale, reduction='none').sum(1)
    angle = 0.5 * (frames.direction - target.direction).square().sum(1) * target.elongation
    return torch.stack([torch.where(positive, part, 0.0).sum() for part in (offset, scale, angle)])


def _check_limits(
    stacked_convs: int, max_offset: float, max_scale: float, size_range: tuple[float, float], aux_weight: float
) -> None:
    """Raise for settings that no frame can keep to."""
    if stacked_convs < 1:
        raise ConfigError(f'STNAlignNeck: stacked_convs is {stacked_convs}; expected at least 1')
    if not max_offset >= 0.5:
        raise ConfigError(f'STNAlignNeck: max_offset is {max_offset}; expected 0.5 cells or more, half of a cell')
    if not max_scale > 1:
        raise ConfigError(f'STNAlignNeck: max_scale is {max_scale}; expected more than 1, which would fix the scale')
    if len(size_range) != 2 or not 0 <= size_range[0] < size_range[1]:
        raise ConfigError(f'STNAlignNeck: size_range is {size_range}; expected (least, largest) side in strides')
    if not aux_weight >= 0:
        raise ConfigError(f'STNAlignNeck: aux_weight is {aux_weight}; expected 0 or more')
