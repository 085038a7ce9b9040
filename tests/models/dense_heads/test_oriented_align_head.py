"""The head with a second look: where it starts, what teaches the coarse boxes, odd inputs."""

import doctest
import sys

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from stn_det.errors import ConfigError
from stn_det.models import OrientedAlignHead
from stn_det.ops import box_iou_rotated

STRIDES = (8, 16)
SIZE = 64
META = dict(img_shape=(SIZE, SIZE), scale_factor=(1.0, 1.0))


def build(**kwargs) -> OrientedAlignHead:
    """A small head with weights set."""
    config = dict(
        type='OrientedAlignHead',
        num_classes=3,
        in_channels=16,
        feat_channels=16,
        stacked_convs=1,
        strides=STRIDES,
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


OBJECTS = truth([[20.0, 24.0, 26.0, 9.0, 0.6], [44.0, 40.0, 18.0, 18.0, 0.0]], [0, 2])


def test_final_boxes_start_as_the_coarse_ones() -> None:
    _, codes, coarse = build()(features(2))
    for final, first in zip(codes, coarse):
        assert final.shape == first.shape
        assert torch.equal(final, first)
        assert first[:, 4::2].mean().item() == pytest.approx(1.0, abs=0.1)


def test_aligned_features_are_read_through_the_coarse_boxes() -> None:
    """Where the coarse box of one cell moves, the scores around that cell change and those far away do not."""
    head, x = build(norm_cfg=dict(type='BN')).eval(), features()
    before = head(x)[0][0]
    cell_boxes = head._cell_boxes

    def moved(codes: Tensor, level: int) -> Tensor:
        boxes = cell_boxes(codes, level).clone()
        boxes[:, 2, 3, 4] += 0.7
        return boxes

    head._cell_boxes = moved
    changed = (head(x)[0][0] - before).abs().amax((0, 1)) > 0
    assert changed[1:4, 2:5].all()  # the prediction behind it has a window of 3 x 3
    changed[1:4, 2:5] = False
    assert not changed.any()


def test_boxes_of_cells_are_those_of_the_coder() -> None:
    head = build()
    codes = torch.zeros(1, 8, 8, 8)
    codes[:, 4::2] = 1.0
    codes[0, :2, 2, 5] = torch.tensor([0.5, -1.0])
    boxes = head._cell_boxes(codes, 0)
    assert boxes[0, 2, 5].tolist() == [44 + 4, 20 - 8, 16, 16, 0]
    assert boxes[0, 0, 7].tolist() == [60, 4, 16, 16, 0]


def test_coarse_boxes_learn_from_their_own_loss_only() -> None:
    head = build()
    losses = head.loss_by_feat(*head(features()), [OBJECTS], [META])
    final = [loss for name, loss in losses.items() if 'coarse' not in name]
    sum(final).backward(retain_graph=True)
    assert head.conv_coarse.weight.grad is None
    losses['loss_coarse_bbox'].backward()
    assert head.conv_coarse.weight.grad.abs().sum() > 0


def test_coarse_losses_start_at_their_share_of_the_final_ones() -> None:
    head = build(coarse_weight=0.25, loss_iou=dict(type='OrientedIoULoss'))
    losses = head.loss_by_feat(*head(features()), [OBJECTS], [META])
    for name in ('bbox', 'iou', 'angle'):
        torch.testing.assert_close(losses[f'loss_coarse_{name}'], 0.25 * losses[f'loss_{name}'])


def test_it_overfits_two_objects() -> None:
    head, x = build(loss_iou=dict(type='OrientedIoULoss', loss_weight=2.0)), features()
    optimizer = torch.optim.Adam(head.parameters(), lr=0.01)
    totals = []
    for _ in range(120):
        losses = head.loss_by_feat(*head(x), [OBJECTS], [META])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        totals.append(sum(losses.values()).item())
    assert totals[-1] < 0.3 * totals[0]
    best = head.predict_by_feat(*head(x), batch_img_metas=[META])[0][:2]
    overlap = box_iou_rotated(best.bboxes, OBJECTS.bboxes)
    assert sorted(overlap.argmax(1).tolist()) == [0, 1]
    assert best.labels.tolist() == OBJECTS.labels[overlap.argmax(1)].tolist()
    assert overlap.amax(0).min() > 0.8


def test_prediction_maps_back_to_the_original_image() -> None:
    head = build()
    outs = head(features())
    cfg = ConfigDict(nms_pre=100, score_thr=0.0, nms=dict(iou_threshold=0.1), max_per_img=20)
    plain = head.predict_by_feat(*outs, batch_img_metas=[META], cfg=cfg)[0]
    half = head.predict_by_feat(*outs, batch_img_metas=[{**META, 'scale_factor': (2.0, 2.0)}], cfg=cfg, rescale=True)[0]
    torch.testing.assert_close(half.bboxes[:, :4], plain.bboxes[:, :4] / 2)


IGNORED = InstanceData(bboxes=torch.tensor([[32.0, 32.0, 200.0, 200.0, 0.0]]))
MANY = truth([[3.0 + 5 * (i % 12), 3 + 0.02 * i, 4, 2, 0.1 * (i % 31) - 1.5] for i in range(3000)], [0] * 3000)
EXTREME = truth([[20.0, 24, 0, 0, 0.6], [-3e3, 40, 18, 18, 9.0], [30, 30, 5e4, 0.1, 0], [30, 30, 1e-9, 9, 0]], [0] * 4)


@pytest.mark.parametrize(
    ('objects', 'ignored'),
    [(truth([], []), None), (truth([], []), [IGNORED]), (MANY, None), (EXTREME, [IGNORED])],
    ids=['empty', 'only ignored', 'many', 'extreme'],
)
def test_losses_and_gradients_stay_finite(objects: InstanceData, ignored: list | None) -> None:
    head = build()
    losses = head.loss_by_feat(*head(features()), [objects], [META], ignored)
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(torch.isfinite(p.grad).all() for p in head.parameters() if p.grad is not None)
    if not len(objects):
        assert all(loss == 0 for name, loss in losses.items() if name != 'loss_cls')
        assert (losses['loss_cls'] == 0) == (ignored is not None)


def test_autocast_bfloat16_keeps_boxes_in_float32() -> None:
    head = build()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        scores, codes, coarse = head(features())
        losses = head.loss_by_feat(scores, codes, coarse, [OBJECTS], [META])
    assert scores[0].dtype == torch.bfloat16
    assert codes[0].dtype == coarse[0].dtype == torch.float32
    sum(losses.values()).backward()
    assert all(loss.dtype == torch.float32 and torch.isfinite(loss) for loss in losses.values())


def test_coarse_boxes_without_a_teacher_are_refused() -> None:
    with pytest.raises(ConfigError, match='coarse_weight is 0; expected a factor above 0'):
        build(coarse_weight=0)


def test_the_example_holds() -> None:
    result = doctest.testmod(sys.modules['stn_det.models.dense_heads.oriented_align_head'])
    assert result.attempted > 0
    assert result.failed == 0
