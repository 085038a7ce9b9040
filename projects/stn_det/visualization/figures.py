"""Figures on white paper, all of one look, drawn without touching matplotlib's global state."""

import io
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from stn_det.errors import InputError

from .files import write_atomically
from .palette import class_colors

PAPER_LIGHTEST = 74.0


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, at 130 pixels an inch."""
    figure = Figure(figsize=(width, height), dpi=130, layout='constrained', facecolor='white')
    FigureCanvasAgg(figure)
    return figure


def style_axes(axes: Axes, title: str, x_label: str) -> None:
    """Give axes a heading, a label and a light grid."""
    axes.set_title(title, loc='left', fontsize=11, fontweight='bold')
    axes.set_xlabel(x_label)
    axes.grid(True, color='0.9', linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ('top', 'right'):
        axes.spines[side].set_visible(False)


def save_figure(figure: Figure, out_file: str | Path) -> Path:
    """Write a figure through a temporary file; folders are made.

    Raises:
        InputError: the name has an unknown ending.
    """
    buffer = io.BytesIO()
    suffix = Path(out_file).suffix.lower().lstrip('.')
    if suffix not in ('png', 'svg', 'pdf', 'jpg', 'jpeg'):
        raise InputError(f'figure file {Path(out_file).name!r} ends in {suffix!r}; expected .png, .svg, .pdf or .jpg')
    figure.savefig(buffer, format=suffix)
    return write_atomically(out_file, buffer.getvalue())


def paper_colors(count: int) -> list[tuple[float, ...]]:
    """Class colours that show on white paper, red, green and blue in [0, 1]."""
    return [tuple(channel / 255 for channel in color) for color in class_colors(count, lightest=PAPER_LIGHTEST)]
