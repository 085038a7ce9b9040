"""What a dataset itself allows: how many objects count, and the AP of the best rectangles that training could teach."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmdet.registry import METRICS

from stn_det.geometry import qbox_to_rbox

from .dota_metric import DOTAMetric, image_name, sample_truths
from .functional import Detections, Truths, eval_oriented_map
from .functional.records import QBOX_DIM


@METRICS.register_module()
class TruthMetric(DOTAMetric):
    """Counts the truths, and judges their own rectangles as if a detector had found every object.

    A rectangle cannot match a leaning quadrilateral: what these rectangles score, the least around each label as
    ``ConvertBoxType`` makes them for training, is what a detector reaches that finds every object and does what it was
    taught. Use it beside a :class:`DOTAMetric` with the same thresholds. Returned figures: ``AP50``, ``AP75``, ``mAP``
    as there, and ``objects`` (truths that count), ``ignored``, ``images``.

    Arguments are those of :class:`DOTAMetric`.

    Example:
        >>> test_evaluator = [dict(type='DOTAMetric'), dict(type='TruthMetric')]
    """

    default_prefix = 'truth'

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the truths of each sample and their rectangles.

        Args:
            data_batch: not used.
            data_samples: as for :class:`DOTAMetric`; predictions are not looked at.
        """
        for sample in data_samples:
            name = image_name(sample)
            truths = sample_truths(sample, name)
            self.results.append({'name': name, 'detections': _rectangles(truths), 'truths': truths})

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Count and evaluate, without a word in the log.

        Args:
            results: what :meth:`process` kept, of all images.

        Returns:
            Figures by key; the three of AP in [0, 1].
        """
        classes = self._classes()
        truths = [result['truths'] for result in results]
        found = [result['detections'] for result in results]
        evaluation = eval_oriented_map(found, truths, len(classes), self.iou_thrs, self.ap_mode, self._size_ranges())
        figures = self._figures(evaluation, classes)
        ignored = sum(int(np.asarray(truth.ignored).sum()) for truth in truths)
        return {
            **{name: figures[name] for name in ('AP50', 'AP75', 'mAP') if name in figures},
            'objects': sum(len(truth.boxes) for truth in truths) - ignored,
            'ignored': ignored,
            'images': len(results),
        }


def _rectangles(truths: Truths) -> Detections:
    """The rectangles of the truths that count, each with a score of 1."""
    counted = np.flatnonzero(~np.asarray(truths.ignored))
    boxes = torch.from_numpy(truths.boxes[counted])
    if boxes.shape[1] == QBOX_DIM:
        boxes = qbox_to_rbox(boxes)
    return Detections(boxes.numpy(), np.ones(len(counted)), truths.labels[counted])
