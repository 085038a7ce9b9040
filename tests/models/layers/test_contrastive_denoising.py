"""Denoising queries: bounds of the noise in the box's own axes, groups that see only themselves, odd batches."""

import math

import pytest
import torch
from mmengine.structures import InstanceData
from torch import Tensor

from stn_det.errors import ConfigError
from stn_det.models.layers import ContrastiveDenoising
from stn_det.models.layers.batch_truth import BatchTruth
from stn_det.models.layers.flat_levels import Frame

SIZE = (1000, 1500)


def truth_of(*counts: int, classes: int = 5) -> BatchTruth:
    """Boxes far from the border of images of 1000 x 1500 pixels."""
    generator = torch.Generator().manual_seed(0)
    instances = []
    for count in counts:
        boxes = torch.rand(count, 5, generator=generator)
        boxes = boxes * torch.tensor([500.0, 300, 100, 30, 3]) + torch.tensor([500.0, 350, 100, 20, -1.5])
        instances.append(InstanceData(bboxes=boxes, labels=torch.arange(count) % classes))
    return BatchTruth.of(instances, [dict(img_shape=SIZE)] * len(counts))


def frame(number: int) -> Frame:
    """Images without padding."""
    return Frame((SIZE,) * number, SIZE, torch.tensor([SIZE] * number, dtype=torch.float32))


def noise_of(spoilt: Tensor, boxes: Tensor) -> Tensor:
    """Shift along and across, and growth of the sides, as parts of the sides (..., 4), and the turn (..., 1)."""
    shift = spoilt[..., :2] - boxes[..., :2]
    cos, sin = boxes[..., 4].cos(), boxes[..., 4].sin()
    along, across = shift[..., 0] * cos + shift[..., 1] * sin, shift[..., 1] * cos - shift[..., 0] * sin
    growth = spoilt[..., 2:4] - boxes[..., 2:4]
    parts = torch.cat([torch.stack([along, across], -1), growth], -1) / boxes[..., [2, 3, 2, 3]]
    return torch.cat([parts, spoilt[..., 4:] - boxes[..., 4:]], -1)


@pytest.mark.parametrize('scale', [0.4, 1.0])
def test_noise_stays_in_its_bounds_along_the_axes_of_the_box(scale: float) -> None:
    torch.manual_seed(0)
    maker = ContrastiveDenoising(5, 8, box_noise_scale=scale)
    boxes = truth_of(6).boxes.expand(1, 400, 2, 6, 5)
    noise = noise_of(maker.spoilt_boxes(boxes), boxes)
    positive, negative = noise[:, :, 0, :, :4].abs(), noise[:, :, 1, :, :4].abs()
    assert positive.max() < scale / 2 + 1e-4
    assert positive.max() > 0.99 * scale / 2
    assert negative.min() > scale / 2 - 1e-4
    assert negative.max() < scale + 1e-4
    assert noise[..., :4].mean().abs() < 0.02 * scale  # either sign
    assert noise[..., 4].abs().max() == 0


def test_noise_of_the_angle_only_where_it_is_asked() -> None:
    torch.manual_seed(0)
    boxes = truth_of(6).boxes.expand(1, 400, 2, 6, 5)
    turns = noise_of(ContrastiveDenoising(5, 8, angle_noise=0.1).spoilt_boxes(boxes), boxes)[..., 4].abs()
    assert 0.09 < turns[:, :, 0].max() < 0.1 + 1e-5
    assert turns[:, :, 1].min() > 0.1 - 1e-5
    assert turns[:, :, 1].max() < 0.2 + 1e-5


def test_states_are_those_of_the_spoilt_boxes_in_order() -> None:
    maker, truth = ContrastiveDenoising(5, 8, num_dn_queries=8, box_noise_scale=0.0), truth_of(4, 2)
    made = maker(truth, frame(2))
    assert (made.groups, made.slots, tuple(made.states.shape)) == (2, 4, (2, 16, 5))
    for group in range(4):  # two groups of positive and negative queries
        rows = made.states[:, 4 * group : 4 * group + 4]
        assert torch.allclose(rows[0], truth.states[:4], atol=1e-6)
        assert torch.allclose(rows[1, :2], truth.states[4:], atol=1e-6)
        assert (rows[1, 2:] == 0).all()


def test_labels_are_replaced_half_as_often_as_the_scale_says() -> None:
    torch.manual_seed(0)
    maker, labels = ContrastiveDenoising(4, 8, label_noise_scale=0.5), torch.full((20000,), 2)
    spoilt = maker.spoilt_labels(labels)
    assert (spoilt != labels).float().mean().item() == pytest.approx(0.25 * 3 / 4, abs=0.01)
    assert spoilt.unique().tolist() == [0, 1, 2, 3]
    assert torch.equal(ContrastiveDenoising(4, 8, label_noise_scale=0.0).spoilt_labels(labels), labels)


def test_content_is_that_of_the_label() -> None:
    maker, truth = ContrastiveDenoising(5, 8, num_dn_queries=4, label_noise_scale=0.0), truth_of(4)
    made = maker(truth, frame(1))
    assert torch.equal(made.content[0, :4], maker.label_embedding(truth.labels))
    assert torch.equal(made.content[0, 4:], made.content[0, :4])


def test_the_mask_isolates_groups() -> None:
    made = ContrastiveDenoising(5, 8, num_dn_queries=6)(truth_of(2, 1), frame(2))
    hidden = made.mask(3)
    assert made.groups == 3
    assert hidden.shape == (15, 15)
    for row in range(15):
        for column in range(15):
            sees = column >= 12 or (row < 12 and row // 4 == column // 4)
            assert hidden[row, column].item() != sees, (row, column)


@pytest.mark.parametrize(
    ('counts', 'groups', 'slots'), [((100,), 1, 100), ((30, 5), 3, 30), ((1,), 30, 1), ((0, 0), 30, 0), ((0, 7), 14, 7)]
)
def test_groups_fill_the_number_of_queries(counts: tuple, groups: int, slots: int) -> None:
    made = ContrastiveDenoising(5, 8)(truth_of(*counts), frame(len(counts)))
    assert (made.groups, made.slots) == (groups, slots)
    assert made.states.shape == (len(counts), 2 * groups * slots, 5)


def test_without_objects_there_are_no_queries_and_the_table_has_a_gradient() -> None:
    maker = ContrastiveDenoising(5, 8)
    made = maker(truth_of(0, 0), frame(2))
    assert made.mask(4) is None
    torch.cat([made.content, torch.ones(2, 4, 8)], 1).sum().backward()
    assert torch.equal(maker.label_embedding.weight.grad, torch.zeros(5, 8))


def test_a_crowded_image_lends_a_random_part() -> None:
    torch.manual_seed(0)
    maker, truth = ContrastiveDenoising(5, 8, num_dn_queries=10, box_noise_scale=0.0), truth_of(300, 4)
    first, second = maker(truth, frame(2)), maker(truth, frame(2))
    assert first.truth.counts == [10, 4]
    assert first.slots == 10
    whole = {tuple(box) for box in truth.boxes[:300].tolist()}
    parts = [{tuple(box) for box in made.truth.boxes[:10].tolist()} for made in (first, second)]
    assert parts[0] < whole
    assert parts[1] < whole
    assert parts[0] != parts[1]
    assert torch.allclose(first.states[0, :10], first.truth.states[:10], atol=1e-6)


def test_boxes_beyond_the_border_stay_states() -> None:
    torch.manual_seed(0)
    instance = InstanceData(bboxes=torch.tensor([[2.0, 998, 400, 100, 0.4]]), labels=torch.tensor([0]))
    truth = BatchTruth.of([instance], [dict(img_shape=SIZE)])
    states = ContrastiveDenoising(5, 8)(truth, frame(1)).states
    assert (states[..., :4] >= 0).all()
    assert (states[..., :4] <= 1).all()
    assert (states[..., 4].abs() <= math.pi / 2 + 1e-6).all()


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(num_dn_queries=0), r'num_dn_queries is 0; expected at least 1'),
        (dict(max_groups=0), r'max_groups is 0'),
        (dict(box_noise_scale=1.5), r'box_noise_scale is 1.5; expected a number in \[0, 1\]'),
        (dict(label_noise_scale=-0.1), r'label_noise_scale is -0.1'),
        (dict(angle_noise=-0.1), r'angle_noise is -0.1; expected radians'),
    ],
)
def test_bad_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ContrastiveDenoising(5, 8, **settings)
