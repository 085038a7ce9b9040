"""Normalises and pads the images of two sensors."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmdet.models.utils.misc import samplelist_boxtype2tensor
from mmdet.registry import MODELS
from mmdet.utils import OptConfigType
from mmengine.model import BaseDataPreprocessor
from torch import Tensor, nn

from ...errors import ConfigError, InputError


class SensorNorm(nn.Module):
    """``(image - mean) / std`` of one sensor, channel by channel, computed in float32.

    The result has the type of the buffers: float32, or half precision in a model that was converted to it.

    Args:
        name: Name of the sensor, for messages.
        mean: One value for each channel, or one for all, in the units of the image.
        std: Likewise.
        bgr_to_rgb: Reverse the three channels first, as mmcv loads BGR; ``mean`` and ``std`` are then in RGB order.

    Raises:
        ConfigError: The values do not fit each other.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        bgr_to_rgb: bool = False,
    ) -> None:
        super().__init__()
        if len(mean) != len(std) or not mean or min(std) <= 0:
            raise ConfigError(
                f'{name}: mean is {tuple(mean)} and std {tuple(std)}, expected one value for each channel, or one for '
                'all, and std above 0.'
            )
        if bgr_to_rgb and len(mean) not in (1, 3):
            raise ConfigError(f'{name}: bgr_to_rgb needs 3 channels, but mean has {len(mean)} values.')
        self.name = name
        self.bgr_to_rgb = bgr_to_rgb
        self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std, dtype=torch.float32).view(-1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Normalise an image.

        Args:
            image: ``(C, H, W)`` of any type.

        Returns:
            ``(C, H, W)`` of the type of the buffers.

        Raises:
            InputError: The number of channels does not fit.
        """
        channels = image.shape[0]
        if self.mean.shape[0] not in (1, channels) or (self.bgr_to_rgb and channels != 3):
            raise InputError(
                f'{self.name} sensor: an image has {channels} channels, but mean and std have {self.mean.shape[0]} '
                f'values and bgr_to_rgb is {self.bgr_to_rgb}. Correct them, or color_type where the image is loaded.'
            )
        pixels = (image.flip(0) if self.bgr_to_rgb else image).float()
        return ((pixels - self.mean.float()) / self.std.float()).to(self.mean.dtype)


@MODELS.register_module()
class PairedDetDataPreprocessor(BaseDataPreprocessor):
    """Normalise each sensor by its own mean and std, and pad both to the size of the batch.

    Takes what ``PackPairedInputs`` packs. mmdet's detectors hand ``inputs`` on untouched, so a pair travels through
    ``forward(inputs, data_samples, mode)`` as a tuple.

    Args:
        first: ``dict(mean=..., std=..., bgr_to_rgb=...)`` of the first sensor, see ``SensorNorm``.
        second: The same of the second.
        pad_size_divisor: Height and width of the batch are multiples of it.
        pad_value: Value of the padding, after normalisation.
        boxtype2tensor: Whether to hand on boxes as tensors, which mmdet's heads expect.
        non_blocking: Whether copies to the device may be asynchronous.

    Raises:
        ConfigError: Means and stds do not fit each other.
    """

    def __init__(
        self,
        first: OptConfigType = None,
        second: OptConfigType = None,
        pad_size_divisor: int = 1,
        pad_value: float = 0.0,
        boxtype2tensor: bool = True,
        non_blocking: bool = False,
    ) -> None:
        super().__init__(non_blocking=non_blocking)
        self.first = SensorNorm('first', **(first or {}))
        self.second = SensorNorm('second', **(second or {}))
        self.pad_size_divisor = pad_size_divisor
        self.pad_value = pad_value
        self.boxtype2tensor = boxtype2tensor

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Bring a batch into the form that the model takes.

        Args:
            data: ``inputs`` and ``second_inputs``, N images ``(C, H, W)`` each, and ``data_samples`` or none.
            training: Not used.

        Returns:
            ``inputs``: tuple of the first sensor's ``(N, C1, H, W)`` and the second's ``(N, C2, H, W)``;
            ``data_samples`` with ``pad_shape`` and ``batch_input_shape``.

        Raises:
            InputError: A sensor is missing, or the images of a pair differ in size.
        """
        data = self.cast_data(data)
        firsts, seconds = data.get('inputs'), data.get('second_inputs')
        _check_pairs(firsts, seconds)
        shapes = [tuple(image.shape[-2:]) for image in firsts]
        padded = [tuple(self._round_up(side) for side in shape) for shape in shapes]
        size = (max(height for height, _ in padded), max(width for _, width in padded))
        inputs = (self._batch(firsts, self.first, size), self._batch(seconds, self.second, size))
        samples = data.get('data_samples')
        if samples is not None:
            for sample, pad_shape in zip(samples, padded):
                sample.set_metainfo(dict(batch_input_shape=size, pad_shape=pad_shape))
            if self.boxtype2tensor:
                samplelist_boxtype2tensor(samples)
        return dict(inputs=inputs, data_samples=samples)

    def _round_up(self, side: int) -> int:
        return math.ceil(side / self.pad_size_divisor) * self.pad_size_divisor

    def _batch(self, images: Sequence[Tensor], norm: SensorNorm, size: tuple[int, int]) -> Tensor:
        """Normalise N images, pad them on the right and below, and stack them."""
        padded = [
            F.pad(norm(image), (0, size[1] - image.shape[-1], 0, size[0] - image.shape[-2]), value=self.pad_value)
            for image in images
        ]
        return torch.stack(padded)


def _check_pairs(firsts: Any, seconds: Any) -> None:
    """See that a batch holds as many images of one sensor as of the other, and that each pair agrees in size."""
    for name, images in (('inputs', firsts), ('second_inputs', seconds)):
        if images is None or len(images) == 0:
            raise InputError(
                f'the batch has no {name}: one sensor is missing. End the pipeline with PackPairedInputs, or use '
                "mmdet's DetDataPreprocessor for one sensor."
            )
    if len(firsts) != len(seconds):
        raise InputError(f'the batch has {len(firsts)} images of the first sensor and {len(seconds)} of the second.')
    for index, (first, second) in enumerate(zip(firsts, seconds)):
        if first.shape[-2:] != second.shape[-2:]:
            raise InputError(
                f'pair {index} of the batch: the first image has height and width {tuple(first.shape[-2:])}, the '
                f'second {tuple(second.shape[-2:])}. WarpSecondLikeFirst in the pipeline makes them agree.'
            )
