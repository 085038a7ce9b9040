"""Losses of modules to which mmdet gives no truth: necks, front ends, anything inside of a detector."""

from mmdet.structures import SampleList
from torch import Tensor, nn


def auxiliary_losses(module: nn.Module, batch_data_samples: SampleList) -> dict[str, Tensor]:
    """Loss terms of all parts of a model that have a method ``auxiliary_loss(batch_data_samples)``.

    Such a part keeps in training what its forward pass made, and compares it with the truth here. Call this once after
    the forward pass, with the truth in the frame that the parts have seen.

    Args:
        module: Model whose parts are asked, the module itself included.
        batch_data_samples: N samples with truth in pixels of the network's input.

    Returns:
        Scalars by name, each behind the path of its part: ``neck.1.loss_frame_angle``.
    """
    losses = {}
    for path, part in module.named_modules():
        if hasattr(part, 'auxiliary_loss'):
            terms = part.auxiliary_loss(batch_data_samples)
            losses.update({f'{path}.{name}' if path else name: term for name, term in terms.items()})
    return losses
