"""COCO-like JSON with oriented boxes: ``bbox = [cx, cy, w, h, theta]`` or four corners.

The layout is COCO's, "Microsoft COCO: Common Objects in Context", https://arxiv.org/abs/1405.0312. HIT-UAV
(https://doi.org/10.1038/s41597-023-02066-6) writes the image name as ``filename``, category ids from 0, and neither
``area`` nor ``iscrowd``; both spellings are read.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stn_det.errors import AnnotationError, ClassMismatchError

from .classes import class_index, suggestion
from .numbers import first_non_finite

_SECTIONS = ('images', 'annotations', 'categories')
_IMAGE_KEYS = ('id', 'file_name', 'filename', 'width', 'height')
# Beyond two turns an angle in radians is no angle any more, but it is common for degrees.
_LARGEST_RADIANS = 4 * math.pi


@dataclass(frozen=True)
class CocoObject:
    """One annotation.

    Attributes:
        box: ``(cx, cy, w, h, theta)`` with theta in radians, clockwise on screen, or eight numbers, the corners.
        label: Position of the category among the classes; -1 for an ignored category.
        ignore_reason: '' for an ordinary object, else 'ignore-class', 'crowd' or 'difficult'.
        where: File and annotation, for messages.
    """

    box: tuple[float, ...]
    label: int
    ignore_reason: str
    where: str


@dataclass(frozen=True)
class CocoImage:
    """One image with its annotations; ``width`` and ``height`` are None when the file does not give them."""

    id: Any
    file_name: str
    width: int | None
    height: int | None
    meta: dict[str, Any]
    objects: list[CocoObject] = field(default_factory=list)


def load_rotated_coco(path: str) -> dict[str, Any]:
    """Read the JSON file and check its sections.

    Raises:
        AnnotationError: The file is missing, empty, not JSON, or lacks images, annotations or categories.
    """
    file = Path(path)
    if not file.is_file():
        kind = 'is a folder' if file.is_dir() else 'does not exist'
        raise AnnotationError(f'annotation file {path} {kind}, expected a JSON file. Check data_root and ann_file.')
    text = file.read_bytes()
    if not text.strip():
        raise AnnotationError(
            f'{path}: the file is empty ({len(text)} bytes), expected a JSON object. Export it again.'
        )
    try:
        payload = json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise AnnotationError(
            f'{path}: not valid JSON: {error}. Expected an object with {", ".join(_SECTIONS)}. '
            'Export the file again; it may be cut short.'
        ) from error
    missing = [key for key in _SECTIONS if not isinstance(payload, dict) or not isinstance(payload.get(key), list)]
    if missing:
        raise AnnotationError(
            f'{path}: no list named {", ".join(missing)}. Expected a JSON object with the lists {", ".join(_SECTIONS)}.'
        )
    return payload


def parse_rotated_coco(
    payload: dict[str, Any],
    classes: Sequence[str],
    source: str,
    ignore_classes: Iterable[str] = (),
    unknown_class: str = 'error',
    angle_unit: str = 'rad',
    angle_direction: str = 'cw',
) -> list[CocoImage]:
    """Turn the sections into images with their objects.

    Args:
        payload: Object with the lists images, annotations and categories.
        classes: Class names; the position is the label.
        source: Name of the file, for messages.
        ignore_classes: Categories whose objects become ignored regions of every class (label -1).
        unknown_class: 'error' raises for a category outside both; 'ignore' leaves its objects out.
        angle_unit: 'rad' or 'deg', the unit of theta in the file.
        angle_direction: 'cw' or 'ccw', the sense of a positive theta in the file as seen on screen.

    Returns:
        The images in the order of the file.

    Raises:
        AnnotationError: An image or annotation cannot be used; the message names it by position and id.
        ClassMismatchError: A category is neither a class nor ignored.
    """
    factor = (math.pi / 180 if angle_unit == 'deg' else 1.0) * (-1.0 if angle_direction == 'ccw' else 1.0)
    labels = _category_labels(payload['categories'], classes, source, tuple(ignore_classes), unknown_class)
    images = _parse_images(payload['images'], source)
    by_image: dict[Any, list[CocoObject]] = defaultdict(list)
    for position, annotation in enumerate(payload['annotations']):
        where = f'{source}: annotation {position} (id {_get(annotation, "id")})'
        _check_references(annotation, where, images, labels)
        label = labels[annotation['category_id']]
        if label is not None:
            reason = 'ignore-class' if label < 0 else _ignore_reason(annotation)
            box = _parse_box(annotation, where, factor, angle_unit)
            by_image[annotation['image_id']].append(CocoObject(box, label, reason, where))
    for key, objects in by_image.items():
        images[key].objects.extend(objects)
    return list(images.values())


def _get(item: Any, key: str) -> Any:
    return item.get(key) if isinstance(item, dict) else None


def _category_labels(
    categories: list[Any], classes: Sequence[str], source: str, ignored: tuple[str, ...], unknown_class: str
) -> dict[Any, int | None]:
    labels: dict[Any, int | None] = {}
    for position, category in enumerate(categories):
        where = f'{source}: category {position}'
        if _get(category, 'id') is None or not isinstance(_get(category, 'name'), str):
            raise AnnotationError(
                f"{where}: {category!r}, expected an object with 'id' and 'name'. Complete the entry."
            )
        if category['id'] in labels:
            raise AnnotationError(f'{where}: id {category["id"]} occurs twice, expected unique ids. Renumber them.')
        name = category['name']
        remedy = f" To make regions to ignore of them: ignore_classes=('{name}',)."
        labels[category['id']] = -1 if name in ignored else class_index(name, classes, where, unknown_class, remedy)
    if not any(label is not None and label >= 0 for label in labels.values()):
        names = [category['name'] for category in categories]
        raise ClassMismatchError(
            f'{source}: none of its categories {names} is among the classes {list(classes)}. '
            'Set metainfo=dict(classes=(...)).'
        )
    return labels


def _parse_images(entries: list[Any], source: str) -> dict[Any, CocoImage]:
    images: dict[Any, CocoImage] = {}
    for position, entry in enumerate(entries):
        where = f'{source}: image {position} (id {_get(entry, "id")})'
        name = _get(entry, 'file_name') or _get(entry, 'filename')
        if _get(entry, 'id') is None or not isinstance(name, str):
            raise AnnotationError(
                f"{where}: expected 'id' and 'file_name' (or 'filename'). Complete the entry: {entry!r}."
            )
        if entry['id'] in images:
            raise AnnotationError(f'{where}: the id occurs twice, expected unique image ids. Renumber them.')
        sizes = [_parse_side(entry, key, where) for key in ('width', 'height')]
        meta = {key: value for key, value in entry.items() if key not in _IMAGE_KEYS}
        images[entry['id']] = CocoImage(entry['id'], name, sizes[0], sizes[1], meta)
    return images


def _parse_side(entry: dict[str, Any], key: str, where: str) -> int | None:
    value = entry.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value or value <= 0 or value % 1:
        raise AnnotationError(
            f'{where}: {key} is {value!r}, expected a whole number of pixels above 0. Correct the entry.'
        )
    return int(value)


def _check_references(annotation: Any, where: str, images: dict[Any, Any], labels: dict[Any, Any]) -> None:
    for key, known in (('image_id', images), ('category_id', labels)):
        value = _get(annotation, key)
        if not isinstance(value, (int, str)) or value not in known:
            hint = suggestion(value, [str(k) for k in known]) if isinstance(value, str) else ''
            raise AnnotationError(
                f'{where}: {key} is {value!r}, expected one of the {len(known)} ids in the file.{hint} '
                'Remove the annotation or add what it refers to.'
            )


def _ignore_reason(annotation: dict[str, Any]) -> str:
    if annotation.get('iscrowd'):
        return 'crowd'
    return 'difficult' if annotation.get('difficult') else ''


def _parse_box(annotation: dict[str, Any], where: str, factor: float, angle_unit: str) -> tuple[float, ...]:
    values = _box_values(annotation, where)
    bad = first_non_finite(values)
    if bad is not None:
        raise AnnotationError(
            f'{where}: value {bad + 1} of the box {values} is not finite. Correct or remove the annotation.'
        )
    if len(values) == 8:
        return values
    cx, cy, width, height, theta = values
    if width < 0 or height < 0:
        raise AnnotationError(
            f'{where}: the box {values} has a negative width or height, expected [cx, cy, w, h, theta] with w, h >= 0. '
            'Correct or remove the annotation.'
        )
    if angle_unit == 'rad' and abs(theta) > _LARGEST_RADIANS:
        raise AnnotationError(
            f"{where}: theta is {theta}, too large for radians. If the file holds degrees, set angle_unit='deg'."
        )
    return cx, cy, width, height, theta * factor


def _box_values(annotation: dict[str, Any], where: str) -> tuple[float, ...]:
    box = annotation.get('bbox')
    if not isinstance(box, list) or len(box) not in (5, 8):
        polygon = annotation.get('segmentation')
        if isinstance(polygon, list) and len(polygon) == 1 and isinstance(polygon[0], list):
            polygon = polygon[0]
        if not isinstance(polygon, list) or len(polygon) != 8:
            raise AnnotationError(
                f'{where}: bbox is {box!r}, expected [cx, cy, w, h, theta], or 8 corner numbers in bbox or '
                'segmentation. An axis-aligned box says nothing about orientation; export oriented boxes.'
            )
        box = polygon
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in box):
        raise AnnotationError(f'{where}: the box {box!r} holds something that is no number. Correct the annotation.')
    return tuple(float(value) for value in box)
