"""Draws images/conventions.png, the picture of conventions.md: ``python docs/make_conventions_picture.py``.

The boxes are drawn from the corners that ``stn_det.geometry`` computes, so the picture shows what the code does.
"""

import argparse
import math
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Arc, Circle, Polygon, Rectangle

from stn_det.geometry import rbox_to_qbox

INK, SOFT, GRID = '#1f2933', '#7b8794', '#d5dbe1'
BLUE, ORANGE, FILL = '#1667b7', '#d9480f', '#e7f1fb'
OUTPUT = Path(__file__).parent / 'images' / 'conventions.png'


def corners_of(*rbox: float) -> list[list[float]]:
    """Four corners [[x, y], ...] of one rotated box, pixels."""
    return rbox_to_qbox(torch.tensor([rbox], dtype=torch.float64)).reshape(4, 2).tolist()


def arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], color: str, style: str = '-|>') -> None:
    """Arrow between two points in data coordinates."""
    ax.annotate('', xy=end, xytext=start, arrowprops=dict(arrowstyle=style, color=color, lw=1.6, shrinkA=0, shrinkB=0))


def prepare(ax: Axes, title: str, x: tuple[float, float], y: tuple[float, float]) -> None:
    """Panel with y down, equal scales and no frame."""
    ax.set_xlim(*x)
    ax.set_ylim(y[1], y[0])
    ax.set_aspect('equal')
    ax.axis('off')
    ax.set_title(title, fontsize=13, color=INK, fontweight='bold', pad=10)


def draw_pixels(ax: Axes) -> None:
    """An image of 6 x 4 pixels with its axes, its extent and the centre of its first pixel."""
    prepare(ax, 'Pixels: the image spans [0, W] × [0, H]', (-1.1, 7.1), (-1.2, 5.09))
    for column in range(6):
        for row in range(4):
            first = row == column == 0
            ax.add_patch(Rectangle((column, row), 1, 1, facecolor=FILL if first else 'white', edgecolor=GRID, lw=1.2))
            if first or row or column > 3:  # the label of the first centre takes the place of three dots
                ax.plot(column + 0.5, row + 0.5, 'o', ms=6 if first else 2.5, color=ORANGE if first else SOFT)
    ax.add_patch(Rectangle((0, 0), 6, 4, fill=False, edgecolor=INK, lw=1.8))
    arrow(ax, (0, -0.45), (2.0, -0.45), INK)
    arrow(ax, (-0.45, 0), (-0.45, 2.0), INK)
    ax.text(2.15, -0.45, 'x, right', va='center', fontsize=11, color=INK)
    ax.text(-0.45, 2.2, 'y,\ndown', ha='center', va='top', fontsize=11, color=INK)
    ax.text(-0.1, -0.12, '(0, 0)', ha='right', va='bottom', fontsize=11, color=INK)
    ax.text(6.1, 4.12, '(W, H) = (6, 4)', ha='right', va='top', fontsize=11, color=INK)
    ax.plot([0, 6], [0, 4], 's', ms=5, color=INK, clip_on=False)
    ax.text(1.12, 0.5, 'centre of the first\npixel (0.5, 0.5)', va='center', fontsize=11, color=ORANGE,
            bbox=dict(facecolor='white', edgecolor='none', pad=1.5))  # fmt: skip


def draw_box(ax: Axes) -> None:
    """One rotated box with its sizes, its angle and the order of its corners."""
    prepare(ax, 'rbox (cx, cy, w, h, θ) and its corners', (0, 86), (0, 66))
    cx, cy, w, h, theta = 41.0, 31.0, 62.0, 28.0, math.radians(30)
    corners = corners_of(cx, cy, w, h, theta)
    ax.add_patch(Polygon(corners, facecolor=FILL, edgecolor=BLUE, lw=2))
    cos, sin = math.cos(theta), math.sin(theta)
    for number, (x, y) in enumerate(corners, start=1):
        ax.add_patch(Circle((x, y), 2.7, facecolor=BLUE, edgecolor='white', lw=1.2, zorder=3))
        ax.text(x, y, str(number), ha='center', va='center_baseline', color='white', fontsize=10.5, zorder=4)
    ax.plot(cx, cy, 'o', ms=6, color=INK, zorder=3)
    ax.text(cx - 2, cy, '(cx, cy)', fontsize=11, color=INK, ha='right', va='center')
    ax.plot([cx, cx + 20], [cy, cy], ls=(0, (4, 3)), color=SOFT, lw=1.3)
    ax.text(cx + 19, cy - 0.8, 'x', fontsize=11, color=SOFT, ha='right', va='bottom')
    arrow(ax, (cx, cy), (cx + 26 * cos, cy + 26 * sin), ORANGE)
    ax.add_patch(Arc((cx, cy), 27, 27, theta1=0, theta2=24, color=ORANGE, lw=1.8))
    tip, before = math.radians(29), math.radians(20)
    arrow(
        ax,
        (cx + 13.5 * math.cos(before), cy + 13.5 * math.sin(before)),
        (cx + 13.5 * math.cos(tip), cy + 13.5 * math.sin(tip)),
        ORANGE,
    )
    ax.text(cx + 15.5, cy + 3.9, 'θ = +30°', color=ORANGE, fontsize=11.5, va='center')
    for a, b, label, shift in ((0, 1, 'w', (5 * sin, -5 * cos)), (1, 2, 'h', (5 * cos, 5 * sin))):
        start = (corners[a][0] + shift[0], corners[a][1] + shift[1])
        end = (corners[b][0] + shift[0], corners[b][1] + shift[1])
        arrow(ax, start, end, INK, '<|-|>')
        middle = ((start[0] + end[0]) / 2 + 0.55 * shift[0], (start[1] + end[1]) / 2 + 0.55 * shift[1])
        ax.text(*middle, label, fontsize=13, style='italic', color=INK, ha='center', va='center')
    ax.text(41, 65, 'clockwise on screen is positive', fontsize=11, color=ORANGE, ha='center', va='center')


def draw_forms(ax: Axes) -> None:
    """Boxes in the form le90 on both sides of its seam."""
    prepare(ax, 'le90: w ≥ h and −π/2 ≤ θ < π/2', (0, 86), (5, 71))
    columns = ((-90, 6), (-45, 24.5), (0, 43), (45, 61.5), (90, 80))
    for degrees, x in columns:
        theta, y = math.radians(degrees), 22
        outside = degrees == 90
        color, line = (SOFT, (0, (4, 3))) if outside else (BLUE, '-')
        corners = corners_of(x, y, 16.5, 7, theta)
        ax.add_patch(Polygon(corners, facecolor='none' if outside else FILL, edgecolor=color, lw=1.8, ls=line))
        reach = 7.0
        arrow(ax, (x, y), (x + reach * math.cos(theta), y + reach * math.sin(theta)), color if outside else ORANGE)
        label = {-90: '−π/2', -45: '−π/4', 0: '0', 45: 'π/4', 90: 'π/2'}[degrees]
        ax.text(x, 38, label, ha='center', va='center', fontsize=12, color=color if outside else INK)
    ax.plot([6, 80], [43.2, 43.2], color=INK, lw=1.4)
    ax.plot([24.5, 43, 61.5], [43.2] * 3, '|', ms=8, color=INK)
    ax.plot(6, 43.2, 'o', ms=7, color=INK)
    ax.plot(80, 43.2, 'o', ms=7, markerfacecolor='white', markeredgecolor=INK, zorder=3)
    ax.annotate(
        '', xy=(6, 45.5), xytext=(80, 45.5), arrowprops=dict(arrowstyle='-|>', color=SOFT, lw=1.4,
        connectionstyle='arc3,rad=-0.16'))  # fmt: skip
    ax.text(43, 58.5, 'the seam: π/2 is written −π/2, the same box', ha='center', va='center', fontsize=11, color=SOFT)


def draw(output: Path) -> None:
    """Draw the three panels and save them.

    Args:
        output: PNG file to write; its folder must exist.
    """
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.6), dpi=110, facecolor='white')
    draw_pixels(axes[0])
    draw_box(axes[1])
    draw_forms(axes[2])
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.02, top=0.88, wspace=0.06)
    figure.savefig(output, metadata={'Software': None})
    plt.close(figure)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--output', type=Path, default=OUTPUT, help='PNG file to write')
    draw(parser.parse_args().output)
