"""The metric of DOTA-style benchmarks for mmdet configs."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from stn_det.errors import ClassMismatchError, ConfigError, DatasetError

from .diagnosis import likely_causes
from .functional import COCO_IOU_THRESHOLDS, Detections, MeanAPResult, Truths, eval_oriented_map
from .functional.average_precision import check_ap_mode
from .functional.records import to_array
from .report import format_table
from .submission import write_task1

GT_HELP = (
    'the test pipeline must hold LoadAnnotations(with_bbox=True, box_type="qbox") after Resize, and PackDetInputs; '
    'for images without annotations use format_only=True'
)


@METRICS.register_module()
class DOTAMetric(BaseMetric):
    """Average precision of oriented boxes by the rule of the DOTA benchmark, and submission files for its server.

    Proposed in DOTA: A Large-scale Dataset for Object Detection in Aerial Images https://arxiv.org/abs/1711.10398

    Returned figures lie in [0, 1]: ``AP50``, ``AP75`` (where among ``iou_thrs``), ``mAP`` (mean over ``iou_thrs``) and
    ``AP50_<class>``, ``AP75_<class>``, ``mAP_<class>``. Classes without a truth are left out of every mean and get no
    key of their own; with no truth at all the means are NaN. Difficult truths (``ignore_flag``) count neither as found
    nor as missed.

    Args:
        iou_thrs: IoU thresholds in [0, 1). Default 0.50 to 0.95 by 0.05.
        ap_mode: ``'area'``, or ``'11points'`` (VOC 2007), which the DOTA development kit uses.
        size_thrs: two sizes in pixels (sqrt of area); adds ``mAP_s``, ``mAP_m``, ``mAP_l`` and ``AP50_s``, ... for
            objects below, between and above them. Default none.
        format_only: only write the submission, needs ``outfile_prefix`` and no truths. Default False.
        outfile_prefix: folder for ``Task1_<class>.txt`` and ``Task1.zip``. Default none.
        collect_device: ``'cpu'`` or ``'gpu'``, where results of several processes are gathered.
        prefix: prepended to every key, ``'dota'`` by default.

    Raises:
        ConfigError: the arguments contradict each other, or the dataset names no classes.
        DatasetError: a sample has no truth.
        ClassMismatchError: a label is outside the dataset's classes.

    Example:
        >>> val_evaluator = dict(type='DOTAMetric', ap_mode='11points', outfile_prefix='work_dirs/task1')
    """

    default_prefix = 'dota'

    def __init__(
        self,
        iou_thrs: float | Sequence[float] = COCO_IOU_THRESHOLDS,
        ap_mode: str = 'area',
        size_thrs: tuple[float, float] | None = None,
        format_only: bool = False,
        outfile_prefix: str | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.iou_thrs = (float(iou_thrs),) if isinstance(iou_thrs, (int, float)) else tuple(iou_thrs)
        self.ap_mode = check_ap_mode(ap_mode)
        if format_only and not outfile_prefix:
            raise ConfigError('DOTAMetric(format_only=True) has no outfile_prefix; name the folder for the submission')
        if size_thrs is not None and not (len(size_thrs) == 2 and 0 < size_thrs[0] < size_thrs[1]):
            raise ConfigError(f'size_thrs is {size_thrs}; expected two rising sizes in pixels, such as (32, 96)')
        self.size_thrs = size_thrs
        self.format_only = format_only
        self.outfile_prefix = outfile_prefix
        self._dropped = 0

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep what evaluation needs of each sample.

        Args:
            data_batch: not used.
            data_samples: dicts, or mmdet data samples, with ``pred_instances`` (``bboxes`` (K, 5) or (K, 8),
                ``scores``, ``labels``), ``gt_instances`` and optionally ``ignored_instances`` (``bboxes`` (G, 5) or
                (G, 8) as tensor or box object, ``labels``), and ``img_id`` or ``img_path``.
        """
        for sample in data_samples:
            name = image_name(sample)
            result = {'name': name, 'detections': self._detections(sample)}
            if not self.format_only:
                result['truths'] = sample_truths(sample, name)
            self.results.append(result)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Evaluate, print the table, and write the submission if asked to.

        Args:
            results: what :meth:`process` kept, of all images.

        Returns:
            Figures in [0, 1] by key; empty with ``format_only``.
        """
        classes = self._classes()
        detections = [result['detections'] for result in results]
        if self.outfile_prefix:
            archive = write_task1(self.outfile_prefix, [result['name'] for result in results], detections, classes)
            print_log(f'submission written to {archive}', logger='current')
        if self.format_only:
            return {}
        truths = [result['truths'] for result in results]
        _check_labels(results, classes)
        evaluation = eval_oriented_map(
            detections, truths, len(classes), self.iou_thrs, self.ap_mode, self._size_ranges()
        )
        title = f'oriented boxes, {len(results)} images, ap_mode={self.ap_mode}, in percent'
        print_log(f'{title}\n{format_table(evaluation, classes)}', logger='current')
        if not np.nansum([item.ap for item in evaluation.classes]) > 0:
            causes = ''.join(f'\n  - {cause}' for cause in likely_causes(detections, truths, classes))
            print_log(f'no class has an AP above zero. Likely causes:{causes}', logger='current', level=logging.WARNING)
        return self._figures(evaluation, classes)

    def _figures(self, evaluation: MeanAPResult, classes: Sequence[str]) -> dict[str, float]:
        mean = evaluation.mean_ap
        half = evaluation.threshold_index(0.5)
        at = {'AP50': half, 'AP75': evaluation.threshold_index(0.75)}
        figures = {key: float(mean[index]) for key, index in at.items() if index is not None}
        figures['mAP'] = float(mean.mean())
        for name in self._size_ranges():
            by_size = evaluation.mean_ap_by_size(name)
            figures[f'mAP_{name}'] = float(by_size.mean())
            if half is not None:
                figures[f'AP50_{name}'] = float(by_size[half])
        for one in (c for c in evaluation.classes if c.num_truths):
            name = classes[one.label]
            figures.update({f'{key}_{name}': float(one.ap[index]) for key, index in at.items() if index is not None})
            figures[f'mAP_{name}'] = float(one.ap.mean())
        return figures

    def _size_ranges(self) -> dict[str, tuple[float, float]]:
        if self.size_thrs is None:
            return {}
        low, high = self.size_thrs
        return {'s': (0.0, low), 'm': (low, high), 'l': (high, float('inf'))}

    def _classes(self) -> tuple[str, ...]:
        classes = (self.dataset_meta or {}).get('classes')
        if isinstance(classes, str):
            raise ConfigError(f'the dataset classes are the text {classes!r}; write a tuple: classes=({classes!r},)')
        if not classes:
            raise ConfigError('the dataset names no classes; give metainfo=dict(classes=(...)) in the dataset config')
        return tuple(classes)

    def _detections(self, sample: Mapping) -> Detections:
        """Detections of a sample, without those that are not finite."""
        found = sample.get('pred_instances')
        if found is None or any(key not in found for key in ('bboxes', 'scores', 'labels')):
            raise DatasetError(
                f'image {image_name(sample)} carries no pred_instances with bboxes, scores and labels; the model must '
                'return mmdet data samples with predictions'
            )
        boxes, scores, labels = (to_array(found[key]) for key in ('bboxes', 'scores', 'labels'))
        finite = np.isfinite(scores) & np.isfinite(boxes).all(axis=-1)
        if not finite.all():
            if not self._dropped:
                print_log(
                    f'{int((~finite).sum())} detections of image {image_name(sample)} have a score or box that is '
                    'not finite; such detections are left out of the evaluation (said once)',
                    logger='current',
                    level=logging.WARNING,
                )
            self._dropped += int((~finite).sum())
            boxes, scores, labels = boxes[finite], scores[finite], labels[finite]
        return Detections(boxes, scores, labels)


def image_name(sample: Mapping) -> str:
    """Name of the image of a sample, without its extension."""
    name = sample.get('img_id')
    if not isinstance(name, str) and sample.get('img_path'):
        name = Path(sample['img_path']).stem
    return str(name)


def sample_truths(sample: Mapping, name: str) -> Truths:
    """Truths of a sample, difficult ones last.

    Args:
        sample: with ``gt_instances`` and optionally ``ignored_instances``, see :meth:`DOTAMetric.process`.
        name: of its image, for messages.

    Raises:
        DatasetError: it carries no truth, or boxes of another kind.
    """
    truth = sample.get('gt_instances')
    if truth is None or 'bboxes' not in truth:
        raise DatasetError(f'image {name} carries no truth (gt_instances.bboxes); {GT_HELP}')
    parts = [(truth, False)]
    ignored = sample.get('ignored_instances')
    if ignored is not None and 'bboxes' in ignored:
        parts.append((ignored, True))
    boxes, labels, flags = [], [], []
    for instances, flag in parts:
        part = to_array(instances['bboxes'])
        if part.size == 0:
            continue
        if part.shape[1] not in (5, 8):
            raise DatasetError(
                f'the truth boxes of image {name} have {part.shape[1]} numbers, expected 5 or 8; {GT_HELP}'
            )
        boxes.append(part)
        labels.append(to_array(instances['labels']))
        flags.append(np.full(len(part), flag))
    if not boxes:
        return Truths(np.zeros((0, 5)), np.zeros(0))
    return Truths(np.concatenate(boxes), np.concatenate(labels), np.concatenate(flags))


def _check_labels(results: Sequence[Mapping], classes: Sequence[str]) -> None:
    for result in results:
        for key in ('detections', 'truths'):
            wrong = result[key].labels[(result[key].labels < 0) | (result[key].labels >= len(classes))]
            if len(wrong):
                raise ClassMismatchError(
                    f'{key} of image {result["name"]} hold class index {int(wrong[0])}, but the dataset names '
                    f'{len(classes)} classes {tuple(classes)}; set num_classes={len(classes)} in the bbox_head'
                )
