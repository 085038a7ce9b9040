"""What readers of label files give for an object."""

from typing import NamedTuple


class LabelledQuad(NamedTuple):
    """An object of a label file.

    Attributes:
        corners: ``(x1, y1, x2, y2, x3, y3, x4, y4)`` in pixels.
        label: Position of its class among the classes.
        difficult: 0 for an ordinary object.
        where: File and place in it, for messages.
    """

    corners: tuple[float, ...]
    label: int
    difficult: int
    where: str
