"""RTMDet's head for oriented boxes: what levels share, losses that fall, predictions in the right frame, odd inputs."""

import math

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn

from stn_det.errors import ConfigError
from stn_det.geometry import rbox_to_qbox
from stn_det.ops import box_iou_rotated

STRIDES = [8, 16]
SIZE = 64
PSEUDO = dict(type='DistanceAnglePointCoder', angle_coder=dict(type='PseudoAngleCoder'))
LINEAR = dict(type='DistanceAnglePointCoder', exp_on_reg=False)
CENTRE = dict(type='OrientedPointCoder')
ANGLE_LOSS = dict(type='SmoothL1Loss', beta=0.1)


def build(**kwargs) -> nn.Module:
    """A small head with weights set."""
    config = dict(
        type='RotatedRTMDetSepBNHead',
        num_classes=3,
        in_channels=16,
        feat_channels=16,
        stacked_convs=1,
        anchor_generator=dict(type='MlvlPointGenerator', strides=STRIDES, offset=0.5),
        test_cfg=ConfigDict(nms_pre=100, score_thr=0.05, nms=dict(iou_threshold=0.1), max_per_img=20),
    )
    head = MODELS.build({**config, **kwargs})
    head.init_weights()
    return head


def features(batch: int = 1) -> list[Tensor]:
    """Random maps of both levels."""
    generator = torch.Generator().manual_seed(3)
    return [torch.randn((batch, 16, SIZE // s, SIZE // s), generator=generator) for s in STRIDES]


def truth(boxes: list[list[float]], labels: list[int]) -> InstanceData:
    """Truth of one image."""
    return InstanceData(bboxes=torch.tensor(boxes).reshape(-1, 5), labels=torch.tensor(labels, dtype=torch.long))


def check_finite(head: nn.Module, losses: dict[str, Tensor]) -> None:
    """Losses in float32 and gradients, all finite."""
    sum(losses.values()).backward()
    assert all(loss.dtype == torch.float32 and torch.isfinite(loss) for loss in losses.values())
    assert all(torch.isfinite(p.grad).all() for p in head.parameters() if p.grad is not None)


META = dict(img_shape=(SIZE, SIZE), scale_factor=(1.0, 1.0))
OBJECTS = truth([[20.0, 24.0, 26.0, 9.0, 0.6], [44.0, 40.0, 18.0, 18.0, 0.0]], [0, 2])


@pytest.mark.parametrize(('coder', 'size'), [(None, 6), (PSEUDO, 5), (LINEAR, 6), (CENTRE, 8)])
def test_untrained_head_is_unsure_and_predicts_upright_squares_of_two_strides(coder: dict | None, size: int) -> None:
    head = build(bbox_coder=coder).eval()
    scores, codes = head(features(2))
    assert [tuple(level.shape) for level in scores] == [(2, 3, 8, 8), (2, 3, 4, 4)]
    assert [tuple(level.shape) for level in codes] == [(2, size, 8, 8), (2, size, 4, 4)]
    assert scores[0].sigmoid().mean().item() == pytest.approx(0.01, abs=0.001)
    point = torch.tensor([0.0, 0.0, 8.0]).expand(64, 3)
    boxes = head.bbox_coder.decode(point, codes[0][0].flatten(1).T)
    expected = torch.tensor([0.0, 0.0, 16.0, 16.0, 0.0])
    assert (boxes - expected).abs().amax(0).tolist() < [1.0, 1.0, 1.5, 1.5, 0.2]
    assert box_iou_rotated(boxes, expected[None]).min() > 0.85


def test_levels_share_convolutions_but_neither_norms_nor_last_layers() -> None:
    head = build(stacked_convs=2)
    for towers in (head.cls_convs, head.reg_convs):
        for first, second in zip(*towers):
            assert first.conv is second.conv
            assert first.bn is not second.bn
            assert first.bn.weight is not second.bn.weight
    for last in (head.rtm_cls, head.rtm_reg, head.rtm_ang):
        assert last[0].weight is not last[1].weight
    assert head.cls_convs[0][0].conv is not head.reg_convs[0][0].conv
    apart = build(stacked_convs=2, share_conv=False)
    assert apart.cls_convs[0][0].conv is not apart.cls_convs[1][0].conv
    shared, single = (sum(p.numel() for p in h.parameters()) for h in (head, apart))
    assert single - shared == 4 * 16 * 16 * 9


def test_a_level_moves_the_statistics_of_its_own_norm_only() -> None:
    one, two = build().train(), build().train()
    two.load_state_dict(one.state_dict())
    fine, coarse = features()
    one([fine, coarse])
    two([10 + fine, coarse])
    for towers in zip(one.cls_convs, two.cls_convs), zip(one.reg_convs, two.reg_convs):
        same = [torch.equal(a[0].bn.running_mean, b[0].bn.running_mean) for a, b in towers]
        assert same == [False, True]


def test_parameter_names_are_those_of_the_field() -> None:
    names = set(build().state_dict())
    assert {
        'cls_convs.1.0.conv.weight',
        'cls_convs.1.0.bn.running_mean',
        'reg_convs.0.0.bn.weight',
        'rtm_cls.0.weight',
        'rtm_reg.1.bias',
        'rtm_ang.1.weight',
    } <= names


def overfit(steps: int = 150, **kwargs) -> Tensor:
    """Best overlap with each of the two objects after training on them."""
    torch.manual_seed(0)
    head, x = build(**kwargs), features()
    optimizer = torch.optim.Adam(head.parameters(), lr=0.01)
    for _ in range(steps):
        losses = head.loss_by_feat(*head(x), [OBJECTS], [META])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    best = head.predict_by_feat(*head(x), batch_img_metas=[META])[0][:2]
    overlap = box_iou_rotated(best.bboxes, OBJECTS.bboxes)
    assert sorted(overlap.argmax(1).tolist()) == [0, 1]
    assert best.labels.tolist() == OBJECTS.labels[overlap.argmax(1)].tolist()
    return overlap.amax(0).detach()


@pytest.mark.parametrize('coder', [None, PSEUDO, LINEAR, CENTRE], ids=['double', 'pseudo', 'linear', 'centre'])
def test_overfits_an_elongated_box_and_a_square(coder: dict | None) -> None:
    assert overfit(bbox_coder=coder).min() > 0.85


@pytest.mark.parametrize('coder', [None, CENTRE], ids=['double', 'centre'])
def test_overfits_with_a_loss_on_the_angle(coder: dict | None) -> None:
    assert overfit(bbox_coder=coder, loss_angle=ANGLE_LOSS).min() > 0.85


def test_an_angle_coder_without_gradient_learns_from_the_loss_on_its_code() -> None:
    coder = dict(type='DistanceAnglePointCoder', angle_coder=dict(type='CSLCoder'))
    assert overfit(bbox_coder=coder, loss_angle=dict(type='SmoothFocalLoss')).min() > 0.75


def test_point_head_can_have_this_assigner() -> None:
    head = MODELS.build(
        dict(
            type='OrientedPointHead',
            num_classes=3,
            in_channels=16,
            feat_channels=16,
            strides=STRIDES,
            assigner=dict(type='RotatedDynamicSoftLabelAssigner', topk=9),
        )
    )
    losses = head.loss_by_feat(*head(features()), [OBJECTS], [META])
    assert losses['loss_bbox'] > 0
    check_finite(head, losses)


def test_angle_loss_by_hand() -> None:
    # an L1 loss on double angles: code (0, 1) against (1, 0) for an elongated box, weight 0.5 * (1 - 1/16)
    head = build(loss_angle=dict(type='L1Loss'))
    codes = torch.tensor([[0.0, 0, 0, 0, 0, 1], [0.0, 0, 0, 0, 0, 1]])
    boxes = torch.tensor([[20.0, 20, 16, 16, 0], [20.0, 20, 16, 16, 0]])
    truths = torch.tensor([[20.0, 20, 16, 4, 0], [20.0, 20, 16, 16, 0]])
    losses = head._box_losses(codes, boxes, truths, torch.tensor([0.5, 0.5]), torch.tensor(2.0))
    assert losses['loss_angle'].item() == pytest.approx(0.5 * 15 / 16 * 2 / 2)


def test_exact_predictions_have_no_box_loss() -> None:
    head = build()
    points, _, _ = head._flatten(*head(features()))
    box = torch.tensor([[30.0, 28.0, 40.0, 20.0, 0.6]])  # every candidate is inside, where the code can be exact
    exact = head.bbox_coder.encode(points, box.expand(len(points), 5))
    maps = [part.T.reshape(1, 6, n, n) for part, n in zip(exact.split([64, 16]), (8, 4))]
    logits = [torch.zeros(1, 3, n, n) for n in (8, 4)]
    losses = head.loss_by_feat(logits, maps, [truth(box.tolist(), [1])], [META])
    assert losses['loss_bbox'].item() == pytest.approx(0, abs=1e-4)
    maps[0][:, 4:], maps[1][:, 4:] = 0, 0
    assert head.loss_by_feat(logits, maps, [truth(box.tolist(), [1])], [META])['loss_bbox'] > 0.1


def test_prediction_is_le90_and_in_the_original_frame() -> None:
    head, x = build().eval(), features()
    outs = head(x)
    cfg = ConfigDict(nms_pre=100, score_thr=0.0, nms=dict(iou_threshold=0.1), max_per_img=20)
    plain = head.predict_by_feat(*outs, batch_img_metas=[META], cfg=cfg)[0]
    half = head.predict_by_feat(*outs, batch_img_metas=[{**META, 'scale_factor': (2.0, 2.0)}], cfg=cfg, rescale=True)[0]
    torch.testing.assert_close(rbox_to_qbox(half.bboxes), rbox_to_qbox(plain.bboxes) / 2)
    assert (plain.bboxes[:, 2] >= plain.bboxes[:, 3]).all()
    assert plain.bboxes[:, 4].ge(-math.pi / 2).all()
    assert plain.bboxes[:, 4].lt(math.pi / 2).all()


def test_prediction_lies_where_the_code_says() -> None:
    head = build()
    scores = [torch.full((1, 3, 8, 8), -10.0), torch.full((1, 3, 4, 4), -10.0)]
    codes = [torch.zeros(1, 6, 8, 8), torch.zeros(1, 6, 4, 4)]
    scores[1][0, 2, 1, 3] = 5.0  # centre of the cell: (56, 24)
    # 3, 1, 1, 1 strides of 16 pixels to left, top, right, bottom of a box that is turned by 45 degrees
    codes[1][0, :, 1, 3] = torch.tensor([math.log(3), 0, 0, 0, 0, 1])
    found = head.predict_by_feat(scores, codes, batch_img_metas=[META])[0]
    back = 16 / math.sqrt(2)
    expected = torch.tensor([[56 - back, 24 - back, 64, 32, math.pi / 4]])
    torch.testing.assert_close(found.bboxes, expected)
    assert found.labels.tolist() == [2]
    assert found.scores.item() == pytest.approx(1 / (1 + math.exp(-5)))


@pytest.mark.parametrize('batch', [[truth([], [])], [truth([], []), OBJECTS]])
def test_images_without_objects(batch: list[InstanceData]) -> None:
    head = build(loss_angle=ANGLE_LOSS)
    check_finite(head, head.loss_by_feat(*head(features(len(batch))), batch, [META] * len(batch)))


def test_only_ignored_objects_bear_no_loss_inside() -> None:
    head = build()
    everything = InstanceData(bboxes=torch.tensor([[32.0, 32.0, 200.0, 200.0, 0.0]]))
    losses = head.loss_by_feat(*head(features()), [truth([], [])], [META], [everything])
    assert losses['loss_cls'].item() == 0
    check_finite(head, losses)


def test_three_thousand_objects() -> None:
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand((3000, 5), generator=generator) * torch.tensor([SIZE, SIZE, 20, 10, 3.0])
    crowd = InstanceData(bboxes=boxes, labels=torch.arange(3000) % 3)
    head = build(loss_angle=ANGLE_LOSS)
    check_finite(head, head.loss_by_feat(*head(features()), [crowd], [META]))


@pytest.mark.parametrize('coder', [None, PSEUDO, LINEAR], ids=['double', 'pseudo', 'linear'])
def test_autocast_and_extreme_boxes_stay_finite(coder: dict | None) -> None:
    odd = truth(
        [[20.0, 24.0, 0.0, 0.0, 0.6], [-300.0, 40.0, 18.0, 18.0, 9.0], [30.0, 30.0, 5000.0, 0.1, 0.0]], [0, 1, 2]
    )
    head = build(bbox_coder=coder)
    with torch.no_grad():
        head.rtm_reg[0].bias[:2] = 1e4
        head.rtm_reg[1].bias[:] = -1e4
    with torch.autocast('cpu', dtype=torch.bfloat16):
        outs = head(features())
        losses = head.loss_by_feat(*outs, [odd], [META])
        found = head.predict_by_feat(*outs, batch_img_metas=[META], cfg=ConfigDict(score_thr=0.0))[0]
    assert outs[1][0].dtype == torch.float32
    assert torch.isfinite(found.bboxes).all()
    check_finite(head, losses)


def test_nothing_above_the_threshold_gives_empty_instances() -> None:
    head = build()
    cfg = ConfigDict(nms_pre=100, score_thr=0.99, nms=dict(iou_threshold=0.1), max_per_img=20)
    found = head.predict_by_feat(*head(features()), batch_img_metas=[META], cfg=cfg, rescale=True)[0]
    assert found.bboxes.shape == (0, 5)
    assert found.scores.shape == found.labels.shape == (0,)


@pytest.mark.parametrize(
    ('kwargs', 'match'),
    [
        (dict(num_classes=0), 'num_classes is 0; expected'),
        (dict(stacked_convs=0), 'stacked_convs is 0; expected'),
        (dict(test_cfg=ConfigDict(nms=dict(type='soft_nms'))), r'test_cfg.nms is .*expected dict\(type='),
    ],
)
def test_what_cannot_be_built_is_refused(kwargs: dict, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        build(**kwargs)
