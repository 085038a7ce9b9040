"""Average precision over the strength of a distortion, one panel a family, one line a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from stn_det.errors import InputError

from .figures import new_figure, paper_colors, save_figure, style_axes

MARKERS = 'osD^vP'


@dataclass(frozen=True)
class DistortionPanel:
    """What one family of distortions does to a measure."""

    title: str
    x_label: str
    levels: Sequence[float]
    """L rising numbers."""
    curves: Mapping[str, Sequence[float | None]]
    """L values in [0, 1] by model, None where there is none."""
    identity: float = 0.0
    """The level that changes nothing, marked by a thin line."""
    logarithmic: bool = False
    """Whether levels are factors."""
    reference: Sequence[float | None] | None = None
    """L values in [0, 1], drawn dashed."""


def plot_distortion_curves(
    panels: Sequence[DistortionPanel], out_file: str | Path, measure: str = 'mAP', reference: str = ''
) -> Path:
    """Draw a measure of several models over the levels of families of distortions.

    Args:
        panels: one a family; a model has one colour in all of them.
        out_file: image file; folders are made.
        measure: what the values are, for the y axis.
        reference: what the dashed lines are, for the legend.

    Returns:
        The file.

    Raises:
        InputError: no panel, or ``out_file`` has an unknown ending.
    """
    if not panels:
        raise InputError('plot_distortion_curves got no panels; expected at least one family')
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(5.4 * columns, 3.8 * rows + 0.6)
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
    names = list(dict.fromkeys(name for panel in panels for name in panel.curves))
    colors = dict(zip(names, paper_colors(len(names))))
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, number + 1)
        _draw_panel(axes, panel, colors, reference)
        axes.set_ylabel(f'{measure} (%)')
    lines = {str(line.get_label()): line for axes in figure.axes for line in axes.get_lines()}
    shown = {label: lines[label] for label in (*names, reference) if label in lines}
    columns = min(3, len(shown))
    figure.legend(shown.values(), shown, loc='outside lower center', ncols=columns, frameon=False, fontsize=10)
    return save_figure(figure, out_file)


def _draw_panel(axes: Axes, panel: DistortionPanel, colors: Mapping[str, tuple[float, ...]], reference: str) -> None:
    axes.axvline(panel.identity, color='0.8', linewidth=1.2)
    if panel.reference is not None:
        axes.plot(panel.levels, _percent(panel.reference), '--', color='0.55', linewidth=1.4, label=reference)
    for name, values in panel.curves.items():
        marker = MARKERS[list(colors).index(name) % len(MARKERS)]
        line = dict(color=colors[name], marker=marker, markersize=5, linewidth=1.9, label=name)
        axes.plot(panel.levels, _percent(values), **line)
    style_axes(axes, panel.title, panel.x_label)
    if panel.logarithmic:
        axes.set_xscale('log', base=2)
        axes.xaxis.set_minor_locator(NullLocator())
    shown = _ticks(panel.levels)
    axes.set_xticks(shown, [f'{level:g}' for level in shown])
    axes.set_ylim(0, 102)


def _ticks(levels: Sequence[float], most: int = 9) -> list[float]:
    """The levels, or every second, third ... of them where there are many; as many as are legible."""
    step = next(step for step in range(1, len(levels) + 1) if -(-len(levels) // step) <= most)
    return list(levels[::step])


def _percent(values: Sequence[float | None]) -> np.ndarray:
    return 100 * np.array([np.nan if value is None else value for value in values], dtype=np.float64)
