"""Draws images/losses.png, the picture of losses.md: ``python docs/make_losses_picture.py``.

Every curve is a registered loss of this package, called on boxes of one area and three shapes: once turned about their
common centre, once moved apart.
"""

import argparse
import math
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from mmdet.registry import MODELS
from torch import Tensor

import stn_det.register  # noqa: F401  registers the losses

INK, SOFT, GRID = '#1f2933', '#7b8794', '#d5dbe1'
RATIOS = {1: '#d9480f', 2: '#1667b7', 5: '#2b8a3e'}
STYLES = {1: '-', 2: (0, (6, 2)), 5: (0, (2, 1.2))}
OUTPUT = Path(__file__).parent / 'images' / 'losses.png'
SIDE = 40.0  # root of the area of every box, pixels
LOSSES = {
    'KLD, Jeffreys': dict(type='GaussianBoxLoss', distance='kld'),  # equal for boxes of equal sides
    'GWD': dict(type='GaussianBoxLoss', distance='gwd'),
    'Bhattacharyya': dict(type='GaussianBoxLoss', distance='bcd'),
    'ProbIoU': dict(type='GaussianBoxLoss', distance='probiou'),
    'KFIoU, none': dict(type='KFLoss', fun='none'),
    'KFIoU, ln': dict(type='KFLoss', fun='ln'),
    'IoU': dict(type='OrientedIoULoss', mode='iou'),
    'GIoU, convex GIoU': dict(type='OrientedIoULoss', mode='giou'),
    'Hausdorff': dict(type='HausdorffLoss'),
}


def box(ratio: float) -> Tensor:
    """Box (1, 5) with sides of the given ratio."""
    return torch.tensor([[100.0, 100.0, SIDE * math.sqrt(ratio), SIDE / math.sqrt(ratio), 0.0]])


def turned(ratio: float, degrees: Tensor) -> Tensor:
    """The box (K, 5) turned by each of K angles."""
    boxes = box(ratio).repeat(len(degrees), 1)
    boxes[:, 4] = torch.deg2rad(degrees)
    return boxes


def moved(ratio: float, shift: Tensor) -> Tensor:
    """The box (K, 5) moved by each of K shifts along its short side, in roots of the area."""
    boxes = box(ratio).repeat(len(shift), 1)
    boxes[:, 1] += SIDE * shift
    return boxes


def draw_curves(ax: Axes, loss: torch.nn.Module, x: Tensor, boxes: dict[int, Tensor]) -> None:
    """One panel: the loss of boxes against the unmoved box, a line for each shape."""
    for ratio, pred in boxes.items():
        value = loss(pred, box(ratio).repeat(len(pred), 1), reduction_override='none')
        ax.plot(x, value, color=RATIOS[ratio], ls=STYLES[ratio], lw=1.8, label=f'{ratio} : 1')
    ax.set_xlim(x[0], x[-1])
    high = max(line.get_ydata().max() for line in ax.lines)
    ax.set_ylim(-0.03 * high, 1.06 * high)
    ax.grid(color=GRID, lw=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=9, colors=INK, length=0)
    for side in ('top', 'right'):
        ax.spines[side].set_visible(False)
    for side in ('left', 'bottom'):
        ax.spines[side].set_color(SOFT)


def draw(output: Path) -> None:
    """Draw nine losses, two panels each, and save them.

    Args:
        output: PNG file to write; its folder must exist.
    """
    degrees, shift = torch.linspace(0, 90, 181), torch.linspace(0, 2, 201)
    figure = plt.figure(figsize=(15, 8.4), dpi=100, facecolor='white')
    cells = figure.add_gridspec(3, 3, left=0.03, right=0.985, bottom=0.07, top=0.9, wspace=0.16, hspace=0.36)
    for index, (name, config) in enumerate(LOSSES.items()):
        left, right = cells[index].subgridspec(1, 2, wspace=0.22).subplots()
        loss = MODELS.build(config)
        draw_curves(left, loss, degrees, {ratio: turned(ratio, degrees) for ratio in RATIOS})
        draw_curves(right, loss, shift, {ratio: moved(ratio, shift) for ratio in RATIOS})
        left.set_xticks([0, 30, 60, 90])
        right.set_xticks([0, 0.5, 1, 1.5, 2])
        left.set_title(name, fontsize=13, color=INK, fontweight='bold', loc='left', pad=8)
        if index >= 6:
            left.set_xlabel('angle error, degrees', fontsize=10.5, color=INK)
            right.set_xlabel('shift across, √area', fontsize=10.5, color=INK)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(
        handles, [f'sides {label}' for label in labels], ncols=3, loc='upper right', frameon=False, fontsize=12
    )
    figure.savefig(output, metadata={'Software': None})
    plt.close(figure)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--output', type=Path, default=OUTPUT, help='PNG file to write')
    draw(parser.parse_args().output)
