"""Costs of Gaussians are the terms of the loss on Gaussians, for all pairs."""

import math

import pytest
import torch
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor

from stn_det.errors import ConfigError
from stn_det.models.losses import pairs
from stn_det.structures import RotatedBoxes


def random_boxes(count: int) -> Tensor:
    """Boxes near one another."""
    return torch.rand(count, 5) * torch.tensor([60.0, 60, 40, 20, math.pi]) + torch.tensor([0.0, 0, 4, 4, -math.pi / 2])


def test_known_divergence() -> None:
    # twice as long: half of (4 - 1 - log 4), bounded
    pred = InstanceData(bboxes=torch.tensor([[10.0, 10, 16, 4, 0], [10.0, 10, 8, 4, 0]]))
    truth = InstanceData(bboxes=RotatedBoxes([[10.0, 10, 8, 4, 0], [10, 10, 4, 8, math.pi / 2]]))
    found = TASK_UTILS.build(dict(type='GaussianCost', weight=5.0))(pred, truth, dict(img_shape=(30, 40)))
    value = 5 * (1 - 1 / (1 + math.log(1 + 0.5 * (3 - math.log(4)))))
    torch.testing.assert_close(found, torch.tensor([[value, value], [0.0, 0.0]]), rtol=0, atol=1e-5)


@pytest.mark.parametrize('distance', ['kld', 'jd', 'gwd', 'bcd', 'probiou'])
def test_pairs_equal_the_loss(distance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, 'PAIRS_AT_ONCE', 10)
    first, second = random_boxes(7), random_boxes(4)
    found = TASK_UTILS.build(dict(type='GaussianCost', distance=distance))(
        InstanceData(bboxes=first), InstanceData(bboxes=second)
    )
    loss = MODELS.build(dict(type='GaussianBoxLoss', distance=distance, reduction='none'))
    expected = torch.stack([loss(first, target.expand(7, 5)) for target in second], 1)
    torch.testing.assert_close(found, expected)


def test_unknown_distance_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"distance is 'l1'; expected one of \['bcd', 'gwd', 'jd', 'kld', 'probiou'\]"
    ):
        TASK_UTILS.build(dict(type='GaussianCost', distance='l1'))
