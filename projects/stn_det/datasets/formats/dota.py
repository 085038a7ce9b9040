"""The DOTA label format: one object a line, four corners, class name and an optional difficult flag.

Described in "DOTA: A Large-scale Dataset for Object Detection in Aerial Images", https://arxiv.org/abs/1711.10398.
Lines such as ``imagesource:GoogleEarth`` and ``gsd:0.15`` may stand before the first object.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stn_det.errors import AnnotationError

from .classes import class_index
from .numbers import first_non_finite, leading_numbers, parse_number

_HEADER = re.compile(r'^\s*([A-Za-z][A-Za-z _-]*?)\s*:\s*(.*?)\s*$')
_NO_VALUE = ('', 'null', 'none', 'nan')
_EXPECTED = "expected 'x1 y1 x2 y2 x3 y3 x4 y4 class difficult' in pixels, the difficult flag being optional"


@dataclass(frozen=True)
class DotaObject:
    """One line of a DOTA label file.

    Attributes:
        corners: ``(x1, y1, x2, y2, x3, y3, x4, y4)`` in pixels.
        name: Class name.
        label: Position of the name among the classes.
        difficult: 0 for an ordinary object; DOTA writes 1 or 2 for difficult ones.
        line: Number of the line in the file, from 1.
    """

    corners: tuple[float, ...]
    name: str
    label: int
    difficult: int
    line: int


def parse_dota_header(text: str, source: str) -> dict[str, str | float | None]:
    """Read the ``key:value`` lines before the first object.

    Args:
        text: Content of the file.
        source: Name of the file, for messages.

    Returns:
        The values by key as written; 'gsd' (metres per pixel) is always there, as a float or None.

    Raises:
        AnnotationError: The gsd is neither a positive number nor null.
    """
    header: dict[str, str | float | None] = {'gsd': None}
    for number, line in enumerate(text.lstrip('\ufeff').splitlines(), 1):
        match = _HEADER.match(line)
        if match is None:
            if line.strip():
                break
            continue
        key, value = match.groups()
        header[key] = _parse_gsd(value, f'{source}:{number}', line) if key == 'gsd' else value
    return header


def parse_dota_lines(text: str, classes: Sequence[str], source: str, unknown_class: str = 'error') -> list[DotaObject]:
    """Read the objects of a DOTA label file.

    Args:
        text: Content of the file; a byte-order mark and Windows line ends do no harm.
        classes: Class names; the position is the label.
        source: Name of the file, for messages.
        unknown_class: 'error' raises for other classes; 'ignore' leaves their objects out.

    Returns:
        One record for each object, in the order of the file; zero-area objects are among them.

    Raises:
        AnnotationError: A line is not an object: wrong number of corners, not a number, NaN, infinite, bad flag,
            or every coordinate of the file lies in [0, 1].
        ClassMismatchError: A class is not among ``classes``.
    """
    objects = []
    for number, line in _object_lines(text):
        where = f'{source}:{number}'
        corners, name, difficult = _split_line(line, where)
        label = class_index(name, classes, f"{where}: '{line}'", unknown_class)
        if label is not None:
            objects.append(DotaObject(corners, name, label, difficult, number))
    _reject_normalised(objects, source)
    return objects


def _object_lines(text: str) -> Iterator[tuple[int, str]]:
    in_header = True
    for number, line in enumerate(text.lstrip('\ufeff').splitlines(), 1):
        line = line.strip()
        if not line or (in_header and _HEADER.match(line)):
            continue
        in_header = False
        yield number, line


def _split_line(line: str, where: str) -> tuple[tuple[float, ...], str, int]:
    fields = line.split()
    numbers = leading_numbers(fields)
    if len(fields) not in (9, 10) or numbers != 8:
        raise AnnotationError(f"{where}: '{line}': {_describe_fields(fields, numbers)}; {_EXPECTED}.")
    corners = tuple(float(field) for field in fields[:8])
    bad = first_non_finite(corners)
    if bad is not None:
        raise AnnotationError(
            f"{where}: '{line}': coordinate {bad + 1} is {corners[bad]}, expected a finite number of pixels. "
            'Correct or remove the line.'
        )
    return corners, fields[8], _parse_difficult(fields[9] if len(fields) == 10 else '0', line, where)


def _describe_fields(fields: list[str], numbers: int) -> str:
    if ',' in fields[0]:
        return 'the fields are separated by commas, write spaces'
    if numbers >= 9 and len(fields) == numbers:
        return f'{numbers} numbers and no class name; this looks like YOLO-OBB, convert it to class names and pixels'
    if numbers < 8 and len(fields) in (9, 10):
        return f"'{fields[numbers]}' stands where coordinate {numbers + 1} should be a number"
    if numbers == 8 and len(fields) > 10:
        return f'{len(fields) - 8} fields after the corners; class names hold no spaces, write a hyphen instead'
    if numbers == 8:
        return 'no class name after the corners'
    return f'{numbers / 2:g} corners ({numbers} numbers) before the class name, four corners (8 numbers) needed'


def _parse_difficult(field: str, line: str, where: str) -> int:
    value = parse_number(field)
    if value is None or value < 0 or value != int(value):
        raise AnnotationError(
            f"{where}: '{line}': the difficult flag is '{field}', expected 0 (ordinary), 1 or 2 (difficult). "
            'Correct the last field or leave it out.'
        )
    return int(value)


def _parse_gsd(value: str, where: str, line: str) -> float | None:
    if value.lower() in _NO_VALUE:
        return None
    gsd = parse_number(value)
    if gsd is None or not 0 < gsd < float('inf'):
        raise AnnotationError(
            f"{where}: '{line}': gsd is '{value}', expected metres per pixel as a positive number, or null. "
            'Correct or remove the line.'
        )
    return gsd


def _reject_normalised(objects: list[DotaObject], source: str) -> None:
    """Pixel boxes never all fit into one pixel, so this is a file of relative coordinates."""
    if not objects or any(not 0 <= value <= 1 for item in objects for value in item.corners):
        return
    if all(set(item.corners) <= {0.0, 1.0} for item in objects):
        return
    raise AnnotationError(
        f'{source}:{objects[0].line}: all coordinates of the file lie between 0 and 1, expected pixels. '
        'Multiply x by the width and y by the height of the image.'
    )
