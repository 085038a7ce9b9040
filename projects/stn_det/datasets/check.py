"""A look over a whole dataset before training: how many boxes of what, how large, and what cannot be learnt from."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from stn_det.errors import DatasetError
from stn_det.geometry import hbox_to_qbox, hbox_to_rbox, qbox_to_rbox, rbox_to_qbox

from .formats.numbers import is_zero_area_quad
from .oriented_dataset import outside_image

PERCENTILES = (5, 25, 50, 75, 95)
SMALL_SIDE = 8.0  # pixels; with a smaller median short side, most detectors need the image enlarged


@dataclass
class DatasetReport:
    """What ``check_dataset`` found.

    Attributes:
        classes: Class names.
        num_images: Images in the dataset.
        num_background: Images without a positive.
        boxes_per_class: Positives by class name, in the order of the classes.
        ignored: Regions to ignore by reason.
        num_zero_area: Boxes of zero area, ignored or not.
        num_outside: Boxes wholly outside their image, ignored or not.
        long_side: Percentiles of the longer side of the positives in pixels, by percent.
        short_side: The same of the shorter side.
        image_sizes: Number of images by (width, height), where known.
        warnings: What deserves a look, in plain sentences.
    """

    classes: tuple[str, ...]
    num_images: int = 0
    num_background: int = 0
    boxes_per_class: dict[str, int] = field(default_factory=dict)
    ignored: dict[str, int] = field(default_factory=dict)
    num_zero_area: int = 0
    num_outside: int = 0
    long_side: dict[int, float] = field(default_factory=dict)
    short_side: dict[int, float] = field(default_factory=dict)
    image_sizes: dict[tuple[int, int], int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def num_boxes(self) -> int:
        """Number of positives."""
        return sum(self.boxes_per_class.values())

    def summary(self) -> str:
        """The report as lines of text."""
        width = max(len(name) for name in self.classes)
        ignored = ', '.join(f'{count} {reason}' for reason, count in self.ignored.items()) or 'none'
        lines = [
            f'{self.num_images} images, {self.num_background} of them without a positive',
            f'{self.num_boxes} positives; ignored: {ignored}',
            f'zero area: {self.num_zero_area}, outside the image: {self.num_outside}',
            *(f'  {name:<{width}}  {count}' for name, count in self.boxes_per_class.items()),
        ]
        for name, sides in (('long', self.long_side), ('short', self.short_side)):
            if sides:
                values = ', '.join(f'{percent}%: {value:.1f}' for percent, value in sides.items())
                lines.append(f'{name} side in pixels  {values}')
        if self.image_sizes:
            sizes = sorted(self.image_sizes.items(), key=lambda item: -item[1])[:5]
            lines.append('image sizes  ' + ', '.join(f'{w}x{h}: {count}' for (w, h), count in sizes))
        return '\n'.join([*lines, *(f'warning: {text}' for text in self.warnings)])


def check_dataset(dataset: Any) -> DatasetReport:
    """Count what a dataset holds; images are not opened.

    Args:
        dataset: A dataset with ``metainfo['classes']`` and ``get_data_info``, such as the readers of this package.

    Returns:
        The report.

    Raises:
        DatasetError: The dataset names no classes.
    """
    classes = dataset.metainfo.get('classes')
    if not classes:
        raise DatasetError(
            "the dataset has no metainfo['classes'], expected class names. Set metainfo=dict(classes=(...))."
        )
    counts: Counter[int] = Counter()
    ignored: Counter[str] = Counter()
    sizes: Counter[tuple[int, int]] = Counter()
    sides: list[np.ndarray] = []
    report = DatasetReport(classes=tuple(classes), num_images=len(dataset))
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        instances = info['instances']
        positive = np.array([not item['ignore_flag'] for item in instances], dtype=bool)
        report.num_background += not positive.any()
        counts.update(item['bbox_label'] for item in instances if not item['ignore_flag'])
        ignored.update(_reasons(instances))
        size = (info.get('width'), info.get('height'))
        if None not in size:
            sizes[size] += 1
        if instances:
            corners, box_sides = _measure([item['bbox'] for item in instances])
            sides.append(box_sides[positive])
            report.num_zero_area += sum(is_zero_area_quad(quad) for quad in corners.tolist())
            if None not in size:
                report.num_outside += int(outside_image(corners, *size).sum())
    report.boxes_per_class = {name: counts[label] for label, name in enumerate(classes)}
    report.ignored = dict(sorted(ignored.items()))
    report.image_sizes = dict(sizes)
    _add_percentiles(report, sides)
    report.warnings = _find_warnings(report)
    return report


def _reasons(instances: Sequence[dict]) -> list[str]:
    """Reason of each region to ignore; one that is repeated for every class counts once."""
    ignored = [item for item in instances if item['ignore_flag']]
    reasons = [(item.get('ignore_reason') or 'other', item['bbox_label']) for item in ignored]
    return [reason for reason, label in reasons if reason != 'ignore-class' or label == 0]


def _measure(boxes: Sequence[Sequence[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Return corners ``(N, 8)`` and sides ``(N, 2)``, longer first, in pixels, of boxes of 4, 5 or 8 numbers."""
    tensor = torch.tensor(boxes, dtype=torch.float64)
    if tensor.shape[-1] == 8:
        corners, rboxes = tensor, qbox_to_rbox(tensor)
    elif tensor.shape[-1] == 5:
        corners, rboxes = rbox_to_qbox(tensor), tensor
    else:
        corners, rboxes = hbox_to_qbox(tensor), hbox_to_rbox(tensor)
    return corners.numpy(), rboxes[:, 2:4].sort(dim=-1, descending=True).values.numpy()


def _add_percentiles(report: DatasetReport, sides: list[np.ndarray]) -> None:
    if report.num_boxes == 0:
        return
    values = np.percentile(np.concatenate(sides), PERCENTILES, axis=0)
    report.long_side = {percent: float(row[0]) for percent, row in zip(PERCENTILES, values)}
    report.short_side = {percent: float(row[1]) for percent, row in zip(PERCENTILES, values)}


def _find_warnings(report: DatasetReport) -> list[str]:
    warnings = []
    empty = [name for name, count in report.boxes_per_class.items() if count == 0]
    if report.num_boxes == 0:
        warnings.append('no positive box at all; a model trained on this detects nothing')
    elif empty:
        warnings.append(f'no box of {", ".join(empty)}; check the spelling in the labels, or drop the class')
    if report.num_zero_area:
        warnings.append(f'{report.num_zero_area} boxes have no area; correct or remove them')
    if report.num_outside:
        warnings.append(f'{report.num_outside} boxes lie outside their image; do the labels belong to these images?')
    if report.num_background * 2 > report.num_images:
        warnings.append(f'{report.num_background} of {report.num_images} images hold no positive')
    if report.short_side and report.short_side[50] < SMALL_SIDE:
        warnings.append(f'the median short side is {report.short_side[50]:.1f} pixels; enlarge the images with Resize')
    return warnings
