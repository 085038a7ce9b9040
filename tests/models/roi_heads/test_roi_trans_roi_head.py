"""RoI Transformer's second stage: stages learn and refine, gradients from stage to stage, headings, odd inputs."""

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from stn_det.errors import ConfigError
from stn_det.geometry import rbox_to_hbox
from stn_det.models import RoITransRoIHead
from stn_det.ops import box_iou_rotated

STRIDES = [4, 8]
SIZE = 64


def stage(overlaps: str, num: int) -> dict:
    """Training settings of a stage."""
    thresholds = dict(pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5, match_low_quality=False, ignore_iof_thr=0.5)
    return dict(
        assigner=dict(type='ChunkedMaxIoUAssigner', iou_calculator=dict(type=overlaps), **thresholds),
        sampler=dict(type='RandomSampler', num=num, pos_fraction=0.5, add_gt_as_proposals=True),
    )


def build(num: int = 64, agnostic: bool = True, proj_xy: bool = True, **options) -> RoITransRoIHead:
    """A small head of three classes with weights set."""
    head = dict(
        type='RotatedShared2FCBBoxHead', in_channels=8, num_classes=3, fc_out_channels=64, reg_class_agnostic=agnostic
    )
    first = dict(type='DeltaXYWHTHBBoxCoder', edge_swap=True, norm_factor=2, target_stds=(0.1, 0.1, 0.2, 0.2, 0.1))
    later = dict(first, type='DeltaXYWHTRBBoxCoder', proj_xy=proj_xy, target_stds=(0.05, 0.05, 0.1, 0.1, 0.05))
    roi_align = dict(type='RoIAlign', output_size=7, sampling_ratio=2)
    rotated = dict(type='RoIAlignRotated', out_size=7, sample_num=2, clockwise=True)
    config = dict(
        type='RoITransRoIHead',
        bbox_roi_extractor=[
            dict(type='SingleRoIExtractor', roi_layer=roi_align, out_channels=8, featmap_strides=STRIDES),
            dict(type='RotatedSingleRoIExtractor', roi_layer=rotated, out_channels=8, featmap_strides=STRIDES),
        ],
        bbox_head=[dict(head, bbox_coder=first), dict(head, bbox_coder=later)],
        train_cfg=[stage('BboxOverlaps2D', num), stage('RBboxOverlaps2D', num)],
        test_cfg=dict(score_thr=0.05, nms=dict(type='nms_rotated', iou_threshold=0.1), max_per_img=50),
    )
    built = MODELS.build(ConfigDict({**config, **options}))
    built.init_weights()
    return built


def features(batch: int = 1, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Random maps of both levels."""
    generator = torch.Generator().manual_seed(3)
    return [torch.randn((batch, 8, SIZE // s, SIZE // s), generator=generator).to(dtype) for s in STRIDES]


def sample(boxes: Tensor, labels: list[int], **more: Tensor) -> DetDataSample:
    """One image's truth."""
    data = DetDataSample(metainfo=dict(img_shape=(SIZE, SIZE), ori_shape=(SIZE, SIZE), scale_factor=(2.0, 2.0)))
    ignored = more.pop('ignored', None)
    data.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor(labels, dtype=torch.long), **more)
    if ignored is not None:
        data.ignored_instances = InstanceData(bboxes=ignored, labels=torch.zeros(len(ignored), dtype=torch.long))
    return data


BOXES = torch.tensor([[20.0, 24.0, 26.0, 9.0, 0.6], [44.0, 40.0, 20.0, 14.0, -1.2]])
OBJECTS = sample(BOXES, [0, 2])


def proposals(number: int = 60, dtype: torch.dtype = torch.float32) -> InstanceData:
    """Horizontal boxes about the two objects, and some elsewhere."""
    generator = torch.Generator().manual_seed(7)
    boxes = rbox_to_hbox(BOXES).repeat(number // 2, 1) + torch.randn((number, 4), generator=generator) * 2
    elsewhere = torch.rand((len(boxes[::3]), 2), generator=generator) * 40
    boxes[::3] = torch.cat([elsewhere, elsewhere + 15], 1)
    return InstanceData(bboxes=boxes.to(dtype))


def trained(head: RoITransRoIHead, steps: int = 100) -> RoITransRoIHead:
    """The head after steps on the two objects."""
    optimizer = torch.optim.Adam(head.parameters(), lr=0.003)
    for _ in range(steps):
        losses = head.loss(features(), [proposals()], [OBJECTS])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    return head.eval()


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(end_to_end=True),
        dict(agnostic=False),
        dict(num_stages=3, share_refinement_weights=True),
        dict(num_stages=3, end_to_end=True),
        dict(heading=dict(type='RoIHeading', in_channels=8, num_turns=4)),
    ],
)
def test_it_learns_two_objects_and_predicts_them_in_either_frame(options: dict) -> None:
    head = trained(build(**options))
    found = head.predict(features(), [proposals()], [OBJECTS], rescale=False)[0]
    overlap = box_iou_rotated(BOXES, found.bboxes)
    assert overlap.amax(1).min() > 0.85
    assert found.labels[overlap.argmax(1)].tolist() == [0, 2]
    half = head.predict(features(), [proposals()], [OBJECTS], rescale=True)[0]
    both = torch.cat([found.bboxes[:, :4] / 2, found.bboxes[:, 4:]], 1)
    torch.testing.assert_close(half.bboxes, both, rtol=1e-4, atol=1e-4)


def test_the_second_stage_begins_where_the_first_ends() -> None:
    head = build().eval()
    with torch.no_grad():
        head.bbox_head[0].fc_reg.bias.copy_(torch.tensor([2.0, 0, 0, 0, 1.0]))  # two tenths of the width, 0.2 pi
        head.bbox_head[0].fc_reg.weight.zero_()
    box = torch.tensor([[0.0, 10, 10, 30, 20]])
    _, _, rois = head._through_stages(features(), box, 2)
    turn = 0.1 * 2 * torch.pi
    torch.testing.assert_close(rois, torch.tensor([[0.0, 24.0, 15.0, 20.0, 10.0, turn]]))
    logits, _, _ = head._through_stages(features(), box, 2)
    parts = [head._bbox_forward(0, features(), box)['cls_score'], head._bbox_forward(1, features(), rois)['cls_score']]
    torch.testing.assert_close(logits, (parts[0] + parts[1]) / 2)


def test_added_truth_is_not_handed_on() -> None:
    head, seen = build(), []
    forward = head._bbox_forward
    head._bbox_forward = lambda number, x, rois: seen.append(rois.detach()) or forward(number, x, rois)
    head.loss(features(), [proposals(6)], [OBJECTS])
    assert [len(rois) for rois in seen] == [8, 8]  # six and the truth, added anew; not six, two and two


def second_stage_terms(head: RoITransRoIHead, offset: Tensor) -> dict[str, Tensor]:
    """Losses of the second stage in float64, with the first stage's codes moved by an offset (5,)."""
    refine = head.bbox_head[0].refine
    head.bbox_head[0].refine = lambda rois, scores, codes, labels: refine(rois, scores, codes + offset, labels)
    losses = head.loss(features(dtype=torch.float64), [proposals(8, torch.float64)], [OBJECTS])
    head.bbox_head[0].refine = refine
    return {name: losses[name] for name in ('s1.loss_cls', 's1.loss_bbox')}


@pytest.mark.parametrize('name', ['s1.loss_cls', 's1.loss_bbox'])
@pytest.mark.parametrize('options', [dict(), dict(heading=dict(type='RoIHeading', in_channels=8))])
def test_the_second_loss_reaches_the_first_box_end_to_end(name: str, options: dict) -> None:
    head = build(end_to_end=True, **options).double().eval()
    with torch.no_grad():
        for part in head.bbox_head:
            part.fc_cls.weight.normal_(std=0.1)
            part.fc_reg.weight.normal_(std=0.05)
    offset = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(second_stage_terms(head, offset)[name], offset)
    step = 1e-6
    for index in range(5):
        moved = torch.zeros(5, dtype=torch.float64)
        moved[index] = step
        with torch.no_grad():
            high, low = second_stage_terms(head, moved)[name], second_stage_terms(head, -moved)[name]
        assert gradient[index].item() == pytest.approx(((high - low) / (2 * step)).item(), rel=1e-4, abs=1e-8)
    assert gradient.abs().min() > 1e-6


@pytest.mark.parametrize('end_to_end', [False, True])
def test_stages_take_their_regions_as_given_by_default(end_to_end: bool) -> None:
    head = build(end_to_end=end_to_end)
    losses = head.loss(features(), [proposals()], [OBJECTS])
    (losses['s1.loss_cls'] + losses['s1.loss_bbox']).backward()
    first = head.bbox_head[0].fc_reg.weight.grad
    assert (first is not None and first.abs().sum().item() > 0) == end_to_end


def test_shared_refinements_are_one_head_and_may_go_on_at_test() -> None:
    shared, own = build(num_stages=4, share_refinement_weights=True), build(num_stages=4)
    assert (len(shared.bbox_head), len(own.bbox_head)) == (2, 4)
    losses = shared.loss(features(), [proposals()], [OBJECTS])
    assert sorted(losses) == [f's{number}.loss_{kind}' for number in range(4) for kind in ('bbox', 'cls')]
    cfg = ConfigDict(shared.test_cfg, num_stages=6)
    meta = [OBJECTS.metainfo]
    assert len(shared.predict_bbox(features(), meta, [proposals()], cfg)[0]) > 0
    with pytest.raises(ConfigError, match=r'num_stages is 6; expected the 4 stages of the head'):
        own.predict_bbox(features(), meta, [proposals()], cfg)


def test_a_turned_object_is_read_alike_with_a_heading() -> None:
    head = build(heading=dict(type='RoIHeading', in_channels=8)).eval()
    torch.nn.init.normal_(head.heading.score.weight, std=0.1)
    with torch.no_grad():
        head.bbox_head[1].fc_reg.weight.normal_(std=0.1)
    rois = torch.cat([torch.zeros(2, 1), BOXES], 1)
    other = torch.cat([rois[:, :5], rois[:, 5:] + torch.pi], 1)
    first, second = head._bbox_forward(1, features(), rois), head._bbox_forward(1, features(), other)
    torch.testing.assert_close(first['cls_score'], second['cls_score'], atol=1e-4, rtol=1e-4)
    boxes = [head._refined(1, results) for results in (first, second)]
    torch.testing.assert_close(*boxes, atol=1e-3, rtol=1e-3)


def test_known_headings_bear_a_loss() -> None:
    head = build(heading=dict(type='RoIHeading', in_channels=8, loss_weight=3.0))
    with_headings = sample(BOXES, [0, 2], headings=torch.tensor([0.6, 2.0]))
    losses = head.loss(features(), [proposals()], [with_headings])
    assert losses['s1.loss_heading'].item() == pytest.approx(3 * torch.tensor(2.0).log().item())  # equal scores
    losses['s1.loss_heading'].backward()
    assert head.heading.score.weight.grad.abs().sum() > 0
    assert 's1.loss_heading' not in head.loss(features(), [proposals()], [OBJECTS])


def nothing(**more: Tensor) -> DetDataSample:
    """An image without objects."""
    return sample(torch.zeros(0, 5), [], **more)


def test_images_without_objects_bear_the_loss_of_background() -> None:
    head = build()
    losses = head.loss(features(2), [proposals(), proposals()], [nothing(), OBJECTS])
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    losses = head.loss(features(), [proposals()], [nothing()])
    assert losses['s0.loss_cls'] > 0.5
    assert losses['s1.loss_cls'] > 0.5
    assert losses['s1.loss_bbox'] == 0


def test_only_ignored_objects_bear_no_loss() -> None:
    head = build()
    data = nothing(ignored=torch.tensor([[32.0, 32.0, 400.0, 400.0, 0.3]]))
    losses = head.loss(features(), [proposals()], [data])
    sum(losses.values()).backward()
    assert [loss.item() for loss in losses.values()] == [0, 0, 0, 0]


@pytest.mark.parametrize('end_to_end', [False, True])
def test_empty_proposals_in_training_and_testing(end_to_end: bool) -> None:
    head = build(end_to_end=end_to_end)
    losses = head.loss(features(), [InstanceData(bboxes=torch.zeros(0, 4))], [OBJECTS])
    assert losses['s1.loss_cls'] > 0  # of the added truth
    losses = head.loss(features(), [InstanceData(bboxes=torch.zeros(0, 4))], [nothing()])
    sum(losses.values()).backward()
    assert [loss.item() for loss in losses.values()] == [0, 0, 0, 0]
    assert all(p.grad is not None for p in head.parameters())
    found = head.predict(features(), [InstanceData(bboxes=torch.zeros(0, 4))], [OBJECTS], rescale=True)[0]
    assert found.bboxes.shape == (0, 5)
    assert found.scores.shape == found.labels.shape == (0,)


def test_three_thousand_objects() -> None:
    draw = torch.rand(3000, 5)
    boxes = torch.cat([draw[:, :2] * SIZE, 3 + draw[:, 2:4] * 4, draw[:, 4:]], 1)
    losses = build(num=256).loss(features(), [proposals()], [sample(boxes, [1] * 3000)])
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_autocast_with_extreme_boxes_is_finite() -> None:
    odd = torch.tensor([[20.0, 24.0, 0.0, 0.0, 0.6], [-3e4, 40.0, 18.0, 18.0, 9.0], [30.0, 30.0, 5e4, 1e-4, 0.1]])
    wild = InstanceData(bboxes=torch.cat([rbox_to_hbox(torch.cat([odd, odd * 1e3])), rbox_to_hbox(BOXES)]))
    head = build(end_to_end=True, num_stages=4)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        maps = [level.bfloat16() * 100 for level in features()]
        losses = head.loss(maps, [wild], [sample(torch.cat([odd, BOXES]), [0, 1, 2, 0, 1])])
    sum(losses.values()).backward()
    assert all(loss.dtype == torch.float32 and torch.isfinite(loss) for loss in losses.values())
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        (dict(num_stages=1), 'num_stages is 1; expected at least 2'),
        (dict(stage_loss_weights=(1, 1, 1)), 'stage_loss_weights has 3 entries; expected 1 to 2'),
        (dict(proj_xy=False, heading=dict(type='RoIHeading', in_channels=8)), 'proj_xy=True'),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        build(**options)
