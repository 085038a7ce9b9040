"""Label files in XML: finding the objects, and their numbers, with errors that name file, object and field."""

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from stn_det.errors import AnnotationError

from .numbers import parse_number


def xml_objects(text: str, source: str, root: str, path: str) -> Iterator[tuple[str, Element]]:
    """The objects of a file as pairs (file and number of the object, element).

    Args:
        text: Content of the file.
        source: Name of the file, for messages.
        root: Name that the outermost element must have.
        path: Path of the objects below it.

    Raises:
        AnnotationError: The file is not XML (empty or cut off, for example), or its outermost element is another.
    """
    try:
        tree = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise AnnotationError(
            f'{source}: not XML: {error}. Expected <{root}> with objects in {path}. Get the file anew.'
        ) from error
    if tree.tag != root:
        raise AnnotationError(f'{source}: the outermost element is <{tree.tag}>, expected <{root}>. Check ann_file.')
    for number, element in enumerate(tree.iterfind(path), 1):
        yield f'{source}: object {number}', element


def field_text(element: Element, name: str, where: str) -> str:
    """Text of a field of an object.

    Raises:
        AnnotationError: There is no such field, or nothing in it.
    """
    text = (element.findtext(name) or '').strip()
    if not text:
        state = 'has no' if element.find(name) is None else 'has an empty'
        raise AnnotationError(f'{where} {state} <{name}>. Correct or remove the object.')
    return text


def field_numbers(element: Element, names: Sequence[str], where: str) -> tuple[float, ...]:
    """Numbers in fields of an object.

    Raises:
        AnnotationError: A field is missing or holds no finite number.
    """
    values = []
    for name in names:
        text = field_text(element, name, where)
        value = parse_number(text)
        if value is None or not math.isfinite(value):
            raise AnnotationError(
                f"{where}: <{name}> is '{text}', expected a finite number. Correct or remove the object."
            )
        values.append(value)
    return tuple(values)


def difficult_flag(element: Element, where: str) -> int:
    """0 or 1 of the field ``difficult``; 0 where there is none.

    Raises:
        AnnotationError: It is neither 0 nor 1.
    """
    text = (element.findtext('difficult') or '0').strip()
    if text not in ('0', '1'):
        raise AnnotationError(f"{where}: <difficult> is '{text}', expected 0 or 1. Correct or remove the field.")
    return int(text)
