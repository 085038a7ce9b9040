"""What the truth itself allows."""

import pytest
import torch

from stn_det.errors import DatasetError
from stn_det.geometry import rbox_to_qbox

RBOX = [50.0, 60.0, 40.0, 20.0, 0.5]


def metric(**kwargs):
    from stn_det.evaluation import TruthMetric

    instance = TruthMetric(**kwargs)
    instance.dataset_meta = {'classes': ('ship', 'plane')}
    return instance


def truths(boxes, labels=None):
    return {'bboxes': torch.tensor(boxes), 'labels': torch.tensor(labels or [0] * len(boxes))}


def leaning(slope):
    """A parallelogram of 40 x 20 pixels, and of slope * 20 pixels more width."""
    return [10.0, 30.0, 50.0, 30.0, 50.0 - slope * 20, 50.0, 10.0 - slope * 20, 50.0]


def evaluate(instance, *samples):
    for item in samples:
        instance.process({}, [item])
    return instance.evaluate(len(samples))


@pytest.mark.parametrize('kind', ['rbox', 'qbox'])
def test_rectangles_are_found_in_full(kind):
    boxes = [RBOX] if kind == 'rbox' else rbox_to_qbox(torch.tensor([RBOX])).tolist()
    figures = evaluate(metric(), {'img_id': 'a', 'gt_instances': truths(boxes)})
    assert figures == {
        'truth/AP50': 1.0, 'truth/AP75': 1.0, 'truth/mAP': 1.0, 'truth/objects': 1, 'truth/ignored': 0,
        'truth/images': 1,
    }  # fmt: skip


def test_leaning_truths_limit_their_rectangles():
    # The least rectangle of a parallelogram along its long side: IoU 40 / (40 + 20 s), which is 0.8 for s = 0.5.
    figures = evaluate(metric(), {'img_id': 'a', 'gt_instances': truths([leaning(0.5)])})
    assert figures['truth/AP75'] == 1.0
    assert figures['truth/mAP'] == pytest.approx(0.6)  # 0.50 to 0.75 of ten thresholds


def test_ignored_truths_are_counted_apart_and_not_found():
    sample = {'img_id': 'a', 'gt_instances': truths([RBOX], [1]), 'ignored_instances': truths([RBOX, RBOX])}
    figures = evaluate(metric(), sample, {'img_id': 'b', 'gt_instances': truths([RBOX])})
    assert (figures['truth/objects'], figures['truth/ignored'], figures['truth/images']) == (2, 2, 2)
    assert figures['truth/mAP'] == 1.0


def test_thresholds_are_those_given():
    figures = evaluate(metric(iou_thrs=(0.5, 0.9)), {'img_id': 'a', 'gt_instances': truths([leaning(0.5)])})
    assert 'truth/AP75' not in figures
    assert figures['truth/mAP'] == 0.5


def test_nothing_to_find_has_no_figure():
    figures = evaluate(metric(), {'img_id': 'a', 'gt_instances': {'bboxes': torch.zeros(0, 8), 'labels': []}})
    assert figures['truth/mAP'] != figures['truth/mAP']
    assert figures['truth/objects'] == 0


def test_a_sample_without_truth():
    with pytest.raises(DatasetError, match=r'image a carries no truth'):
        metric().process({}, [{'img_id': 'a'}])
