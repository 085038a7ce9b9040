"""A one-stage detector whose parts may have losses of their own."""

from mmdet.models.detectors import SingleStageDetector
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from torch import Tensor

from ..auxiliary import auxiliary_losses


@MODELS.register_module()
class AlignedSingleStageDetector(SingleStageDetector):
    """mmdet's one-stage detector, which also trains what its neck keeps for ``auxiliary_loss``.

    Arguments are those of ``SingleStageDetector``; an ordinary neck gives the ordinary detector.
    """

    def loss(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> dict[str, Tensor]:
        """Losses of the head and of all parts that have some of their own.

        Args:
            batch_inputs: (N, 3, H, W) images, normalised.
            batch_data_samples: N samples with truth in pixels of the input.

        Returns:
            Loss terms by name, those of parts behind their path.
        """
        losses: dict[str, Tensor] = super().loss(batch_inputs, batch_data_samples)
        losses.update(auxiliary_losses(self, batch_data_samples))
        return losses
