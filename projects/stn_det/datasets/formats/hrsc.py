"""The label format of HRSC2016: XML with centre, sizes and angle of each ship.

Described in "A High Resolution Optical Satellite Image Dataset for Ship Recognition and Some New Baselines",
https://doi.org/10.5220/0006120603240331. ``mbox_ang`` is in radians, clockwise on screen, and ``mbox_w`` is the size
along it.
"""

import math

from stn_det.errors import AnnotationError

from .labelled_quad import LabelledQuad
from .xml_objects import difficult_flag, field_numbers, xml_objects

_BOX = ('mbox_cx', 'mbox_cy', 'mbox_w', 'mbox_h', 'mbox_ang')


def parse_hrsc(text: str, source: str) -> list[LabelledQuad]:
    """Read the ships of an HRSC2016 label file, all as class 0.

    Args:
        text: Content of the file.
        source: Name of the file, for messages.

    Returns:
        One record for each ship, in the order of the file.

    Raises:
        AnnotationError: The file is not XML of this kind, a number is missing, a size is negative, or an angle is
            beyond two turns, which radians never are.
    """
    objects = []
    for where, element in xml_objects(text, source, 'HRSC_Image', 'HRSC_Objects/HRSC_Object'):
        cx, cy, w, h, theta = field_numbers(element, _BOX, where)
        if min(w, h) < 0:
            raise AnnotationError(f'{where}: size is {w:g} x {h:g}, expected no negative number. Correct the object.')
        if abs(theta) > 4 * math.pi:
            raise AnnotationError(f'{where}: <mbox_ang> is {theta:g}, expected radians. Correct the object.')
        objects.append(LabelledQuad(_corners(cx, cy, w, h, theta), 0, difficult_flag(element, where), where))
    return objects


def _corners(cx: float, cy: float, w: float, h: float, theta: float) -> tuple[float, ...]:
    """Corners in the order (-w, -h), (w, -h), (w, h), (-w, h) of the box's own frame."""
    cos, sin = math.cos(theta), math.sin(theta)
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    points = [(sx * w / 2, sy * h / 2) for sx, sy in signs]
    return tuple(value for x, y in points for value in (cx + x * cos - y * sin, cy + x * sin + y * cos))
