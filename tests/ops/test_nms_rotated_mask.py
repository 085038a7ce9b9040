"""Rotated NMS as a mask against the one that gives indices, and on batches of images."""

import doctest
import math
import sys

import pytest
import torch

from stn_det.errors import InputError
from stn_det.ops import nms_rotated, nms_rotated_mask

pytestmark = pytest.mark.usefixtures('implementation')


@pytest.mark.parametrize('num_labels', [None, 3])
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16])
def test_marks_what_is_kept(oracle, num_labels, dtype) -> None:
    boxes, scores = oracle.random_rboxes(200, extent=120).to(dtype), torch.rand(200).to(dtype)
    labels = None if num_labels is None else torch.arange(200) % num_labels - 1
    scores[::7], scores[9], boxes[5, 2] = 0.5, math.nan, math.inf
    keep = nms_rotated_mask(boxes, scores, 0.2, labels)
    assert (keep.dtype, keep.shape) == (torch.bool, (200,))
    assert keep.nonzero()[:, 0].tolist() == sorted(nms_rotated(boxes, scores, 0.2, labels).tolist())


def test_a_batch_is_its_images_one_by_one(oracle) -> None:
    boxes, scores = oracle.random_rboxes(300, extent=80).view(5, 60, 5), torch.rand(5, 60)
    labels = torch.arange(300).view(5, 60) * 7 % 4
    scores[2, 40:] = math.nan  # an image with fewer boxes
    groups = 4 * torch.arange(5)[:, None] + labels
    keep = nms_rotated_mask(boxes.flatten(0, 1), scores.flatten(), 0.2, groups.flatten()).view(5, 60)
    for image in range(5):
        assert torch.equal(keep[image], nms_rotated_mask(boxes[image], scores[image], 0.2, labels[image]))
    assert not keep[2, 40:].any()
    assert 0.1 < keep.double().mean() < 0.9


def test_empty_and_errors() -> None:
    assert nms_rotated_mask(torch.zeros(0, 5), torch.zeros(0), 0.5).shape == (0,)
    with pytest.raises(InputError, match=r'boxes has shape \(2, 4\), expected \(M, 5\)'):
        nms_rotated_mask(torch.zeros(2, 4), torch.zeros(2), 0.5)


def test_the_example() -> None:
    done = doctest.testmod(sys.modules[nms_rotated_mask.__module__])
    assert (done.failed, done.attempted > 5) == (0, True)


@pytest.mark.usefixtures('compiled')
def test_compiles_whole_without_sizes_that_depend_on_values(implementation, oracle) -> None:
    if implementation == 'python':
        pytest.skip('plain PyTorch reads values')
    boxes, scores = oracle.random_rboxes(50).float(), torch.rand(50)
    whole = torch.compile(nms_rotated_mask, fullgraph=True, backend='aot_eager')
    assert torch.equal(whole(boxes, scores, 0.3), nms_rotated_mask(boxes, scores, 0.3))
