"""Grids of warps."""

import numpy as np
import pytest
import torch

from stn_det.errors import InputError
from stn_det.geometry import rotation_matrix, translation
from stn_det.geometry.warp import MatrixWarp, ThinPlateWarp
from stn_det.visualization import draw_warp_grid

BLACK = np.zeros((60, 80, 3), dtype=np.uint8)


def test_lines_are_where_the_source_has_gone():
    warp = MatrixWarp(translation(20, 0)[None], (60, 80))
    drawn = draw_warp_grid(BLACK, warp, lines=2, color=(255, 0, 0))
    assert drawn[30, 20].tolist() == [255, 0, 0]  # the left border
    assert not drawn[:, :17].any()
    assert not drawn[20:40, 30:].any()
    assert not BLACK.any()


def test_lines_turn_and_bend():
    turned = draw_warp_grid(BLACK, MatrixWarp(rotation_matrix(0.5, (40, 30))[None], (60, 80)), lines=5)
    bent = draw_warp_grid(BLACK, ThinPlateWarp(0.2 * torch.randn(1, 16, 2), (60, 80)), lines=5)
    straight = draw_warp_grid(BLACK, MatrixWarp.identity(1, (60, 80)), lines=5)
    assert turned.any()
    assert (turned != straight).any()
    assert (bent != straight).any()


def test_what_lies_behind_a_horizon_is_left_out():
    matrix = torch.eye(3)
    matrix[2, 0] = -0.02
    assert draw_warp_grid(BLACK, MatrixWarp(matrix[None], (60, 80))).shape == BLACK.shape


@pytest.mark.parametrize(
    ('warp', 'lines', 'message'),
    [
        (MatrixWarp.identity(2, (60, 80)), 9, r'warp holds 2 maps to a frame of \(60, 80\)'),
        (MatrixWarp.identity(1, (60, 60)), 9, r'the image is \(60, 80\)'),
        (MatrixWarp.identity(1, (60, 80)), 1, 'lines is 1, expected 2 or more'),
    ],
)
def test_errors(warp, lines, message):
    with pytest.raises(InputError, match=message):
        draw_warp_grid(BLACK, warp, lines)
