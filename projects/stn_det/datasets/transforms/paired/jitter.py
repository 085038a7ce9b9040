"""A known misalignment between the sensors, random or fixed."""

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from stn_det.errors import ConfigError, InputError
from stn_det.geometry import rotation_matrix, scaling, translation

from ..common import check_probability
from .warp import check_second, current_matrix


@TRANSFORMS.register_module()
class JitterSecond(BaseTransform):
    """Move the second image against the first: to train aligners, or to measure what a misalignment costs.

    The second image is scaled and rotated about the centre of the first and then shifted. Put it before
    ``WarpSecondLikeFirst``, which carries it out together with the geometry of the pair, in one resampling, and records
    the true ``second_from_first``. Labels stay, since they belong to the first sensor. Pixels are those of the first
    image where the transform stands in the pipeline.

    Args:
        shift: Length of the shift in pixels, in a random direction: ``(low, high)``, or a number a for (0, a). (8, 8)
            shifts every image by 8 pixels.
        rotation: Degrees, clockwise on screen: ``(low, high)``, or a number a for (-a, a).
        scale: Factor ``(low, high)``.
        prob: Probability of moving at all.
        seed: None draws anew each time. A number makes the draw depend on it and on ``img_id`` alone, so that an image
            is misaligned in the same way in every epoch, run and process.

    Raises:
        ConfigError: An argument is out of range.
        InputError: There is no second image, it was warped already, or a seed is set and ``img_id`` is missing.
    """

    def __init__(
        self,
        shift: float | Sequence[float] = 0.0,
        rotation: float | Sequence[float] = 0.0,
        scale: Sequence[float] = (1.0, 1.0),
        prob: float = 1.0,
        seed: int | None = None,
    ) -> None:
        self.shift = _range('shift', (0.0, shift) if isinstance(shift, (int, float)) else shift, 0.0, math.inf)
        pair = (-rotation, rotation) if isinstance(rotation, (int, float)) else rotation
        self.rotation = _range('rotation', pair, -360.0, 360.0)
        self.scale = _range('scale', scale, 0.1, 10.0)
        self.prob = check_probability(prob, 'JitterSecond')
        self.seed = seed

    def transform(self, results: dict) -> dict:
        """Put the move into ``second_jitter``, in the frame of the first image's file."""
        check_second(results, 'JitterSecond')
        rng: Any = random
        if self.seed is not None:
            if 'img_id' not in results:
                raise InputError('JitterSecond: the sample has no img_id, on which a draw with a seed depends.')
            rng = random.Random(f'{self.seed} {results["img_id"]}')
        if rng.random() >= self.prob:
            return results
        height, width = results['img_shape']
        move = self._draw(rng, (width / 2, height / 2))
        current = current_matrix(results)
        move = np.linalg.inv(current) @ move @ current
        results['second_jitter'] = move @ results.get('second_jitter', np.eye(3))
        return results

    def _draw(self, rng: Any, centre: tuple[float, float]) -> np.ndarray:
        """Draw a matrix ``(3, 3)`` float64, moved from unmoved."""
        length, direction = rng.uniform(*self.shift), rng.uniform(0, 2 * math.pi)
        degrees, scale = rng.uniform(*self.rotation), rng.uniform(*self.scale)
        move = (
            translation(length * math.cos(direction), length * math.sin(direction))
            @ rotation_matrix(math.radians(degrees), centre)
            @ scaling(scale, scale, centre)
        )
        return np.asarray(move.numpy())

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(shift={self.shift}, rotation={self.rotation}, scale={self.scale}, '
            f'prob={self.prob}, seed={self.seed})'
        )


def _range(name: str, value: Any, low: float, high: float) -> tuple[float, float]:
    """Return ``value`` as ``(low, high)`` in order and within limits."""
    is_pair = isinstance(value, Sequence) and len(value) == 2 and all(isinstance(item, (int, float)) for item in value)
    if not is_pair or not low <= value[0] <= value[1] <= high or not math.isfinite(value[1]):
        limits = f'from {low:g} to {high:g}' if math.isfinite(high) else f'of at least {low:g}'
        raise ConfigError(f'JitterSecond: {name} is {value!r}, expected (low, high) with low <= high, {limits}.')
    return float(value[0]), float(value[1])
