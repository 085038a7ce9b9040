"""The identity."""

import torch

from stn_det.models import PseudoAngleCoder


def test_angles_are_their_own_code() -> None:
    theta = torch.tensor([[-1.57, 0.2], [9.0, 1e5]])
    coder = PseudoAngleCoder()
    assert torch.equal(coder.encode(theta), theta[..., None])
    assert torch.equal(coder.decode(coder.encode(theta)), theta)
