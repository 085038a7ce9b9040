"""Packs both sensors' images for the model."""

from collections.abc import Sequence

import numpy as np
import torch
from mmdet.datasets.transforms import PackDetInputs
from mmdet.registry import TRANSFORMS
from torch import Tensor

from stn_det.errors import InputError

from .warp import current_matrix

_META_KEYS = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction')
_PAIR_KEYS = ('second_img_path', 'second_ori_shape', 'second_from_first')


@TRANSFORMS.register_module()
class PackPairedInputs(PackDetInputs):
    """Pack as mmdet's ``PackDetInputs`` does, and the second image as ``second_inputs``.

    ``inputs`` stays the first image, so a detector of one sensor, with mmdet's own preprocessor, runs on the same
    pipeline and passes over the second.

    Args:
        meta_keys: Keys of the sample to hand on as metadata; ``second_img_path``, ``second_ori_shape`` and
            ``second_from_first`` come on top.

    Raises:
        InputError: There is no second image, or it does not lie in the frame of the first.
    """

    def __init__(self, meta_keys: Sequence[str] = _META_KEYS) -> None:
        super().__init__(meta_keys=(*meta_keys, *(key for key in _PAIR_KEYS if key not in meta_keys)))

    def transform(self, results: dict) -> dict:
        """Pack a sample.

        Returns:
            ``inputs`` ``(C1, H, W)``, ``second_inputs`` ``(C2, H, W)`` and ``data_samples``.
        """
        self._check(results)
        packed: dict = super().transform(results)
        packed['second_inputs'] = _to_tensor(results['second_img'])
        return packed

    @staticmethod
    def _check(results: dict) -> None:
        if not isinstance(results.get('second_img'), np.ndarray):
            raise InputError('PackPairedInputs: there is no second image. Put LoadSecondImageFromFile before it.')
        if 'second_follows' not in results:
            raise InputError('PackPairedInputs: the second image was not warped. Put WarpSecondLikeFirst before it.')
        first, second = results['img'].shape[:2], results['second_img'].shape[:2]
        if first != second or not np.array_equal(results['second_follows'], current_matrix(results)):
            raise InputError(
                f'PackPairedInputs: the first image, now {first[1]}x{first[0]} pixels (width x height), was moved '
                f'after the second, {second[1]}x{second[0]}. Put WarpSecondLikeFirst after all geometric transforms.'
            )


def _to_tensor(image: np.ndarray) -> Tensor:
    """Image ``(H, W)`` or ``(H, W, C)`` as a tensor ``(C, H, W)``: uint8 as it is, all else in float32."""
    pixels = image if image.dtype == np.uint8 else image.astype(np.float32)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
