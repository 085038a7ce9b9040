"""The dense alignment neck: identity at the start, frames that learn from boxes, odd inputs."""

import copy
import doctest
import sys

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from stn_det.errors import ConfigError, InputError
from stn_det.models import STNAlignNeck
from stn_det.models.layers import LocalFrames
from stn_det.structures import RotatedBoxes

STRIDES = (8, 16)
BOXES = [[30.0, 26.0, 40.0, 12.0, 0.7], [88.0, 40.0, 20.0, 20.0, 0.0]]


def build(**kwargs) -> STNAlignNeck:
    """A small neck with weights set."""
    config = dict(type='STNAlignNeck', in_channels=8, strides=STRIDES, tower_channels=8)
    neck = MODELS.build({**config, **kwargs})
    neck.init_weights()
    return neck


def levels(batch: int = 2, size: tuple[int, int] = (72, 120)) -> tuple[Tensor, ...]:
    """Random maps of both levels, of odd sizes by default."""
    return tuple(torch.randn(batch, 8, -(-size[0] // s), -(-size[1] // s)) for s in STRIDES)


def sample(boxes: list) -> DetDataSample:
    """Truth of one image."""
    data = DetDataSample()
    data.gt_instances = InstanceData(bboxes=torch.tensor(boxes).reshape(-1, 5))
    return data


def perfect_frames(neck: STNAlignNeck, samples: list[DetDataSample], x: tuple[Tensor, ...]) -> list[LocalFrames]:
    """Frames that agree with the boxes."""
    boxes = [each.gt_instances.bboxes for each in samples]
    targets = [neck._targets(boxes, frames, level) for level, frames in enumerate(neck.predict_frames(x))]
    return [LocalFrames(target.offset, target.log_scale, target.direction) for target in targets]


@pytest.mark.parametrize('training', [True, False])
def test_untrained_neck_is_the_identity_bit_for_bit(training: bool) -> None:
    neck = build(init_cfg=dict(type='Normal', layer='Conv2d', std=1.0)).train(training)
    x = levels()
    assert neck.tower[0].conv.weight.std() > 0.5
    for level, result in zip(x, neck(x)):
        assert torch.equal(result, level)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_identity_under_autocast_and_for_other_layouts(dtype: torch.dtype) -> None:
    neck = build()
    x = tuple(level.to(dtype).transpose(2, 3) for level in levels())
    with torch.autocast('cpu', dtype=torch.bfloat16):
        results = neck(x)
    for level, result in zip(x, results):
        assert result.dtype == dtype
        assert torch.equal(result, level)


def test_trained_neck_reads_through_its_frames() -> None:
    neck, x = build(), levels()
    torch.nn.init.normal_(neck.out.weight)
    regular = neck(x)
    torch.nn.init.constant_(neck.frame.bias, 0.5)
    turned = neck(x)
    for level, one, other in zip(x, regular, turned):
        assert one.shape == other.shape == level.shape
        assert (one - level).abs().max() > 0.1
        assert (other - one).abs().max() > 0.1


def test_frames_are_to_be_had_in_evaluation() -> None:
    frames = build().eval().predict_frames(levels(batch=1))
    assert [tuple(frame.angle.shape) for frame in frames] == [(1, 9, 15), (1, 5, 8)]
    assert all(frame.angle.eq(0).all() and frame.scale.eq(1).all() for frame in frames)


def test_loss_is_zero_where_the_frames_match_and_positive_elsewhere() -> None:
    neck, x, truth = build(), levels(), [sample(BOXES), sample(BOXES[:1])]
    neck._kept = perfect_frames(neck, truth, x)
    matched = neck.auxiliary_loss(truth)
    assert sorted(matched) == ['loss_frame_angle', 'loss_frame_offset', 'loss_frame_scale']
    assert all(loss.item() == pytest.approx(0, abs=1e-6) for loss in matched.values())
    for part, name in enumerate(('loss_frame_offset', 'loss_frame_scale', 'loss_frame_angle')):
        frames = [list(frame) for frame in perfect_frames(neck, truth, x)]
        for frame in frames:
            frame[part] = frame[part] + 0.5
        neck._kept = [LocalFrames(*frame) for frame in frames]
        assert [key for key, loss in neck.auxiliary_loss(truth).items() if loss > 1e-3] == [name]


def test_loss_trains_the_frames_and_nothing_else() -> None:
    neck, x = build(), levels()
    neck(x)
    sum(neck.auxiliary_loss([sample(BOXES)] * 2).values()).backward()
    assert neck.frame.weight.grad.abs().sum() > 0
    assert neck.out.weight.grad is None


def test_frames_learn_the_boxes() -> None:
    neck, x, truth = build(aux_weight=1.0), levels(1, (56, 64)), [sample(BOXES[:1])]
    optimizer = torch.optim.Adam(neck.parameters(), lr=0.02)
    for _ in range(60):
        neck(x)
        loss = sum(neck.auxiliary_loss(truth).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    frame = neck.predict_frames(x)[0]
    cell = (0, 3, 3)  # centre (28, 28), inside of the first box
    assert frame.angle[cell].item() == pytest.approx(0.7, abs=0.05)
    assert frame.scale[:, :, 3, 3][0].tolist() == pytest.approx([40 / 24, 12 / 24], rel=0.1)
    assert (frame.offset[0, :, 3, 3] * 8).tolist() == pytest.approx([2, -2], abs=0.5)


def test_images_without_boxes_give_zero_with_a_gradient() -> None:
    neck = build()
    neck(levels())
    losses = neck.auxiliary_loss([sample([]), sample([])])
    sum(losses.values()).backward()
    assert all(loss.item() == 0 for loss in losses.values())
    assert neck.frame.weight.grad.abs().sum() == 0


def test_boxes_of_other_types_are_accepted() -> None:
    truth = [sample(BOXES), sample([])]
    truth[0].gt_instances.bboxes = RotatedBoxes(truth[0].gt_instances.bboxes)
    truth[1].gt_instances = InstanceData(bboxes=torch.tensor([[10.0, 20.0, 60.0, 40.0]]))
    neck = build()
    neck(levels())
    assert all(torch.isfinite(loss) for loss in neck.auxiliary_loss(truth).values())


@pytest.mark.parametrize(('training', 'weight'), [(False, 1.0), (True, 0.0)])
def test_nothing_is_kept_without_need(training: bool, weight: float) -> None:
    neck = build(aux_weight=weight).train(training)
    neck(levels())
    assert neck.auxiliary_loss([sample(BOXES)] * 2) == {}


def test_frames_are_given_up_with_the_loss_and_never_copied() -> None:
    neck = build()
    neck(levels())
    assert copy.deepcopy(neck).auxiliary_loss([sample(BOXES)] * 2) == {}
    assert neck.auxiliary_loss([sample(BOXES)] * 2)
    assert neck.auxiliary_loss([sample(BOXES)] * 2) == {}


def test_autocast_trains_in_float32_where_it_matters() -> None:
    neck = build()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        neck(levels())
        losses = neck.auxiliary_loss([sample(BOXES)] * 2)
    assert all(loss.dtype == torch.float32 and torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    assert torch.isfinite(neck.frame.weight.grad).all()


@pytest.mark.parametrize(
    ('shapes', 'match'),
    [
        ([(1, 8, 9, 9)], r'got 1 levels of shapes .* has strides \(8, 16\); expected one level a stride'),
        ([(1, 8, 9, 9), (1, 4, 5, 5)], r'level 1 has shape \(1, 4, 5, 5\), expected \(N, 8, H, W\); in_channels'),
        ([(1, 8, 9, 9), (8, 5, 5)], r'level 1 has shape \(8, 5, 5\), expected'),
    ],
)
def test_levels_that_do_not_fit_are_refused(shapes: list[tuple[int, ...]], match: str) -> None:
    with pytest.raises(InputError, match=match):
        build()([torch.zeros(shape) for shape in shapes])


@pytest.mark.parametrize(
    ('kwargs', 'match'),
    [
        (dict(strides=(16, 8)), r'strides is \(16, 8\); expected .* finest first'),
        (dict(strides=()), 'strides is'),
        (dict(stacked_convs=0), 'stacked_convs is 0; expected at least 1'),
        (dict(max_offset=0.2), 'max_offset is 0.2; expected 0.5 cells or more'),
        (dict(max_scale=1.0), 'max_scale is 1.0; expected more than 1'),
        (dict(size_range=(4.0, 2.0)), r'size_range is \(4.0, 2.0\); expected'),
        (dict(aux_weight=-1.0), 'aux_weight is -1.0; expected 0 or more'),
    ],
)
def test_impossible_settings_are_refused(kwargs: dict, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        build(**kwargs)


def test_the_example_holds() -> None:
    assert doctest.testmod(sys.modules['stn_det.models.necks.stn_align_neck']).attempted > 0
    assert doctest.testmod(sys.modules['stn_det.models.necks.stn_align_neck']).failed == 0
