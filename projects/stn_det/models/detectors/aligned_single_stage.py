"""A one-stage detector whose parts may have losses of their own, and whose neck may move the features."""

import torch
from mmdet.models.detectors import SingleStageDetector
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from torch import Tensor

from ...errors import ConfigError
from ...geometry.warp import MatrixWarp, Warp
from ..auxiliary import auxiliary_losses
from ..necks import STNGlobalNeck
from ..warped_samples import warp_instances, warp_samples


@MODELS.register_module()
class AlignedSingleStageDetector(SingleStageDetector):
    """mmdet's one-stage detector with what aligning necks need.

    It trains what parts keep for ``auxiliary_loss`` (``STNAlignNeck``), and where a neck warps the features of a whole
    image (``STNGlobalNeck``), it moves the truth by the detached warp and predictions back by its inverse. With an
    ordinary neck it is the ordinary detector.

    Args:
        backbone, neck, bbox_head, train_cfg, test_cfg, data_preprocessor, init_cfg: As of ``SingleStageDetector``.
            Several necks stand in a list, which mmdet builds in sequence.

    Raises:
        ConfigError: If there are two warping necks, or a part before one looks at the truth.
    """

    def __init__(
        self,
        backbone: ConfigType,
        neck: OptConfigType | list[ConfigType] = None,
        bbox_head: OptConfigType = None,
        train_cfg: OptConfigType = None,
        test_cfg: OptConfigType = None,
        data_preprocessor: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(backbone, neck, bbox_head, train_cfg, test_cfg, data_preprocessor, init_cfg)
        parts = [part for part in self.modules() if isinstance(part, STNGlobalNeck) or hasattr(part, 'auxiliary_loss')]
        names = [type(part).__name__ for part in parts]
        if 'STNGlobalNeck' in names[1:]:
            raise ConfigError(
                f'AlignedSingleStageDetector: {names} stand in this order; expected one STNGlobalNeck, before all '
                f'parts with an auxiliary loss: these see the truth in the frame that it makes'
            )
        self._warping = names[:1] == ['STNGlobalNeck']

    @property
    def feature_warp(self) -> Warp | None:
        """Maps from the network's input to the frame of the head, of the last forward pass; None if it is the same."""
        if not self._warping:
            return None
        return next(part.warp for part in self.modules() if isinstance(part, STNGlobalNeck))

    def loss(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> dict[str, Tensor]:
        """Losses of the head and of all parts that have some of their own.

        Args:
            batch_inputs: (N, 3, H, W) images, normalised.
            batch_data_samples: N samples with truth in pixels of the input.

        Returns:
            Loss terms by name, those of parts behind their path.
        """
        features = self.extract_feat(batch_inputs)
        if self.feature_warp is not None:
            batch_data_samples = warp_samples(batch_data_samples, self.feature_warp.detach())
        losses: dict[str, Tensor] = self.bbox_head.loss(features, batch_data_samples)
        losses.update(auxiliary_losses(self, batch_data_samples))
        return losses

    def predict(self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True) -> SampleList:
        """Detections.

        Args:
            batch_inputs: (N, 3, H, W) images, normalised.
            batch_data_samples: N samples with the metadata that the head needs; ``scale_factor`` for ``rescale``.
            rescale: Return boxes in pixels of the original image instead of the input.

        Returns:
            The samples, with ``pred_instances``.
        """
        if not self._warping:
            samples: SampleList = super().predict(batch_inputs, batch_data_samples, rescale)
            return samples
        features = self.extract_feat(batch_inputs)
        results = self.bbox_head.predict(features, batch_data_samples, rescale=False)
        back = self.feature_warp.inverse()
        if rescale:
            factors = [sample.scale_factor for sample in batch_data_samples]
            back = _original_from_input(factors, back) @ back
        results = [warp_instances(result, back[index]) for index, result in enumerate(results)]
        return self.add_pred_to_datasample(batch_data_samples, results)


def _original_from_input(scale_factors: list[tuple[float, float]], back: Warp) -> MatrixWarp:
    """Maps from the input, where ``back`` leads, to original images that were scaled by factors (x, y)."""
    rows = [[1 / x, 1 / y, 1.0] for x, y in scale_factors]
    return MatrixWarp(torch.tensor(rows, dtype=torch.float64, device=back.device).diag_embed(), back.dst_size)
