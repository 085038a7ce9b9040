"""Curves of a training run and of an evaluation, drawn without touching matplotlib's global state."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from stn_det.errors import InputError

from .figures import new_figure, paper_colors, save_figure, style_axes

VALIDATION_STYLES = {
    'AP50': ((0.0, 0.447, 0.698), 'o'),
    'AP75': ((0.835, 0.369, 0.0), 's'),
    'mAP': ((0.15, 0.15, 0.15), 'D'),
}


@dataclass
class History:
    """Scalars of a run by name: lists of steps and values; ``iters_per_epoch`` is None in an iteration-based run."""

    train: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    validation: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    iters_per_epoch: float | None = None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def read_history(scalars_json: str | Path) -> History:
    """Read the lines of mmengine's ``vis_data/scalars.json`` (or ``vis_data/<time>.json``).

    A last line cut off by a crash is left out.

    Raises:
        InputError: no file, or no line with a loss in it.
    """
    path = Path(scalars_json)
    if not path.is_file():
        raise InputError(f'{path.name} does not exist; expected vis_data/scalars.json of a training run')
    history = History()
    least, most = 0.0, np.inf
    for text in path.read_text(encoding='utf-8').splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        step = _number(line.get('step')) if isinstance(line, dict) else None
        if step is None:
            continue
        is_train = 'loss' in line or 'lr' in line
        if is_train and 'epoch' in line:
            least = max(least, step / line['epoch'])
            most = min(most, step / (line['epoch'] - 1)) if line['epoch'] > 1 else most
        target = history.train if is_train else history.validation
        for name, value in line.items():
            number = _number(value)
            if number is not None and name not in ('step', 'epoch', 'iter'):
                steps, values = target.setdefault(name, ([], []))
                steps.append(step)
                values.append(number)
    if 'loss' not in history.train:
        raise InputError(f'{path.name} holds no line with a loss; expected vis_data/scalars.json of a training run')
    if least > 0:
        history.iters_per_epoch = min(np.ceil(least), most)
    return history


def smooth(values: Sequence[float], window: int) -> np.ndarray:
    """Running mean over ``window`` values around each, shorter at both ends, without those that are not finite."""
    array = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(array)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, array, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    index = np.arange(len(array))
    low, high = np.maximum(index - window // 2, 0), np.minimum(index + window // 2 + 1, len(values))
    with np.errstate(invalid='ignore'):
        return (sums[high] - sums[low]) / (counts[high] - counts[low])


def _loss_axes(axes: Axes, history: History, x_scale: float, x_label: str) -> None:
    terms = [name for name in history.train if 'loss' in name and name != 'loss']
    names = ['loss', *terms] if len(terms) != 1 else ['loss']
    tints = [(0.15, 0.15, 0.15), *paper_colors(len(names) - 1)]
    for name, color in zip(names, tints):
        steps, values = history.train[name]
        x = np.array(steps) * x_scale
        smoothed = smooth(values, max(1, len(values) // 25))
        axes.plot(x, values, color=color, alpha=0.22, linewidth=0.8)
        label = 'total' if name == 'loss' else name.replace('loss_', '')
        last = f'{smoothed[-1]:.3g}' if len(smoothed) else ''
        axes.plot(x, smoothed, color=color, linewidth=2.2 if name == 'loss' else 1.6, label=f'{label}  ({last})')
    total = np.array(history.train['loss'][1])
    finite = total[np.isfinite(total)]
    if len(finite):
        # A first spike must not flatten the rest of the curve.
        axes.set_ylim(0, 1.15 * max(np.percentile(finite, 98), 1e-6))
    style_axes(axes, 'Training loss (last value)', x_label)
    axes.legend(frameon=False, fontsize=9, ncols=1 + len(names) // 6)


def _validation_axes(axes: Axes, history: History, x_label: str) -> None:
    drawn = False
    for key, (color, marker) in VALIDATION_STYLES.items():
        for name in (name for name in history.validation if name.rsplit('/', 1)[-1] == key):
            steps, values = history.validation[name]
            percent = 100 * np.array(values)
            drawn = True
            axes.plot(steps, percent, color=color, marker=marker, markersize=4, linewidth=1.6)
            if np.isfinite(percent).any():
                best = int(np.nanargmax(percent))
                axes.lines[-1].set_label(f'{key}  best {percent[best]:.1f} at {x_label} {steps[best]:g}')
                axes.plot(steps[best], percent[best], marker, color=color, markersize=9, fillstyle='none')
    style_axes(axes, 'Validation (%)', x_label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    if drawn:
        axes.legend(frameon=False, fontsize=9, loc='best')
    else:
        axes.text(0.5, 0.5, 'no validation yet', transform=axes.transAxes, ha='center', color='0.5')


def plot_training_curves(scalars_json: str | Path, out_file: str | Path, title: str = '') -> Path:
    """Draw loss terms, learning rate and validation figures of a run.

    Args:
        scalars_json: mmengine's ``vis_data/scalars.json``.
        out_file: image file; folders are made.
        title: heading.

    Returns:
        The file.

    Raises:
        InputError: the file does not exist or holds no loss, or ``out_file`` has an unknown ending.
    """
    history = read_history(scalars_json)
    by_epoch = history.iters_per_epoch is not None
    x_scale, x_label = (1 / history.iters_per_epoch, 'epoch') if history.iters_per_epoch else (1.0, 'iteration')
    figure = new_figure(11, 6.5)
    if title:
        figure.suptitle(title, fontsize=13, fontweight='bold', x=0.01, ha='left')
    grid = figure.add_gridspec(2, 2, width_ratios=(1.5, 1), height_ratios=(1.7, 1))
    _loss_axes(figure.add_subplot(grid[:, 0]), history, x_scale, x_label)
    _validation_axes(figure.add_subplot(grid[0, 1]), history, 'epoch' if by_epoch else 'iteration')
    rate = figure.add_subplot(grid[1, 1])
    steps, values = history.train.get('lr', ([], []))
    rate.plot(np.array(steps) * x_scale, values, color=(0.15, 0.15, 0.15), linewidth=1.6)
    style_axes(rate, 'Learning rate', x_label)
    rate.set_ylim(bottom=0)
    rate.ticklabel_format(axis='y', style='sci', scilimits=(-2, 2), useMathText=True)
    return save_figure(figure, out_file)


def plot_pr_curves(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    out_file: str | Path,
    average_precisions: Mapping[str, float] | None = None,
    title: str = 'Precision and recall',
) -> Path:
    """Draw precision over recall, one line a class.

    Args:
        curves: class name -> recall (D,) and precision (D,), as ``ClassResult.curve`` of the evaluation returns them.
        out_file: image file; folders are made.
        average_precisions: class name -> AP in [0, 1]; written in the legend, which it also sorts.
        title: heading.

    Returns:
        The file.

    Raises:
        InputError: no curve, or ``out_file`` has an unknown ending.
    """
    if not curves:
        raise InputError('plot_pr_curves got no curves; expected at least one class')
    known = average_precisions or {}
    colors = dict(zip(curves, paper_colors(len(curves))))
    names = sorted(curves, key=lambda name: -np.nan_to_num(known.get(name, 0.0), nan=-1.0))
    figure = new_figure(7.6, 5.2)
    axes = figure.add_subplot()
    for index, name in enumerate(names):
        recall, precision = (np.asarray(part, dtype=np.float64) for part in curves[name])
        style = ('-', '--', '-.', ':')[index // 8 % 4]
        label = f'{100 * known[name]:5.1f}  {name}' if name in known and np.isfinite(known[name]) else name
        start = precision[:1] if len(precision) else precision
        x, y = np.concatenate([[0.0][: len(start)], recall]), np.concatenate([start, precision])
        axes.plot(x, y, style, color=colors[name], linewidth=1.7, label=label)
    axes.set_xlim(0, 1.01)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel('precision')
    style_axes(axes, title, 'recall')
    heading = 'AP (%)  class' if known else None
    legend = axes.legend(frameon=False, fontsize=9, loc='upper left', bbox_to_anchor=(1.01, 1.0), title=heading)
    legend.get_title().set_fontsize(9)
    return save_figure(figure, out_file)
