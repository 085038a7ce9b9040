"""Settings of the scene generator: one frozen dataclass, checked when it is made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from numbers import Integral
from typing import Any

from stn_det.errors import InputError

CLASSES = ('plane', 'ship', 'small-vehicle', 'large-vehicle', 'storage-tank', 'tennis-court')
"""Names of the labelled classes, in label order."""

KINDS = ('airfield', 'harbour', 'industrial', 'parking', 'residential', 'rural', 'sea', 'sports', 'tank-farm')
"""Names of the scene layouts."""

DEFAULT_KINDS = (
    ('airfield', 1.6),
    ('harbour', 1.5),
    ('industrial', 1.1),
    ('parking', 1.3),
    ('residential', 0.9),
    ('rural', 0.5),
    ('sea', 0.5),
    ('sports', 1.5),
    ('tank-farm', 1.4),
)

# Smallest and largest value that each range setting may take.
_LIMITS = {
    'gsd': (0.05, 2.0),
    'yaw': (-360.0, 360.0),
    'obliquity': (0.0, 60.0),
    'tilt_azimuth': (-360.0, 360.0),
    'sun_azimuth': (-360.0, 360.0),
    'sun_elevation': (15.0, 85.0),
    'object_scale': (0.5, 2.0),
    'blur': (0.0, 3.0),
    'noise': (0.0, 40.0),
    'haze': (0.0, 0.8),
    'second_scale': (0.5, 2.0),
    'second_rotation': (-180.0, 180.0),
    'second_shift': (-256.0, 256.0),
}


@dataclass(frozen=True)
class SceneConfig:
    """What the generator draws. Ranges are ``(low, high)``; one value is drawn uniformly from each, per scene.

    Args:
        size: Width and height of the image in pixels.
        gsd: Ground sample distance in metres per pixel; the default makes cars about 14 to 28 pixels long.
        yaw: Rotation of the whole scene in degrees, clockwise on screen.
        obliquity: Angle between the line of sight and the vertical in degrees, 0 to 60.
        tilt_azimuth: Direction of the line of sight in the image in degrees, clockwise from up.
        sun_azimuth: Direction towards the sun on the ground in degrees, clockwise from the ground's -y axis.
        sun_elevation: Height of the sun above the horizon in degrees.
        object_scale: Factor on the size of every labelled object.
        density: Factor on how full the scene is: parking stalls, berths, stands and so on; more than 0, at most 2.
        kinds: Layouts and their weights, a mapping or pairs; see ``KINDS``.
        blur: Standard deviation of the sensor's point spread in pixels.
        noise: Standard deviation of the sensor's noise in grey levels.
        haze: Share of the light that is haze.
        low_contrast: Probability that a scene is taken in dull light with little contrast.
        second: A second sensor of the same ground: ``None``, ``'infrared'`` or ``'sar'``.
        second_scale: Scale of the second image relative to the first.
        second_rotation: Rotation of the second image against the first in degrees.
        second_shift: Shift of the second image's centre along x and along y in pixels.
        second_perspective: Largest perspective term of the misalignment, in relative change over the image; 0 keeps
            the misalignment a similarity.

    Raises:
        InputError: If a setting is not usable; the message names it, its value and what was expected.
    """

    size: tuple[int, int] = (512, 512)
    gsd: tuple[float, float] = (0.16, 0.32)
    yaw: tuple[float, float] = (-180.0, 180.0)
    obliquity: tuple[float, float] = (0.0, 25.0)
    tilt_azimuth: tuple[float, float] = (0.0, 360.0)
    sun_azimuth: tuple[float, float] = (0.0, 360.0)
    sun_elevation: tuple[float, float] = (28.0, 62.0)
    object_scale: tuple[float, float] = (0.94, 1.06)
    density: float = 1.0
    kinds: tuple[tuple[str, float], ...] = DEFAULT_KINDS
    blur: tuple[float, float] = (0.35, 0.75)
    noise: tuple[float, float] = (1.0, 3.5)
    haze: tuple[float, float] = (0.0, 0.16)
    low_contrast: float = 0.15
    second: str | None = None
    second_scale: tuple[float, float] = (0.97, 1.03)
    second_rotation: tuple[float, float] = (-3.0, 3.0)
    second_shift: tuple[float, float] = (-12.0, 12.0)
    second_perspective: float = 0.0

    def __post_init__(self) -> None:
        """Bring ranges and kinds into one form and check every setting."""
        object.__setattr__(self, 'size', _size(self.size))
        for name, limits in _LIMITS.items():
            object.__setattr__(self, name, _range(name, getattr(self, name), *limits))
        object.__setattr__(self, 'kinds', _kinds(self.kinds))
        object.__setattr__(self, 'density', _number('density', self.density, 0.0, 2.0))
        if self.density == 0.0:
            raise InputError('density is 0.0; expected a number above 0 and at most 2 (1 is a normally full scene)')
        object.__setattr__(self, 'low_contrast', _number('low_contrast', self.low_contrast, 0.0, 1.0))
        object.__setattr__(self, 'second_perspective', _number('second_perspective', self.second_perspective, 0.0, 0.2))
        if self.second not in (None, 'infrared', 'sar'):
            raise InputError(f"second is {self.second!r}; expected None, 'infrared' or 'sar'")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON values; ``from_dict`` takes them back."""
        values = asdict(self)
        values['kinds'] = dict(self.kinds)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SceneConfig:
        """Build a config from the values of :meth:`to_dict`.

        Raises:
            InputError: If a name is not a setting, or a value does not fit.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise InputError(
                f'unknown scene setting(s) {", ".join(unknown)}; expected some of {", ".join(sorted(known))}'
            )
        return cls(**values)


def _number(name: str, value: Any, low: float, high: float) -> float:
    """Return ``value`` as a float within ``[low, high]``."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f'{name} is {value!r}; expected a number from {low:g} to {high:g}') from None
    if not math.isfinite(number) or not low <= number <= high:
        raise InputError(f'{name} is {value!r}; expected a number from {low:g} to {high:g}')
    return number


def _range(name: str, value: Any, low: float, high: float) -> tuple[float, float]:
    """Return ``value``, a number or a pair, as ``(low, high)`` within limits and in order."""
    pair = (value, value) if isinstance(value, (int, float)) else value
    try:
        first, second = pair
    except (TypeError, ValueError):
        raise InputError(f'{name} is {value!r}; expected two numbers (low, high) from {low:g} to {high:g}') from None
    first, second = _number(name, first, low, high), _number(name, second, low, high)
    if first > second:
        raise InputError(f'{name} is {value!r}; expected (low, high) with low <= high: swap the two numbers')
    return first, second


def _size(value: Any) -> tuple[int, int]:
    """Return ``value`` as (width, height) in pixels."""
    problem = f'size is {value!r}; expected (width, height) as two whole numbers from 64 to 4096'
    try:
        width, height = value
    except (TypeError, ValueError):
        raise InputError(problem) from None
    for side in (width, height):
        if isinstance(side, bool) or not isinstance(side, Integral) or not 64 <= side <= 4096:
            raise InputError(problem)
    return int(width), int(height)


def _kinds(value: Any) -> tuple[tuple[str, float], ...]:
    """Return ``value`` as sorted (kind, weight) pairs with a positive total."""
    pairs = value.items() if isinstance(value, Mapping) else value
    try:
        weights = {str(name): float(weight) for name, weight in pairs}
    except (TypeError, ValueError):
        raise InputError(f"kinds is {value!r}; expected weights by name, such as {{'parking': 1.0}}") from None
    for name, weight in weights.items():
        if name not in KINDS:
            raise InputError(f'kinds names {name!r}; expected some of {", ".join(KINDS)}')
        if not math.isfinite(weight) or weight < 0:
            raise InputError(f'kinds gives {name!r} the weight {weight!r}; expected a finite number of at least 0')
    if not sum(weights.values()) > 0:
        raise InputError(f'kinds is {value!r}; expected at least one weight above 0')
    return tuple(sorted(weights.items()))
