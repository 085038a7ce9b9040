import numpy as np
import pytest
import torch

from stn_det.errors import InputError
from stn_det.evaluation.functional import (
    FALSE_POSITIVE,
    IGNORED,
    TRUE_POSITIVE,
    Detections,
    Truths,
    match_detections,
    match_image,
)

SQUARE = [50.0, 50.0, 20.0, 20.0, 0.0]
QUAD = [40.0, 40.0, 60.0, 40.0, 60.0, 60.0, 40.0, 60.0]


def shifted(box, dx):
    return [box[0] + dx, *box[1:]]


def outcomes(boxes, scores, truths, ignored=None, threshold=0.5):
    detections = Detections(np.array(boxes), np.array(scores), np.zeros(len(boxes)))
    truth = Truths(np.array(truths), np.zeros(len(truths)), ignored)
    return match_image(detections, truth, threshold)


def test_exactly_the_threshold_is_no_match():
    # half of a 20 x 10 truth covered by a box of its own left half: IoU is exactly 0.5
    truth, half = [10.0, 10.0, 20.0, 10.0, 0.0], [5.0, 10.0, 10.0, 10.0, 0.0]
    assert outcomes([half], [0.9], [truth], threshold=0.5)[0].tolist() == [FALSE_POSITIVE]
    assert outcomes([half], [0.9], [truth], threshold=0.4999)[0].tolist() == [TRUE_POSITIVE]


def test_the_best_scored_detection_takes_the_truth():
    judged, found = outcomes([shifted(SQUARE, 3), SQUARE], [0.9, 0.8], [SQUARE])
    assert judged.tolist() == [TRUE_POSITIVE, FALSE_POSITIVE]
    assert found.tolist() == [True]


def test_a_duplicate_does_not_move_on_to_the_second_best_truth():
    truths = [SQUARE, shifted(SQUARE, 5)]
    judged, found = outcomes([SQUARE, shifted(SQUARE, 1)], [0.9, 0.8], truths)
    assert judged.tolist() == [TRUE_POSITIVE, FALSE_POSITIVE]
    assert found.tolist() == [True, False]


def test_equal_scores_keep_their_order():
    assert outcomes([shifted(SQUARE, 3), SQUARE], [0.5, 0.5], [SQUARE])[0].tolist() == [TRUE_POSITIVE, FALSE_POSITIVE]
    assert outcomes([SQUARE, shifted(SQUARE, 3)], [0.5, 0.5], [SQUARE])[0].tolist() == [TRUE_POSITIVE, FALSE_POSITIVE]


def test_identical_truths_count_the_first():
    judged, found = outcomes([SQUARE, SQUARE], [0.9, 0.8], [SQUARE, SQUARE])
    assert judged.tolist() == [TRUE_POSITIVE, FALSE_POSITIVE]
    assert found.tolist() == [True, False]


def test_detections_of_an_ignored_truth_count_neither_way():
    judged, found = outcomes([SQUARE, SQUARE, shifted(SQUARE, 60)], [0.9, 0.8, 0.7], [SQUARE], ignored=[True])
    assert judged.tolist() == [IGNORED, IGNORED, FALSE_POSITIVE]
    assert found.tolist() == [False]


def test_an_ignored_truth_that_is_the_best_hides_a_second_best():
    judged, _ = outcomes([SQUARE], [0.9], [shifted(SQUARE, 3), SQUARE], ignored=[False, True])
    assert judged.tolist() == [IGNORED]


def test_classes_do_not_mix():
    detections = Detections(np.array([SQUARE, SQUARE]), np.array([0.9, 0.8]), np.array([1, 0]))
    judged, found = match_image(detections, Truths(np.array([SQUARE]), np.array([0])))
    assert judged.tolist() == [FALSE_POSITIVE, TRUE_POSITIVE]
    assert found.tolist() == [True]


def test_images_do_not_mix():
    here = Detections(np.array([SQUARE]), np.array([0.9]), np.array([0]))
    nothing = Detections(np.zeros((0, 5)), np.zeros(0), np.zeros(0))
    truth, no_truth = Truths(np.array([SQUARE]), np.array([0])), Truths(np.zeros((0, 8)), np.zeros(0))
    matches = match_detections([here, nothing], [no_truth, truth], 0)
    assert matches.outcomes(0.5).tolist() == [FALSE_POSITIVE]
    assert matches.num_truths() == 1
    assert match_detections([here, nothing], [truth, no_truth], 0).outcomes(0.5).tolist() == [TRUE_POSITIVE]


@pytest.mark.parametrize('box', [SQUARE, [50.0, 50.0, 20.0, 20.0, np.pi / 2], QUAD])
@pytest.mark.parametrize('truth', [SQUARE, QUAD, QUAD[6:] + QUAD[:6], QUAD[4:6] + QUAD[2:4] + QUAD[0:2] + QUAD[6:]])
def test_every_pair_of_forms(box, truth):
    matches = match_detections(
        [Detections(np.array([box]), np.ones(1), np.zeros(1))], [Truths(np.array([truth]), np.zeros(1))], 0
    )
    assert matches.ious.tolist() == pytest.approx([1.0])
    assert matches.sizes.tolist() == pytest.approx([20.0])


def test_sizes_ignore_what_is_outside_the_range():
    small, large = [20.0, 20.0, 10.0, 10.0, 0.0], [80.0, 80.0, 40.0, 40.0, 0.0]
    away_small, away_large = shifted(small, 200), shifted(large, 200)
    detections = Detections(np.array([small, large, away_small, away_large]), np.array([4, 3, 2, 1]), np.zeros(4))
    matches = match_detections([detections], [Truths(np.array([small, large]), np.zeros(2))], 0)
    assert matches.outcomes(0.5, (0, 32)).tolist() == [TRUE_POSITIVE, IGNORED, FALSE_POSITIVE, IGNORED]
    assert matches.outcomes(0.5, (32, np.inf)).tolist() == [IGNORED, TRUE_POSITIVE, IGNORED, FALSE_POSITIVE]
    assert (matches.num_truths((0, 32)), matches.num_truths((40, np.inf)), matches.num_truths((0, 40))) == (1, 1, 1)


def test_tensors_and_box_objects_are_taken():
    class Boxes:
        tensor = torch.tensor([SQUARE], dtype=torch.bfloat16)

    detections = Detections(Boxes(), torch.ones(1), torch.zeros(1, dtype=torch.long))
    assert detections.boxes.dtype == np.float64
    assert detections.boxes.tolist() == [SQUARE]


def test_errors():
    with pytest.raises(InputError, match=r'truth boxes have shape \(1, 4\); expected \(N, 5\)'):
        Truths(np.zeros((1, 4)), np.zeros(1))
    with pytest.raises(InputError, match=r'truth box 1 is not finite: \[nan'):
        Truths(np.array([SQUARE, [np.nan] * 5]), np.zeros(2))
    with pytest.raises(InputError, match='score 0 is nan'):
        Detections(np.array([SQUARE]), np.array([np.nan]), np.zeros(1))
    with pytest.raises(InputError, match='scores has 2 entries for 1 boxes'):
        Detections(np.array([SQUARE]), np.ones(2), np.zeros(1))
    with pytest.raises(InputError, match='1 images have detections and 0 have truths'):
        match_detections([Detections(np.array([SQUARE]), np.ones(1), np.zeros(1))], [], 0)
    empty = Detections(np.zeros((0, 5)), np.zeros(0), np.zeros(0))
    mixed = [Truths(np.array([SQUARE]), np.zeros(1)), Truths(np.array([QUAD]), np.zeros(1))]
    with pytest.raises(InputError, match='truth boxes mix rows of 5 and of 8'):
        match_detections([empty, empty], mixed, 0)
