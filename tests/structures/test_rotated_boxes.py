"""RotatedBoxes alone: forms, overlaps, tensor manners."""

import copy
import math

import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes

from stn_det.errors import InputError
from stn_det.geometry import FORMS, canonicalize_rboxes
from stn_det.structures import QuadriBoxes, RotatedBoxes


def test_constructor_stores_what_it_is_given():
    data = torch.tensor([[5.0, 6.0, 10.0, 20.0, 9.0]])
    assert torch.equal(RotatedBoxes(data).tensor, data)


def test_operations_leave_le90(rboxes):
    boxes = RotatedBoxes(rboxes)
    for operate in (
        lambda: boxes.flip_((200, 300)),
        lambda: boxes.rotate_((3, 4), 77),
        lambda: boxes.rescale_((0.3, 2)),
        lambda: boxes.resize_((0.2, 3)),
        lambda: boxes.translate_((1, 1)),
    ):
        operate()
        assert torch.equal(canonicalize_rboxes(boxes.tensor), boxes.tensor)


@pytest.mark.parametrize('form', FORMS)
def test_regularize_boxes_returns_a_form_and_keeps_the_object(form, rboxes):
    boxes = RotatedBoxes(rboxes)
    assert torch.equal(boxes.regularize_boxes(form), canonicalize_rboxes(rboxes, form))
    assert torch.equal(boxes.tensor, rboxes)


def test_regularize_boxes_rejects_unknown_forms(rboxes):
    with pytest.raises(InputError, match=r"form must be one of .* got 'le180'"):
        RotatedBoxes(rboxes).regularize_boxes('le180')


def test_a_subclass_keeps_headings():
    class HeadedBoxes(RotatedBoxes):
        form = 'full'

    boxes = HeadedBoxes([[50.0, 40.0, 10.0, 30.0, 0.0]])  # wider across than along its heading to the right
    boxes.flip_((100, 100), 'horizontal')
    assert torch.allclose(boxes.tensor.abs(), torch.tensor([[50.0, 40.0, 10.0, 30.0, math.pi]]))
    boxes.rotate_((50, 40), 90)  # from the left to upwards
    assert torch.allclose(boxes.tensor, torch.tensor([[50.0, 40.0, 10.0, 30.0, -math.pi / 2]]))
    boxes.resize_((2, 1))
    assert torch.allclose(boxes.tensor[0, 2:4], torch.tensor([20.0, 30.0]))


def test_overlaps_of_known_boxes():
    first = RotatedBoxes([[50.0, 50.0, 20.0, 10.0, 0.0], [50.0, 50.0, 20.0, 10.0, math.pi / 2]])
    expected = torch.tensor([[1.0, 100 / 300], [100 / 300, 1.0]])
    assert torch.allclose(RotatedBoxes.overlaps(first, first), expected, atol=1e-5)
    assert torch.allclose(RotatedBoxes.overlaps(first, first, is_aligned=True), torch.ones(2))
    big = RotatedBoxes([[50.0, 50.0, 40.0, 40.0, 0.0]])
    assert torch.allclose(RotatedBoxes.overlaps(first, big, mode='iof'), torch.ones(2, 1))
    assert torch.allclose(RotatedBoxes.overlaps(big, first, mode='iof'), torch.full((1, 2), 0.125))


def test_overlaps_convert_other_box_types():
    horizontal = HorizontalBoxes([[40.0, 45.0, 60.0, 55.0]])
    quads = QuadriBoxes([[40.0, 45.0, 60.0, 45.0, 60.0, 55.0, 40.0, 55.0]])
    assert torch.allclose(RotatedBoxes.overlaps(horizontal, quads), torch.ones(1, 1))


def test_overlaps_of_no_boxes():
    none, one = RotatedBoxes([]), RotatedBoxes([[50.0, 50.0, 20.0, 10.0, 0.0]])
    assert RotatedBoxes.overlaps(none, one).shape == (0, 1)
    assert RotatedBoxes.overlaps(one, none).shape == (1, 0)
    assert RotatedBoxes.overlaps(none, none, is_aligned=True).shape == (0,)


def test_tensor_manners(rboxes):
    boxes = RotatedBoxes(rboxes)
    assert len(boxes) == 60
    assert boxes[3].shape == (1, 5)
    assert torch.equal(boxes[boxes.areas > 300].tensor, rboxes[rboxes[:, 2] * rboxes[:, 3] > 300])
    assert torch.equal(RotatedBoxes.cat([boxes, boxes[:2]]).tensor, torch.cat([rboxes, rboxes[:2]]))
    assert RotatedBoxes.stack([boxes, boxes]).shape == (2, 60, 5)
    assert boxes.to(torch.float64).dtype == torch.float64
    duplicate = copy.deepcopy(boxes)
    duplicate.translate_((5, 5))
    assert torch.equal(boxes.tensor, rboxes)


def test_gradients_pass_through_operations(rboxes):
    data = rboxes.clone().requires_grad_()
    boxes = RotatedBoxes(data)
    boxes.rotate_((0, 0), 20)
    boxes.rescale_((1.2, 0.9))
    boxes.convert_to('qbox').tensor.square().mean().backward()
    assert data.grad.isfinite().all()
    assert (data.grad != 0).any(dim=0).all()
