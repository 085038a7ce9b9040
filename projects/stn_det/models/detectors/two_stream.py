"""Two sensors in one detector: a backbone for each, fused before the neck."""

import copy
from typing import Any

from mmdet.models.detectors.base import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import OptSampleList, SampleList
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from torch import Tensor, nn

from ...errors import ConfigError, InputError

_SENSORS = ('both', 'first', 'second')
Pair = tuple[Tensor, Tensor]
Levels = tuple[Tensor, ...]


@MODELS.register_module()
class TwoStreamDetector(BaseDetector):
    """Any mmdet detector, fed with the fused features of two sensors.

    The backbone of ``detector`` becomes that of the first sensor, and what it would have received from it (its neck
    and heads, of one or two stages) receives the fused levels instead. Boxes are those of the first sensor.

    An ``align`` module may move the second sensor's features onto the first's. It is called as
    ``align(first_feats, second_feats)`` with tuples of levels ``(N, C_l, H_l, W_l)`` and returns the moved
    ``second_feats`` and ``info``, a dictionary of its own; in training ``align.loss(info, data_samples)`` returns a
    dictionary of loss terms, whose names begin with ``loss``. The truth, where it is known, is in the metadata of the
    samples: ``second_from_first``, ``(3, 3)`` in pixels of the input.

    Args:
        detector: Config of an mmdet detector; its ``data_preprocessor`` is not used.
        second_backbone: Config of the second sensor's backbone; 'copy' builds another one by the first's config,
            'shared' uses the same weights.
        fusion: Config of ``ConcatFusion``, ``AddFusion`` or another module called with both tuples of levels; needed
            for both sensors.
        align: Config of an aligning module, or None.
        sensors: 'both'; or 'first' or 'second' for the same detector on one sensor of the same data, to compare:
            what that does not need is not built.
        data_preprocessor: Config of ``PairedDetDataPreprocessor``.
        init_cfg: Weight initialisation.

    Raises:
        ConfigError: The parts do not fit together.

    Example:
        >>> import torch, stn_det.register
        >>> from stn_det.apis import load_config
        >>> from mmdet.registry import MODELS
        >>> cfg = load_config('two-stream-le90_mobilenetv2_fpn_12e_scene-pairs').model
        >>> cfg.detector.backbone.init_cfg = None
        >>> model = MODELS.build(cfg)
        >>> [tuple(level.shape) for level in model.extract_feat((torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)))]
        [(1, 96, 8, 8), (1, 96, 4, 4), (1, 96, 2, 2)]
    """

    def __init__(
        self,
        detector: ConfigType,
        second_backbone: ConfigType | str = 'copy',
        fusion: OptConfigType = None,
        align: OptConfigType = None,
        sensors: str = 'both',
        data_preprocessor: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        _check_parts(detector, second_backbone, fusion, sensors)
        config = copy.deepcopy(detector)
        config['data_preprocessor'] = None
        self.sensors = sensors
        self.detector = MODELS.build(config)
        backbone = self.detector.backbone
        # The detector now takes levels where it took images, whatever its kind.
        self.detector.backbone = nn.Identity()
        self.first_backbone = None if sensors == 'second' else backbone
        self.second_backbone = None if sensors == 'first' else _second(backbone, second_backbone, config, sensors)
        self.fusion = MODELS.build(fusion) if sensors == 'both' else None
        self.align = MODELS.build(align) if sensors == 'both' and align is not None else None

    def fuse(self, inputs: Pair) -> tuple[Levels, dict[str, Any]]:
        """Features of both sensors before the neck.

        Args:
            inputs: Images of the first sensor ``(N, C1, H, W)`` and of the second ``(N, C2, H, W)``, normalised, in
                the frame of the first.

        Returns:
            Levels ``(N, C_l, H_l, W_l)``, and what ``align`` says of its work (empty without one).

        Raises:
            InputError: ``inputs`` is no pair, or the images differ in batch, height or width.
        """
        first, second = _check_inputs(inputs)
        if self.sensors == 'first':
            return tuple(self.first_backbone(first)), {}
        if self.sensors == 'second':
            return tuple(self.second_backbone(second)), {}
        is_shared = self.second_backbone is None
        second_backbone = self.first_backbone if is_shared else self.second_backbone
        first_feats, second_feats = tuple(self.first_backbone(first)), tuple(second_backbone(second))
        info: dict[str, Any] = {}
        if self.align is not None:
            second_feats, info = self.align(first_feats, second_feats)
        return tuple(self.fusion(first_feats, second_feats)), info

    def extract_feat(self, batch_inputs: Pair) -> Levels:
        """Levels after the neck, from a pair of batches; see ``fuse``."""
        levels: Levels = self.detector.extract_feat(self.fuse(batch_inputs)[0])
        return levels

    def loss(self, batch_inputs: Pair, batch_data_samples: SampleList) -> dict[str, Any]:
        """Losses of the detector and of ``align``.

        Args:
            batch_inputs: Pair of batches, see ``fuse``.
            batch_data_samples: N samples with truth in pixels of the input.

        Returns:
            Loss terms by name.

        Raises:
            ConfigError: ``align`` names a term that the detector has, too.
        """
        levels, info = self.fuse(batch_inputs)
        losses: dict[str, Any] = self.detector.loss(levels, batch_data_samples)
        if self.align is not None:
            extra = self.align.loss(info, batch_data_samples)
            both = sorted(losses.keys() & extra.keys())
            if both:
                raise ConfigError(f'align and the detector both have the loss terms {both}; rename those of align.')
            losses.update(extra)
        return losses

    def predict(self, batch_inputs: Pair, batch_data_samples: SampleList, rescale: bool = True) -> SampleList:
        """Detections in the frame of the first sensor.

        Args:
            batch_inputs: Pair of batches, see ``fuse``.
            batch_data_samples: N samples with the metadata that the detector needs.
            rescale: Return boxes in pixels of the original image instead of the input.

        Returns:
            The samples, with ``pred_instances``.
        """
        levels, _ = self.fuse(batch_inputs)
        samples: SampleList = self.detector.predict(levels, batch_data_samples, rescale=rescale)
        return samples

    def _forward(self, batch_inputs: Pair, batch_data_samples: OptSampleList = None) -> Any:
        """Raw output of the heads."""
        return self.detector._forward(self.fuse(batch_inputs)[0], batch_data_samples)


def _check_parts(detector: ConfigType, second_backbone: Any, fusion: OptConfigType, sensors: str) -> None:
    """Raise where the arguments of the detector cannot belong together."""
    if sensors not in _SENSORS:
        raise ConfigError(f'TwoStreamDetector: sensors is {sensors!r}, expected one of {_SENSORS}.')
    if 'backbone' not in detector:
        raise ConfigError(
            f'TwoStreamDetector: detector has {sorted(detector)}, but no backbone; give the whole config of a detector.'
        )
    if isinstance(second_backbone, str) and second_backbone not in ('copy', 'shared'):
        raise ConfigError(
            f"TwoStreamDetector: second_backbone is {second_backbone!r}, expected 'copy', 'shared' or a config."
        )
    if sensors == 'both' and fusion is None:
        raise ConfigError(
            "TwoStreamDetector: fusion is missing, expected dict(type='ConcatFusion', in_channels=[...]) with the "
            'channels that the neck takes.'
        )


def _second(
    first: nn.Module, second_backbone: ConfigType | str, detector: ConfigType, sensors: str
) -> nn.Module | None:
    """Backbone of the second sensor; None where it is that of the first."""
    if isinstance(second_backbone, str) and sensors == 'second':
        return first
    if second_backbone == 'shared':
        return None
    built: nn.Module = MODELS.build(
        copy.deepcopy(detector['backbone'] if second_backbone == 'copy' else second_backbone)
    )
    return built


def _check_inputs(inputs: Any) -> Pair:
    if not isinstance(inputs, tuple) or len(inputs) != 2:
        raise InputError(
            f'TwoStreamDetector got {type(inputs).__name__}, expected a tuple of two batches of images. Use '
            'PairedDetDataPreprocessor, and PackPairedInputs at the end of the pipeline.'
        )
    first, second = inputs
    if first.shape[0] != second.shape[0] or first.shape[-2:] != second.shape[-2:]:
        raise InputError(
            f'the sensors have batches of shape {tuple(first.shape)} and {tuple(second.shape)}; number, height and '
            'width must agree.'
        )
    return first, second
