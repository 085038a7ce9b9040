"""Puts the bridge in place before any test of this room imports mmcv's operators."""

import pytest

import stn_det.mmcv_bridge

# With compiled operators the numbers below would test mmcv, whose rotated suppression ignores labels, not this package.
collect_ignore = [] if stn_det.mmcv_bridge.status().provided else ['test_boxes.py', 'test_polygons.py']


@pytest.fixture
def random_boxes():
    """Makes (M, 4) boxes in a field of 100 x 100 pixels, crowded enough to overlap."""
    import torch

    def make(number: int) -> torch.Tensor:
        corner = torch.rand(number, 2) * 80
        return torch.cat([corner, corner + 5 + torch.rand(number, 2) * 30], 1)

    return make
