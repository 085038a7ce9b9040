"""Boxes of regions: losses worked by hand, what is refined and predicted, refusals."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from torch import Tensor

from stn_det.errors import ConfigError
from stn_det.geometry import canonicalize_rboxes
from stn_det.models import RotatedShared2FCBBoxHead

STDS = [0.1, 0.1, 0.2, 0.2, 0.5]
ROIS = torch.tensor([[0.0, 30, 30, 40, 20, 0.2], [0, 60, 40, 30, 10, -0.4], [1, 20, 20, 16, 16, 0.0]])
TRUTH = torch.tensor([[32.0, 28, 44, 18, 0.3]])


def build(**options) -> RotatedShared2FCBBoxHead:
    """A small head of three classes."""
    config = dict(
        type='RotatedShared2FCBBoxHead',
        in_channels=4,
        num_classes=3,
        fc_out_channels=8,
        bbox_coder=dict(type='DeltaXYWHTRBBoxCoder', target_stds=STDS),
    )
    head = MODELS.build({**config, **options})
    head.init_weights()
    return head


def samples() -> list[SimpleNamespace]:
    """Image 0: a positive region of class 2 and a negative one; image 1: a negative one."""
    none = torch.zeros(0, 5)
    first = dict(pos_gt_bboxes=TRUTH, pos_gt_labels=torch.tensor([2]), neg_priors=ROIS[1:2, 1:])
    second = dict(pos_gt_bboxes=none, pos_gt_labels=torch.zeros(0, dtype=torch.long), neg_priors=ROIS[2:, 1:])
    return [SimpleNamespace(**first), SimpleNamespace(**second)]


@pytest.mark.parametrize('agnostic', [True, False])
def test_losses_by_hand(agnostic: bool) -> None:
    head = build(reg_class_agnostic=agnostic)
    logits, codes = torch.randn(3, 4), torch.randn(3, 5 if agnostic else 15)
    found = head.loss_and_target(logits, codes, ROIS, samples())
    torch.testing.assert_close(found['loss_bbox']['loss_cls'], F.cross_entropy(logits, torch.tensor([2, 3, 3])))
    chosen = codes[:1] if agnostic else codes[:1, 10:]
    target = head.bbox_coder.encode(ROIS[:1, 1:], TRUTH)
    expected = F.smooth_l1_loss(chosen, target, reduction='sum') / 3
    torch.testing.assert_close(found['loss_bbox']['loss_bbox'], expected)
    assert found['bbox_targets'].tolist() == [2, 3, 3]


def test_refined_boxes_are_those_of_the_label_or_the_best_class() -> None:
    head = build(reg_class_agnostic=False)
    codes = torch.zeros(3, 15)
    codes[:, 0::5] = torch.tensor([1.0, 2.0, 3.0])  # class k moves the centre by (k + 1) tenths of the width
    logits = torch.tensor([[0.0, 9, 0, 99]] * 3)
    moved = head.refine(ROIS, logits, codes, torch.tensor([2, 3, 0]))
    torch.testing.assert_close(moved[:, 1] - ROIS[:, 1], torch.tensor([3.0, 2, 1]) / 10 * ROIS[:, 3])
    torch.testing.assert_close(moved[:, 2:], ROIS[:, 2:])
    torch.testing.assert_close(head.refine(ROIS, logits, codes)[:, 1], ROIS[:, 1] + ROIS[:, 3] / 5)


def predict(head: RotatedShared2FCBBoxHead, logits: Tensor, codes: Tensor, **options):
    """Detections of the first two regions, all in image 0."""
    cfg = ConfigDict(score_thr=0.05, nms=dict(type='nms_rotated', iou_threshold=0.1), max_per_img=10)
    meta = dict(scale_factor=options.pop('scale_factor', (1.0, 1.0)))
    return head.predict_by_feat((ROIS[:2],), (logits,), (codes,), [meta], ConfigDict({**cfg, **options}), True)[0]


def test_predictions_are_scored_per_class_and_map_back() -> None:
    logits = torch.tensor([[4.0, 3.5, 0, 0], [0, 0, 5, 0]])
    plain = predict(build(), logits, torch.zeros(2, 5))
    assert plain.labels.tolist() == [2, 0, 1]
    torch.testing.assert_close(plain.scores, logits.softmax(1)[[1, 0, 0], [2, 0, 1]])
    torch.testing.assert_close(plain.bboxes, ROIS[[1, 0, 0], 1:])
    half = predict(build(), logits, torch.zeros(2, 5), scale_factor=(2.0, 2.0))
    torch.testing.assert_close(half.bboxes[:, :4], plain.bboxes[:, :4] / 2)
    torch.testing.assert_close(half.bboxes[:, 4], plain.bboxes[:, 4])


def test_each_class_has_its_own_suppression_and_boxes() -> None:
    codes = torch.zeros(2, 15)
    codes[0, 5:10] = torch.tensor([10.0, 0, 0, 0, 0])  # class 1 of the first region lies a width to the right
    logits = torch.tensor([[4.0, 4, -9, 0], [-9, -9, 4, 0]])
    found = predict(build(reg_class_agnostic=False), logits, codes)
    assert sorted(found.labels.tolist()) == [0, 1, 2]
    shifted = found.bboxes[found.labels == 1][0]
    torch.testing.assert_close(shifted[:2], torch.tensor([70.0, 30.0]))
    torch.testing.assert_close(canonicalize_rboxes(found.bboxes), found.bboxes)


def test_duplicates_go_and_numbers_are_bounded() -> None:
    same = torch.cat([ROIS[:1], ROIS[:1]])
    head, logits = build(), torch.tensor([[4.0, 0, 0, 0], [3, 0, 0, 0]])
    cfg = ConfigDict(score_thr=0.3, nms=dict(iou_threshold=0.5), max_per_img=10)
    meta = [dict(scale_factor=(1.0, 1.0))]
    assert len(head.predict_by_feat((same,), (logits,), (torch.zeros(2, 5),), meta, cfg)[0]) == 1
    assert len(predict(head, torch.zeros(2, 4), torch.zeros(2, 5), max_per_img=1)) == 1
    assert predict(head, torch.zeros(2, 4), torch.zeros(2, 5), score_thr=0.9).bboxes.shape == (0, 5)


def test_no_regions_have_a_loss_of_zero_on_the_graph() -> None:
    head = build()
    scores, codes = head(torch.zeros(0, 4, 7, 7))
    nothing = dict(pos_gt_bboxes=torch.zeros(0, 4), pos_gt_labels=torch.zeros(0, dtype=torch.long))
    empty = SimpleNamespace(**nothing, neg_priors=torch.zeros(0, 5))
    losses = head.loss_and_target(scores, codes, torch.zeros(0, 6), [empty])['loss_bbox']
    sum(losses.values()).backward()
    assert [loss.item() for loss in losses.values()] == [0, 0]
    assert all(p.grad.abs().sum() == 0 for p in head.parameters())


def test_autocast_and_extreme_codes_stay_finite() -> None:
    head = build()
    wild = torch.tensor([[1e30, -1e30, 1e4, -1e4, 1e5]] * 3).to(torch.bfloat16)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = head.loss_and_target(torch.full((3, 4), 3e4).bfloat16(), wild, ROIS, samples())['loss_bbox']
        boxes = head.refine(ROIS, torch.zeros(3, 4), wild)
    assert all(torch.isfinite(loss) and loss.dtype == torch.float32 for loss in losses.values())
    assert torch.isfinite(boxes[:, 3:]).all()


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        (dict(num_classes=0), 'num_classes is 0; expected'),
        (dict(loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True)), 'expected use_sigmoid=False'),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        build(**options)


def test_other_suppressions_are_refused() -> None:
    with pytest.raises(ConfigError, match=r'test_cfg.rcnn.nms is .*expected dict\(type='):
        predict(build(), torch.zeros(2, 4), torch.zeros(2, 5), nms=dict(type='nms', iou_threshold=0.1))
