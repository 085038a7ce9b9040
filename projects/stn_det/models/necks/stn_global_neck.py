"""One warp for all levels of an image, which predictions and truth go through with the features."""

from collections.abc import Mapping, Sequence

import torch
from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from mmdet.utils import OptConfigType, OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...checks import check_choice
from ...errors import ConfigError
from ...geometry.warp import MatrixWarp, bound, num_parameters
from ..layers.levels import check_levels, check_strides, frame_size

# A homography has a horizon, behind which boxes have no place.
NECK_FAMILIES = ('translation', 'rotation', 'similarity', 'affine')
# Small: a twentieth of the frame, 6 degrees, 10 %, 5 %.
NECK_LIMITS = dict(shift=0.1, rotation=0.1, log_scale=0.1, stretch=0.05)


@MODELS.register_module()
class STNGlobalNeck(BaseModule):
    """Resamples every level by one warp an image, predicted from the coarsest one; the identity at the start.

    **What it is not for.** A warp of feature maps gives invariance to translation only: when an image turns, the
    responses of a network do not just move, its channels change, and no resampling brings them back ("Understanding
    when spatial transformer networks do not support invariance, and what to do about it"
    https://arxiv.org/abs/2004.11678). Turn and scale the image instead. Here the default is a small translation; the
    other families are for residual motion of a few degrees and percent, and every limit is tight.

    The head sees the aligned frame, so its boxes are in that frame: :attr:`warp` leads there from the network's input.
    ``AlignedSingleStageDetector`` moves the truth by the detached warp in training, and predictions back by the exact
    inverse; in another detector without that, boxes are wrong. Write it behind the pyramid and before other necks that
    look at the truth: ``neck=[dict(type='FPN', ...), dict(type='STNGlobalNeck', ...)]``.

    Args:
        in_channels: Channels C of every level, in and out.
        strides: Pixels a cell of each level, finest first.
        family: 'translation', 'rotation', 'similarity' or 'affine'.
        limits: Limits of its parameters, arguments of ``WarpLimits``; those not given are as in :data:`NECK_LIMITS`.
        hidden_channels: Channels of the network that predicts the parameters.
        padding_mode: 'zeros', 'border' or 'reflection' for what a level does not show.
        norm_cfg: Normalisation; group normalisation by default.
        init_cfg: Weight initialisation.

    Attributes:
        warp: ``MatrixWarp`` of the last forward pass from the network's input to the aligned frame, N maps in pixels;
            None before the first.

    Raises:
        ConfigError: If the family or the strides make no sense.

    Example:
        >>> import torch, stn_det.register
        >>> from mmdet.registry import MODELS
        >>> neck = MODELS.build(dict(type='STNGlobalNeck', in_channels=16, strides=(8, 16)))
        >>> levels = torch.rand(1, 16, 8, 12), torch.rand(1, 16, 4, 6)
        >>> [torch.equal(a, b) for a, b in zip(neck(levels), levels)]
        [True, True]
        >>> neck.warp.src_size
        (64, 96)
    """

    def __init__(
        self,
        in_channels: int,
        strides: Sequence[int] = (8, 16, 32),
        family: str = 'translation',
        limits: Mapping[str, float] | None = None,
        hidden_channels: int = 64,
        padding_mode: str = 'zeros',
        norm_cfg: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if family not in NECK_FAMILIES:
            raise ConfigError(f'STNGlobalNeck: family is {family!r}; expected one of {NECK_FAMILIES}')
        check_choice('padding_mode', padding_mode, ('zeros', 'border', 'reflection'))
        self.in_channels = in_channels
        self.strides = check_strides('STNGlobalNeck', strides)
        self.family, self.padding_mode = family, padding_mode
        self.limits = {**NECK_LIMITS, **(limits or {})}
        bound(torch.zeros(num_parameters(family)), family, self.limits)  # refuses limits that make no sense
        norm_cfg = norm_cfg or dict(type='GN', num_groups=8, requires_grad=True)
        self.localizer = nn.Sequential(
            ConvModule(in_channels, hidden_channels, 3, padding=1, norm_cfg=norm_cfg),
            ConvModule(hidden_channels, hidden_channels, 3, padding=1, norm_cfg=norm_cfg),
            nn.AdaptiveAvgPool2d(4),  # coarse places, for any size of the level
            nn.Flatten(),
        )
        self.parameters_of = nn.Linear(16 * hidden_channels, num_parameters(family))
        self.warp: MatrixWarp | None = None
        self._start_at_identity()

    def _start_at_identity(self) -> None:
        nn.init.zeros_(self.parameters_of.weight)
        nn.init.zeros_(self.parameters_of.bias)

    def init_weights(self) -> None:
        """As ``init_cfg`` says, but for the layer that makes the warp the identity."""
        super().init_weights()
        self._start_at_identity()

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Levels in the aligned frame.

        Args:
            levels: (N, C, H_l, W_l) of each level, finest first.

        Returns:
            The same shapes and dtypes; the same values until the neck is trained.

        Raises:
            InputError: If the levels do not fit the strides or channels.
        """
        check_levels('STNGlobalNeck', levels, self.strides, [self.in_channels] * len(self.strides))
        size = frame_size('STNGlobalNeck', levels, self.strides)
        raw = self.parameters_of(self.localizer(levels[-1])).double()
        self.warp = MatrixWarp.from_parameters(bound(raw, self.family, self.limits), self.family, size)
        return tuple(
            self.warp.at_stride(stride).transform_images(level, self.padding_mode)
            for level, stride in zip(levels, self.strides)
        )

    def __getstate__(self) -> dict:
        """Without the last warp, whose graph can be neither copied nor saved."""
        return {**self.__dict__, 'warp': None}
