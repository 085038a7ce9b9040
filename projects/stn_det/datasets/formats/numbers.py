"""Checks of single numbers and quadrilaterals that the readers share."""

import math
from collections.abc import Sequence

# Twice the area, in square pixels, of the largest triangle between corners below which they lie on one line.
COLLINEAR_TOLERANCE = 1e-6


def parse_number(text: str) -> float | None:
    """Return the text as a float (NaN and infinities included), or None when it is no number."""
    try:
        return float(text)
    except ValueError:
        return None


def leading_numbers(fields: Sequence[str]) -> int:
    """Count the fields at the start that read as numbers."""
    count = 0
    for field in fields:
        if parse_number(field) is None:
            break
        count += 1
    return count


def is_zero_area_quad(corners: Sequence[float]) -> bool:
    """Tell whether four corners ``(x1, y1, ..., x4, y4)`` in pixels all lie on one line, so that they enclose nothing.

    Corners in crossing order enclose something and do not count.
    """
    x0, y0 = corners[0], corners[1]
    arms = [(corners[i] - x0, corners[i + 1] - y0) for i in (2, 4, 6)]
    crosses = [abs(a[0] * b[1] - a[1] * b[0]) for i, a in enumerate(arms) for b in arms[i + 1 :]]
    return max(crosses) <= COLLINEAR_TOLERANCE


def first_non_finite(values: Sequence[float]) -> int | None:
    """Return the position of the first NaN or infinity, or None."""
    return next((i for i, value in enumerate(values) if not math.isfinite(value)), None)
