"""The alignment head in two modules: what each one starts from, learns and hands on; odd inputs."""

import doctest
import math
import sys

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from stn_det.errors import ConfigError
from stn_det.models import S2AHead
from stn_det.ops import box_iou_rotated
from stn_det.structures import RotatedBoxes

STRIDES = (8, 16)
SIZE = 64
META = dict(img_shape=(SIZE, SIZE), scale_factor=(1.0, 1.0))
ANCHORS = dict(type='AnchorGenerator', scales=[2], ratios=[1.0], strides=list(STRIDES), center_offset=0.5)


def build(**kwargs) -> S2AHead:
    """A small head with weights set."""
    config = dict(
        type='S2AHead',
        num_classes=3,
        in_channels=16,
        feat_channels=16,
        stacked_convs=1,
        anchor_generator=ANCHORS,
        norm_cfg=dict(type='GN', num_groups=4),
        test_cfg=ConfigDict(nms_pre=100, score_thr=0.05, nms=dict(iou_threshold=0.1), max_per_img=20),
    )
    head = MODELS.build({**config, **kwargs})
    head.init_weights()
    return head


def features(batch: int = 1) -> list[Tensor]:
    """Random maps of both levels."""
    return [torch.randn(batch, 16, SIZE // s, SIZE // s) for s in STRIDES]


def truth(boxes: list[list[float]], labels: list[int]) -> InstanceData:
    """Truth of one image."""
    return InstanceData(bboxes=torch.tensor(boxes).reshape(-1, 5), labels=torch.tensor(labels, dtype=torch.long))


OBJECTS = truth([[20.0, 24.0, 26.0, 9.0, 0.6], [44.0, 40.0, 18.0, 18.0, 0.0], [50, 12, 20, 8, -1.55]], [0, 2, 1])


def test_anchors_are_upright_squares_around_the_cells_centres() -> None:
    anchors = build()._anchors(features())
    assert anchors[0][0].tolist() == [4, 4, 16, 16, 0]
    assert anchors[0][8 + 3].tolist() == [28, 12, 16, 16, 0]  # row 1, column 3
    assert anchors[1][-1].tolist() == [56, 56, 32, 32, 0]


def test_published_setting_is_the_default() -> None:
    head = MODELS.build(dict(type='S2AHead', num_classes=15, in_channels=256))
    assert head.strides == (8, 16, 32, 64, 128)
    assert head._anchors([torch.zeros(1, 1, 1, 1)] * 5)[1][0].tolist() == [8, 8, 64, 64, 0]
    assert (head.loss_odm_cls.gamma, head.loss_odm_cls.alpha, head.loss_odm_bbox.beta) == (2.0, 0.25, 1 / 9)
    assert all(assigner.pos_iou_thr == 0.5 and assigner.negatives == (0.0, 0.4) for assigner in head.assigners.values())


def test_refined_boxes_are_the_anchors_moved_by_the_first_module() -> None:
    head = build()
    torch.nn.init.zeros_(head.fam_reg.weight)
    with torch.no_grad():
        head.fam_reg.bias.copy_(torch.tensor([0.5, -0.25, math.log(2), math.log(0.5), 0.1]))  # the turn in units of pi
    refined = head(features(2))[2]
    assert [tuple(level.shape) for level in refined] == [(2, 8, 8, 5), (2, 4, 4, 5)]
    expected = torch.tensor([28 + 8, 12 - 4, 32, 8, 0.1 * math.pi])
    torch.testing.assert_close(refined[0][1, 1, 3], expected, rtol=1e-5, atol=1e-4)


def test_features_are_aligned_with_the_refined_boxes() -> None:
    """Both modules of an aligned head see the level through the boxes that it reports."""
    head, x = build(), features()
    seen: list[Tensor] = []
    head.align_conv.register_forward_hook(lambda module, inputs, output: seen.append(inputs[1]))
    refined = head(x)[2]
    assert all(torch.equal(boxes, level) for boxes, level in zip(seen, refined, strict=True))


@pytest.mark.parametrize('with_orconv', [True, False])
def test_untrained_head_is_unsure_and_close_to_its_anchors(with_orconv: bool) -> None:
    head = build(with_orconv=with_orconv)
    scores, codes, refined, fam_scores, _ = head(features())
    assert scores[0].sigmoid().mean().item() == pytest.approx(0.01, abs=0.005)
    assert fam_scores[1].sigmoid().mean().item() == pytest.approx(0.01, abs=0.005)
    assert codes[0].abs().max() < 0.5
    assert box_iou_rotated(refined[0].flatten(0, 2), head._anchors(features())[0], aligned=True).mean() > 0.7


def test_second_module_does_not_move_the_first() -> None:
    head = build()
    losses = head.loss_by_feat(*head(features()), [OBJECTS], [META])
    (losses['loss_odm_cls'] + losses['loss_odm_bbox']).backward()
    assert head.fam_reg.weight.grad is None
    assert head.fam_reg_convs[0].conv.weight.grad is None
    assert head.align_conv.conv.weight.grad.abs().sum() > 0
    assert head.or_conv.weight.grad.abs().sum() > 0


def test_losses_of_a_perfect_second_module() -> None:
    """Codes that lead from the refined boxes to the truth cost nothing, and sure scores next to nothing."""
    head = build()
    scores, codes, refined, fam_scores, fam_codes = head(features())
    whole = truth([[32.0, 32.0, 60.0, 60.0, 0.0]], [1])
    refined = [torch.tensor([32.0, 32.0, 50.0, 60.0, 0.1]).expand_as(level) for level in refined]
    code = head.bbox_coder.encode(refined[0][0, 0, 0], whole.bboxes[0])
    codes = [code.view(1, 5, 1, 1).expand_as(level) for level in codes]
    sure = torch.tensor([-12.0, 12.0, -12.0]).view(1, 3, 1, 1)
    scores = [sure.expand_as(level) for level in scores]
    losses = head.loss_by_feat(scores, codes, refined, fam_scores, fam_codes, [whole], [META])
    assert losses['loss_odm_bbox'].item() == pytest.approx(0, abs=1e-6)
    assert losses['loss_odm_cls'].item() == pytest.approx(0, abs=1e-6)
    assert losses['loss_fam_cls'].item() > 0.01


GAUSSIAN = dict(
    reg_decoded_bbox=True,
    loss_fam_bbox=dict(type='GaussianBoxLoss', distance='kld'),
    loss_odm_bbox=dict(type='OrientedIoULoss'),
)


@pytest.mark.parametrize('kwargs', [dict(), dict(with_orconv=False), GAUSSIAN], ids=['paper', 'plain', 'decoded'])
def test_it_overfits_three_objects(kwargs: dict) -> None:
    head, x = build(**kwargs), features()
    optimizer = torch.optim.Adam(head.parameters(), lr=0.01)
    totals = []
    for _ in range(100):
        losses = head.loss_by_feat(*head(x), [OBJECTS], [META])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        totals.append(sum(losses.values()).item())
    assert totals[-1] < 0.2 * totals[0]
    best = head.predict_by_feat(*head(x), batch_img_metas=[META])[0][:3]
    overlap = box_iou_rotated(best.bboxes, OBJECTS.bboxes)
    assert sorted(overlap.argmax(1).tolist()) == [0, 1, 2]
    assert best.labels.tolist() == OBJECTS.labels[overlap.argmax(1)].tolist()
    assert overlap.amax(0).min() > 0.7


def test_prediction_is_le90_and_in_the_original_frame() -> None:
    head = build()
    outs = head(features())
    cfg = ConfigDict(nms_pre=100, score_thr=0.0, nms=dict(iou_threshold=0.1), max_per_img=20)
    plain = head.predict_by_feat(*outs, batch_img_metas=[META], cfg=cfg)[0]
    half = head.predict_by_feat(*outs, batch_img_metas=[{**META, 'scale_factor': (2.0, 2.0)}], cfg=cfg, rescale=True)[0]
    torch.testing.assert_close(half.bboxes[:, :4], plain.bboxes[:, :4] / 2)
    torch.testing.assert_close(half.bboxes[:, 4], plain.bboxes[:, 4])
    assert len(plain) == 20
    assert (plain.bboxes[:, 2] >= plain.bboxes[:, 3]).all()
    assert (plain.bboxes[:, 4].abs() <= math.pi / 2).all()


def test_detection_does_without_the_first_modules_classes() -> None:
    head, x = build(), features(2)
    samples = [DetDataSample(metainfo=META) for _ in range(2)]
    head.test_cfg = ConfigDict(score_thr=0.005, nms=dict(iou_threshold=0.1))
    expected = head.predict_by_feat(*head(x), batch_img_metas=[META, META])
    head.fam_cls.forward = None  # would raise if it were called
    for found, known in zip(head.predict(x, samples), expected, strict=True):
        assert len(found) == len(known) > 0
        assert torch.equal(found.bboxes, known.bboxes)


def test_nothing_above_the_threshold_gives_empty_instances() -> None:
    head = build()
    cfg = ConfigDict(score_thr=0.99, nms=dict(iou_threshold=0.1))
    found = head.predict_by_feat(*head(features()), batch_img_metas=[META], cfg=cfg, rescale=True)[0]
    assert found.bboxes.shape == (0, 5)
    assert found.scores.shape == found.labels.shape == (0,)


NOTHING = truth([], [])
IGNORED = InstanceData(bboxes=RotatedBoxes([[32.0, 32.0, 300.0, 300.0, 0.3]]))
MANY = truth([[3.0 + 5 * (i % 12), 3 + 0.02 * i, 4, 2, 0.1 * (i % 31) - 1.5] for i in range(3000)], [0] * 3000)
EXTREME = truth([[20.0, 24, 0, 0, 0.6], [-3e3, 40, 18, 18, 9.0], [30, 30, 5e4, 0.1, 0], [30, 30, 1e-9, 9, 0]], [0] * 4)


@pytest.mark.parametrize('kwargs', [dict(), GAUSSIAN], ids=['deltas', 'decoded'])
@pytest.mark.parametrize(
    ('objects', 'ignored'),
    [
        ([NOTHING], None),
        ([NOTHING, OBJECTS], None),
        ([NOTHING], [IGNORED]),
        ([OBJECTS, NOTHING], [IGNORED, IGNORED]),
        ([MANY], None),
        ([EXTREME], [IGNORED]),
    ],
    ids=['empty', 'one empty', 'only ignored', 'ignored', 'many', 'extreme'],
)
def test_losses_and_gradients_stay_finite(objects: list, ignored: list | None, kwargs: dict) -> None:
    head = build(**kwargs)
    losses = head.loss_by_feat(*head(features(len(objects))), objects, [META] * len(objects), ignored)
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(parameter.grad is not None and torch.isfinite(parameter.grad).all() for parameter in head.parameters())


def test_images_without_objects_are_all_background() -> None:
    head = build()
    losses = head.loss_by_feat(*head(features()), [NOTHING], [META])
    assert losses['loss_fam_bbox'] == losses['loss_odm_bbox'] == 0
    assert losses['loss_fam_cls'] > 0
    assert losses['loss_odm_cls'] > 0


def test_only_ignored_objects_bear_no_loss() -> None:
    head = build()
    losses = head.loss_by_feat(*head(features()), [NOTHING], [META], [IGNORED])
    assert all(loss == 0 for loss in losses.values())


def test_predictions_out_of_any_range_stay_finite() -> None:
    head = build()
    scores, codes, refined, fam_scores, fam_codes = head(features())
    codes, fam_codes = ([level * 0 + 1e4 for level in maps] for maps in (codes, fam_codes))
    losses = head.loss_by_feat(scores, codes, refined, fam_scores, fam_codes, [OBJECTS], [META])
    assert all(torch.isfinite(loss) for loss in losses.values())
    torch.nn.init.constant_(head.fam_reg.bias, 1e4)
    assert all(torch.isfinite(level).all() for maps in head(features()) for level in maps)
    cfg = ConfigDict(score_thr=0.0, nms=dict(iou_threshold=0.1))
    found = head.predict_by_feat(*head(features()), batch_img_metas=[META], cfg=cfg)[0]
    assert torch.isfinite(found.bboxes).all()


def test_autocast_bfloat16_keeps_boxes_in_float32() -> None:
    head = build()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        outs = head(features())
        losses = head.loss_by_feat(*outs, [OBJECTS], [META])
        found = head.predict_by_feat(*outs, batch_img_metas=[META], cfg=ConfigDict(score_thr=0.0))[0]
    assert outs[0][0].dtype == torch.bfloat16
    assert all(maps[0].dtype == torch.float32 for maps in (outs[1], outs[2], outs[4]))
    assert found.bboxes.dtype == torch.float32
    sum(losses.values()).backward()
    assert all(loss.dtype == torch.float32 and torch.isfinite(loss) for loss in losses.values())


def test_assigners_of_mmdet_serve_too() -> None:
    rule = dict(pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0.01)
    plain = build(
        train_cfg=ConfigDict(
            fam_cfg=dict(
                assigner=dict(type='ChunkedMaxIoUAssigner', iou_calculator=dict(type='RBboxOverlaps2D'), **rule)
            ),
            odm_cfg=dict(
                assigner=dict(type='ChunkedMaxIoUAssigner', iou_calculator=dict(type='RBboxOverlaps2D'), **rule)
            ),
        )
    )
    theirs = dict(type='MaxIoUAssigner', iou_calculator=dict(type='RBboxOverlaps2D'), **rule)
    other = build(train_cfg=ConfigDict(fam_cfg=dict(assigner=theirs), odm_cfg=dict(assigner=theirs)))
    outs = plain(features())
    losses, same = (head.loss_by_feat(*outs, [OBJECTS], [META]) for head in (plain, other))
    assert losses.keys() == same.keys()
    for name, loss in losses.items():
        torch.testing.assert_close(loss, same[name])


@pytest.mark.parametrize(
    ('kwargs', 'match'),
    [
        (dict(num_classes=0), 'num_classes is 0 and stacked_convs is 1; expected at least 1'),
        (dict(anchor_generator={**ANCHORS, 'scales': [2, 4]}), r'makes \[2, 2\] anchors a cell'),
        (dict(feat_channels=12, norm_cfg=None), 'out_channels is 12; expected a multiple of 8'),
        (dict(train_cfg=dict(fam_cfg=dict(allowed_border=-1))), r"fam_cfg has the keys \['allowed_border'\]; expected"),
        (dict(test_cfg=ConfigDict(nms=dict(type='soft_nms'))), 'test_cfg.nms is .* nothing else'),
    ],
)
def test_settings_without_a_meaning_are_refused(kwargs: dict, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        build(**kwargs)


def test_the_example_holds() -> None:
    result = doctest.testmod(sys.modules['stn_det.models.dense_heads.s2a_head'])
    assert result.attempted > 0
    assert result.failed == 0
