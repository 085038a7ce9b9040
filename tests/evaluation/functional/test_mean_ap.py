"""The evaluation against a second one, written in plain Python from the published rule of the benchmark."""

import time

import numpy as np
import pytest
from shapely.geometry import Polygon

from stn_det.errors import InputError
from stn_det.evaluation.functional import COCO_IOU_THRESHOLDS, Detections, Truths, eval_oriented_map

NUM_CLASSES = 5


def corners_of(box):
    """Corners of (cx, cy, w, h, theta), theta clockwise on screen."""
    if len(box) == 8:
        return [(box[k], box[k + 1]) for k in range(0, 8, 2)]
    cx, cy, w, h, theta = box
    cos, sin = np.cos(theta), np.sin(theta)
    signs = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    return [(cx + cos * a * w / 2 - sin * b * h / 2, cy + sin * a * w / 2 + cos * b * h / 2) for a, b in signs]


def polygon_iou(first, second):
    a, b = Polygon(corners_of(first)), Polygon(corners_of(second))
    shared = a.intersection(b).area
    return shared / (a.area + b.area - shared)


def plain_ap(flags, num_truths, eleven_points):
    """AP of a list of 'tp', 'fp' and None (counts neither way), by falling score."""
    true, false, points = 0, 0, []
    for flag in flags:
        true += flag == 'tp'
        false += flag == 'fp'
        points.append((true / num_truths, true / (true + false) if true + false else 0.0))
    if eleven_points:
        levels = [step * 0.1 for step in range(11)]
        return sum(max([p for r, p in points if r >= level], default=0.0) for level in levels) / 11
    area, last = 0.0, 0.0
    for index, (recall, _) in enumerate(points):
        if recall != last:
            area += (recall - last) * max(p for _, p in points[index:])
            last = recall
    return area


def plain_evaluation(predictions, truths, label, threshold, eleven_points):
    """AP of one class; None if it has no truth that counts."""
    ranked = []
    for image, item in enumerate(predictions):
        for box, score, kind in zip(item.boxes, item.scores, item.labels):
            if kind == label:
                ranked.append((score, image, box))
    ranked.sort(key=lambda entry: -entry[0])
    per_image = [[k for k in range(len(t.boxes)) if t.labels[k] == label] for t in truths]
    num_truths = sum(not truths[i].ignored[k] for i, rows in enumerate(per_image) for k in rows)
    if num_truths == 0:
        return None
    taken, flags = set(), []
    for _, image, box in ranked:
        best, best_iou = None, 0.0
        for k in per_image[image]:
            iou = polygon_iou(box, truths[image].boxes[k])
            if iou > best_iou:
                best, best_iou = k, iou
        if best is None or best_iou <= threshold:
            flags.append('fp')
        elif truths[image].ignored[best]:
            flags.append(None)
        elif (image, best) in taken:
            flags.append('fp')
        else:
            taken.add((image, best))
            flags.append('tp')
    return plain_ap(flags, num_truths, eleven_points)


def random_scene(rng, quads, num_images=4, crowded=False):
    """Truths with difficult flags; detections that hit, miss, repeat, tie, and have the wrong class."""
    predictions, truths = [], []
    for _ in range(num_images):
        count = rng.integers(0, 14)
        extent = 120 if crowded else 400
        boxes = np.column_stack(
            [
                rng.uniform(0, extent, (count, 2)),
                rng.uniform(20, 60, count),
                rng.uniform(8, 25, count),
                rng.uniform(-7, 7, count),
            ]
        )
        labels = rng.integers(0, NUM_CLASSES - 1, count)
        noisy = np.repeat(boxes, 3, axis=0) + rng.normal(0, 1, (3 * count, 5)) * [2, 2, 3, 2, 0.08]
        noise = np.column_stack([rng.uniform(0, extent, (6, 2)), rng.uniform(10, 50, (6, 2)), rng.uniform(-2, 2, 6)])
        detected = np.concatenate([noisy, noise])
        detected[:, 2:4] = np.abs(detected[:, 2:4]) + 1
        detected_labels = np.concatenate([np.repeat(labels, 3), rng.integers(0, NUM_CLASSES, 6)])
        wrong = rng.random(len(detected)) < 0.15
        detected_labels[wrong] = rng.integers(0, NUM_CLASSES, wrong.sum())
        keep = rng.random(len(detected)) < 0.6
        scores = np.round(rng.uniform(0, 1, len(detected)), 1)
        predictions.append(Detections(detected[keep], scores[keep], detected_labels[keep]))
        shapes = boxes
        if quads and count:
            shapes = np.array([np.array(corners_of(box)).reshape(-1) for box in boxes])
            shapes = shapes + rng.uniform(-1.5, 1.5, shapes.shape)
        truths.append(Truths(shapes, labels, rng.random(count) < 0.25))
    return predictions, truths


@pytest.mark.parametrize('ap_mode', ['area', '11points'])
@pytest.mark.parametrize('quads', [False, True])
@pytest.mark.parametrize('crowded', [False, True])
def test_equals_the_plain_evaluation(ap_mode, quads, crowded):
    rng = np.random.default_rng(17)
    seen = []
    for _ in range(4):
        predictions, truths = random_scene(rng, quads, crowded=crowded)
        result = eval_oriented_map(predictions, truths, NUM_CLASSES, COCO_IOU_THRESHOLDS, ap_mode)
        expected = np.full((NUM_CLASSES, len(COCO_IOU_THRESHOLDS)), np.nan)
        for label in range(NUM_CLASSES):
            for column, threshold in enumerate(COCO_IOU_THRESHOLDS):
                value = plain_evaluation(predictions, truths, label, threshold, ap_mode == '11points')
                expected[label, column] = np.nan if value is None else value
        got = np.array([item.ap for item in result.classes])
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)
        with_truths = ~np.isnan(expected[:, 0])
        np.testing.assert_allclose(result.mean_ap, expected[with_truths].mean(axis=0), rtol=0, atol=1e-9)
        seen.append(expected)
    assert np.isnan(np.array(seen)[:, -1]).all(), 'the last class has detections and no truth'
    assert 0.1 < np.nanmean(np.array(seen)[..., 0]) < 0.95, 'scenes are neither trivial nor hopeless'


def test_one_class_of_many_has_the_figures_it_has_alone():
    rng = np.random.default_rng(3)
    predictions, truths = random_scene(rng, quads=True, num_images=6)
    together = eval_oriented_map(predictions, truths, NUM_CLASSES)
    for label in range(NUM_CLASSES - 1):
        alone = eval_oriented_map(
            [Detections(p.boxes[k := p.labels == label], p.scores[k], p.labels[k] * 0) for p in predictions],
            [Truths(t.boxes[k := t.labels == label], t.labels[k] * 0, t.ignored[k]) for t in truths],
            1,
        )
        np.testing.assert_array_equal(alone.classes[0].ap, together.classes[label].ap)
        np.testing.assert_array_equal(alone.mean_ap, together.classes[label].ap)


def test_rboxes_and_their_corners_give_the_same():
    predictions, truths = random_scene(np.random.default_rng(5), quads=False)
    as_quads = [Truths([np.array(corners_of(box)).reshape(-1) for box in t.boxes], t.labels, t.ignored) for t in truths]
    first, second = (eval_oriented_map(predictions, t, NUM_CLASSES).mean_ap for t in (truths, as_quads))
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-9)


def test_classes_without_truth_or_without_detection():
    box = np.array([[50.0, 50.0, 30.0, 10.0, 0.3]])
    predictions = [Detections(np.repeat(box, 2, axis=0), np.array([0.9, 0.8]), np.array([0, 2]))]
    truths = [Truths(np.repeat(box, 2, axis=0), np.array([0, 1]))]
    result = eval_oriented_map(predictions, truths, 4)
    assert [c.ap[0] for c in result.classes][:2] == [1.0, 0.0]
    assert np.isnan([result.classes[2].ap, result.classes[3].ap]).all()
    assert [(c.num_truths, c.num_detections) for c in result.classes] == [(1, 1), (1, 0), (0, 1), (0, 0)]
    assert result.mean_ap.tolist() == [0.5] * 10
    assert [c.recall[0] for c in result.classes][:2] == [1.0, 0.0]


def test_nothing_at_all():
    empty = Detections(np.zeros((0, 5)), np.zeros(0), np.zeros(0))
    result = eval_oriented_map([empty], [Truths(np.zeros((0, 8)), np.zeros(0))], 2)
    assert np.isnan(result.mean_ap).all()
    assert np.isnan(eval_oriented_map([], [], 2).mean_ap).all()


def test_difficult_truths_alone_are_no_truth():
    box = np.array([[50.0, 50.0, 30.0, 10.0, 0.3]])
    result = eval_oriented_map([Detections(box, np.ones(1), np.zeros(1))], [Truths(box, np.zeros(1), [True])], 1)
    assert result.classes[0].num_truths == 0
    assert np.isnan(result.mean_ap).all()


def test_average_precision_by_size():
    small, large = [20.0, 20.0, 10.0, 10.0, 0.0], [80.0, 80.0, 40.0, 40.0, 0.0]
    predictions = [Detections(np.array([large, [150.0, 20.0, 9.0, 9.0, 0.0]]), np.array([0.9, 0.95]), np.zeros(2))]
    truths = [Truths(np.array([small, large]), np.zeros(2))]
    sizes = {'s': (0, 32), 'm': (32, 96), 'l': (96, np.inf)}
    result = eval_oriented_map(predictions, truths, 1, size_ranges=sizes)
    assert result.mean_ap_by_size('m')[0] == 1.0
    assert result.mean_ap_by_size('s')[0] == 0.0
    assert np.isnan(result.mean_ap_by_size('l')[0])
    assert result.mean_ap[0] == pytest.approx(0.25)


def test_curve_ends_at_the_recall_of_all_detections():
    predictions, truths = random_scene(np.random.default_rng(9), quads=False)
    result = eval_oriented_map(predictions, truths, NUM_CLASSES, (0.5,))
    for item in result.classes[:-1]:
        recall, precision = item.curve(0.5)
        assert len(recall) == item.num_detections
        assert recall[-1] == item.recall[0]
        assert np.all(np.diff(recall) >= 0)
        assert np.all((precision >= 0) & (precision <= 1))


def test_degenerate_boxes_are_misses_not_errors():
    flat = np.array([[50.0, 50.0, 30.0, 0.0, 0.3]])
    result = eval_oriented_map([Detections(flat, np.ones(1), np.zeros(1))], [Truths(flat, np.zeros(1))], 1)
    assert result.mean_ap[0] == 0.0


def test_a_drone_validation_set_takes_seconds():
    rng = np.random.default_rng(0)
    predictions, truths = [], []
    for _ in range(300):
        boxes = np.column_stack(
            [rng.uniform(0, 640, (12, 2)), rng.uniform(10, 50, (12, 2)), rng.uniform(-1.5, 1.5, 12)]
        )
        spread = np.repeat(boxes, 20, axis=0) + rng.normal(0, 1, (240, 5)) * [4, 4, 2, 2, 0.1]
        spread[:, 2:4] = np.maximum(spread[:, 2:4], 1)
        labels = rng.integers(0, 4, 12)
        predictions.append(Detections(spread, rng.random(240), np.repeat(labels, 20)))
        truths.append(Truths(boxes, labels))
    start = time.perf_counter()
    result = eval_oriented_map(predictions, truths, 4)
    assert time.perf_counter() - start < 10
    assert 0.9 < result.classes[0].recall[0] <= 1


def test_errors():
    empty = Detections(np.zeros((0, 5)), np.zeros(0), np.zeros(0))
    truth = Truths(np.array([[50.0, 50.0, 30.0, 10.0, 0.3]]), np.array([3]))
    with pytest.raises(InputError, match='truth of image 0 holds class index 3, expected 0 to 1'):
        eval_oriented_map([empty], [truth], 2)
    with pytest.raises(InputError, match=r'iou_thresholds are \(1.5,\); expected one or more numbers in \[0, 1\)'):
        eval_oriented_map([empty], [truth], 4, (1.5,))
    with pytest.raises(InputError, match="ap_mode is 'coco'"):
        eval_oriented_map([empty], [truth], 4, ap_mode='coco')
