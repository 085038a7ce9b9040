"""Class names: their look-up with suggestions, and colours for them."""

import colorsys
import difflib
from collections.abc import Iterable, Sequence

from stn_det.errors import ClassMismatchError, ConfigError

UNKNOWN_CLASS_CHOICES = ('error', 'ignore')


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the known name nearest to ``name``, or an empty string."""
    by_key = {str(other).lower().replace('_', '-').replace(' ', '-'): str(other) for other in known}
    key = name.lower().replace('_', '-').replace(' ', '-')
    near = difflib.get_close_matches(key, by_key, n=1, cutoff=0.6)
    return f" Did you mean '{by_key[near[0]]}'?" if near else ''


def class_index(
    name: str, classes: Sequence[str], where: str, unknown_class: str = 'error', remedy: str = ''
) -> int | None:
    """Return the label of a class name.

    Args:
        name: Class name as the annotation spells it.
        classes: Class names of the dataset; the position is the label.
        where: File and line, for the message.
        unknown_class: 'error' raises for a name outside ``classes``; 'ignore' returns None.
        remedy: One more way out that the format offers, for the message.

    Returns:
        The label in ``[0, len(classes))``, or None for a name that is left out.

    Raises:
        ClassMismatchError: The name is not among ``classes`` and ``unknown_class`` is 'error'.
    """
    if name in classes:
        return list(classes).index(name)
    if unknown_class == 'ignore':
        return None
    raise ClassMismatchError(
        f"{where}: class '{name}' is not among the classes of the dataset.{suggestion(name, classes)} "
        f'Expected one of: {", ".join(classes)}. Correct the annotation, name the classes with '
        "metainfo=dict(classes=(...)), or leave objects of other classes out with unknown_class='ignore'."
        f'{remedy}'
    )


def check_classes(classes: object) -> tuple[str, ...]:
    """Return the class names as a tuple after checking them.

    Raises:
        ConfigError: They are a single string, not strings, none at all, or a name occurs twice.
    """
    if isinstance(classes, str):
        raise ConfigError(
            f"metainfo: classes is the string '{classes}', expected a list or tuple of names. "
            f"A tuple of one name needs its comma: classes=('{classes}',)."
        )
    if not isinstance(classes, (list, tuple)) or not classes or not all(isinstance(name, str) for name in classes):
        raise ConfigError(
            f'metainfo: classes is {classes!r}, expected a non-empty list or tuple of names. '
            "Set metainfo=dict(classes=('plane', 'ship'))."
        )
    twice = sorted({name for name in classes if classes.count(name) > 1})
    if twice:
        raise ConfigError(f'metainfo: classes names {twice} more than once; every class needs one label. Remove these.')
    return tuple(classes)


def check_unknown_class(unknown_class: str) -> str:
    """Return the option after checking it.

    Raises:
        ConfigError: It is neither 'error' nor 'ignore'.
    """
    if unknown_class not in UNKNOWN_CLASS_CHOICES:
        raise ConfigError(f'unknown_class is {unknown_class!r}, expected one of {UNKNOWN_CLASS_CHOICES}.')
    return unknown_class


def make_palette(num_classes: int) -> list[tuple[int, int, int]]:
    """Return one bright RGB colour (0..255) for each class, neighbours far apart in hue.

    Hues step by the golden ratio, so that any number of first colours is spread over the circle.
    """
    palette = []
    for index in range(num_classes):
        hue = (0.02 + index * 0.618033988749895) % 1.0
        value = 1.0 if index % 2 == 0 else 0.82
        red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, value)
        palette.append((round(255 * red), round(255 * green), round(255 * blue)))
    return palette
