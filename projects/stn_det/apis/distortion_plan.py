"""Which distortions a benchmark measures, at which levels."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..datasets.distortions import DISTORTIONS
from ..errors import ConfigError, InputError
from .suggest import did_you_mean

# 'perspective' is measured when asked for, 'shift' where there is a second image to move.
DEFAULT_FAMILIES = ('rotation', 'scale', 'shear', 'obliquity')
PAIR_FAMILY = 'shift'


@dataclass(frozen=True)
class Settings:
    """What holds for all models and levels of a benchmark."""

    seed: int = 0
    """Chooses the images, and the direction of shear, obliquity and shift in each."""
    max_images: int | None = None
    """Number of images; None takes all."""
    min_visible: float = 0.75
    """Share of an object that must be inside of the frame at every level of a family for it to count."""

    def __post_init__(self) -> None:
        if self.max_images is not None and self.max_images < 1:
            raise InputError(f'max_images is {self.max_images}; expected 1 or more.')
        if not 0 <= self.min_visible <= 1:
            raise InputError(f'min_visible is {self.min_visible}; expected a share from 0 to 1.')


def model_names(models: Sequence[tuple[Any, Any]], names: Sequence[str] | None = None) -> list[str]:
    """Names of the models of a comparison: those given, else the names of the configs, with the checkpoint's if needed.

    Args:
        models: pairs of config (a path or a loaded one) and checkpoint.
        names: one for each model.

    Raises:
        InputError: when there is no model, a name is missing, or two models would have one.
    """
    if not models:
        raise InputError('no models were given; expected at least one pair of config and checkpoint.')
    if names is not None and len(names) != len(models):
        raise InputError(f'{len(names)} names are given for {len(models)} models; expected one for each.')
    stems = [Path(str(getattr(config, 'filename', config))).stem for config, _ in models]
    if names is None:
        weights = [Path(str(checkpoint)).stem for _, checkpoint in models]
        names = [stem if stems.count(stem) == 1 else f'{stem} {weight}' for stem, weight in zip(stems, weights)]
    double = [name for name in names if [file_name(other) for other in names].count(file_name(name)) > 1]
    if double:
        raise InputError(f'several models would be called {double[0]!r}; give a name to each with names, or --names.')
    return list(names)


def file_name(name: str) -> str:
    """A name of a model as that of a folder."""
    return re.sub(r'[^\w.-]+', '_', name)


def parse_levels(items: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """``['rotation=0,45,90']`` as ``{'rotation': (0.0, 45.0, 90.0)}``.

    Raises:
        InputError: when an item is not of that form.
    """
    levels = {}
    for item in items:
        family, _, numbers = item.partition('=')
        try:
            levels[family] = tuple(float(number) for number in numbers.split(','))
        except ValueError as error:
            raise InputError(
                f'levels {item!r} are not of the form family=number,number, as rotation=0,45,90.'
            ) from error
    return levels


def plan_levels(
    families: Sequence[str] | None, levels: Mapping[str, Sequence[float]] | None, paired: bool
) -> dict[str, tuple[float, ...]]:
    """Levels to measure by family, the identity always among them.

    Args:
        families: names; None takes those of ``levels``, else the usual ones.
        levels: levels of some families, in place of their default ones.
        paired: whether the samples hold a second image, which the sensor shift moves.

    Raises:
        InputError: when a family is unknown or has levels without being measured, or a level is out of range.
        ConfigError: when a sensor shift is asked for where there is no second image.
    """
    given = dict(levels or {})
    chosen = list(families or given or (*DEFAULT_FAMILIES, *([PAIR_FAMILY] if paired else [])))
    for name in (*chosen, *given):
        if name not in DISTORTIONS:
            hint = did_you_mean(name, DISTORTIONS) or f' They are {", ".join(DISTORTIONS)}.'
            raise InputError(f'there is no family of distortions {name!r}.{hint}')
        if name not in chosen:
            raise InputError(f'levels are given for {name}, which is not among the families {", ".join(chosen)}.')
    if PAIR_FAMILY in chosen and not paired:
        raise ConfigError(
            f'{PAIR_FAMILY} moves the second image of a pair, but not every config loads one. A transform that does '
            "names its entry of the sample in its attribute image_keys, such as ('second_img',)."
        )
    return {name: DISTORTIONS[name].check_levels(given.get(name) or DISTORTIONS[name].levels) for name in chosen}
