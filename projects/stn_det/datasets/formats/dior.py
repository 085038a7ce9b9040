"""The label format of DIOR-R: XML after Pascal VOC, with four corners in ``robndbox``.

Described in "Anchor-Free Oriented Proposal Generator for Object Detection", https://arxiv.org/abs/2110.01931.
"""

from collections.abc import Sequence

from stn_det.errors import AnnotationError

from .classes import class_index
from .labelled_quad import LabelledQuad
from .xml_objects import difficult_flag, field_numbers, field_text, xml_objects

# Clockwise on screen from the top left one, as the file names them.
_CORNERS = tuple(
    f'{axis}_{place}' for place in ('left_top', 'right_top', 'right_bottom', 'left_bottom') for axis in 'xy'
)


def parse_dior(text: str, classes: Sequence[str], source: str, unknown_class: str = 'error') -> list[LabelledQuad]:
    """Read the objects of a DIOR-R label file.

    Args:
        text: Content of the file.
        classes: Class names in lower case, whatever case the file has; the position is the label.
        source: Name of the file, for messages.
        unknown_class: 'error' raises for other classes; 'ignore' leaves their objects out.

    Returns:
        One record for each object, in the order of the file.

    Raises:
        AnnotationError: The file is not XML of this kind, or an object lacks a name, a corner or a number.
        ClassMismatchError: A class is not among ``classes``.
    """
    objects = []
    for where, element in xml_objects(text, source, 'annotation', 'object'):
        label = class_index(field_text(element, 'name', where).lower(), classes, where, unknown_class)
        box = element.find('robndbox')
        if box is None:
            raise AnnotationError(
                f'{where} has no <robndbox>, expected one with four corners. Use the labels with oriented boxes, in '
                "'Annotations/Oriented Bounding Boxes'."
            )
        if label is not None:
            corners = field_numbers(box, _CORNERS, where)
            objects.append(LabelledQuad(corners, label, difficult_flag(element, where), where))
    return objects
