"""The delta coder: hand-worked codes, round trips across the seam, bounds."""

import math

import pytest
import torch
from torch import Tensor

from stn_det.errors import ConfigError, InputError
from stn_det.geometry import canonicalize_rboxes
from stn_det.models import DeltaXYWHTRBBoxCoder
from stn_det.ops import box_iou_rotated
from stn_det.structures import RotatedBoxes

PRIOR = torch.tensor([[16.0, 24.0, 32.0, 16.0, 0.0]])
OPTIONS = [
    dict(),
    dict(norm_factor=2),
    dict(edge_swap=True),
    dict(proj_xy=True),
    dict(norm_factor=1, edge_swap=True, proj_xy=True),
    dict(target_means=(0.1, -0.2, 0.3, 0.0, 0.5), target_stds=(0.1, 0.1, 0.2, 0.2, 0.3)),
]


def random_boxes(count: int) -> Tensor:
    """Boxes in the form le90, some of them squares, some of them at the seam."""
    boxes = torch.rand(count, 5, dtype=torch.float64) * torch.tensor([200.0, 200.0, 60.0, 60.0, math.pi]).double()
    boxes[:, 2:4] += 4
    boxes[:, 4] -= math.pi / 2
    boxes[::5, 3] = boxes[::5, 2]
    boxes[::3, 4] = -math.pi / 2
    boxes[1::3, 4] = math.pi / 2 - 1e-6
    return canonicalize_rboxes(boxes)


def test_code_of_a_known_box() -> None:
    box = torch.tensor([[24.0, 16.0, 64.0, 8.0, math.pi / 4]])
    expected = torch.tensor([[0.25, -0.5, math.log(2), math.log(0.5), math.pi / 4]])
    torch.testing.assert_close(DeltaXYWHTRBBoxCoder().encode(PRIOR, box), expected, rtol=0, atol=1e-6)


def test_means_and_deviations_normalise() -> None:
    coder = DeltaXYWHTRBBoxCoder(target_means=(0.05, 0.0, 0.0, 0.0, 0.1), target_stds=(0.1, 1.0, 1.0, 1.0, 0.2))
    code = coder.encode(PRIOR, torch.tensor([[24.0, 24.0, 32.0, 16.0, 0.5]]))
    torch.testing.assert_close(code, torch.tensor([[2.0, 0.0, 0.0, 0.0, 2.0]]), rtol=0, atol=1e-6)


def test_norm_factor_is_a_multiple_of_pi() -> None:
    code = DeltaXYWHTRBBoxCoder(norm_factor=2).encode(PRIOR, PRIOR + torch.tensor([0, 0, 0, 0, math.pi / 4]))
    assert code[0, 4].item() == pytest.approx(1 / 8)


def test_proj_xy_measures_along_the_prior() -> None:
    prior = torch.tensor([[0.0, 0.0, 20.0, 10.0, math.pi / 6]])
    ahead = torch.tensor([[20 * math.cos(math.pi / 6), 20 * math.sin(math.pi / 6), 20.0, 10.0, math.pi / 6]])
    code = DeltaXYWHTRBBoxCoder(proj_xy=True).encode(prior, ahead)
    torch.testing.assert_close(code, torch.tensor([[1.0, 0.0, 0.0, 0.0, 0.0]]), rtol=0, atol=1e-6)


def test_edge_swap_takes_the_writing_that_is_turned_less() -> None:
    box = torch.tensor([[16.0, 24.0, 30.0, 10.0, -math.pi / 2 + 0.1]])  # stands, leaning by 0.1
    code = DeltaXYWHTRBBoxCoder(edge_swap=True).encode(PRIOR, box)
    torch.testing.assert_close(
        code, torch.tensor([[0.0, 0.0, math.log(10 / 32), math.log(30 / 16), 0.1]]), rtol=0, atol=1e-6
    )


def test_turn_is_the_short_way_across_the_seam() -> None:
    prior = torch.tensor([[16.0, 24.0, 32.0, 16.0, math.pi / 2 - 0.1]])
    box = torch.tensor([[16.0, 24.0, 32.0, 16.0, -math.pi / 2 + 0.1]])
    for coder in (DeltaXYWHTRBBoxCoder(), DeltaXYWHTRBBoxCoder(edge_swap=True)):
        assert coder.encode(prior, box)[0, 4].item() == pytest.approx(0.2, abs=1e-6)


@pytest.mark.parametrize('options', OPTIONS, ids=lambda options: '-'.join(options) or 'plain')
def test_round_trip(options: dict) -> None:
    coder, priors, boxes = DeltaXYWHTRBBoxCoder(**options), random_boxes(60), random_boxes(60).flip(0)
    decoded = coder.decode(priors, coder.encode(priors, boxes))
    assert decoded.dtype == torch.float64
    assert box_iou_rotated(decoded, boxes, aligned=True).min() > 1 - 1e-6
    assert decoded[:, 4].ge(-math.pi / 2).all()
    assert decoded[:, 4].lt(math.pi / 2).all()
    if options.get('edge_swap'):
        assert decoded[:, 2].ge(decoded[:, 3]).all()


def test_code_does_not_jump_at_the_seam_with_edge_swap() -> None:
    coder = DeltaXYWHTRBBoxCoder(edge_swap=True)
    before = torch.tensor([[16.0, 24.0, 30.0, 10.0, math.pi / 2 - 1e-3]])
    after = torch.tensor([[16.0, 24.0, 30.0, 10.0, -math.pi / 2 + 1e-3]])
    assert (coder.encode(PRIOR, before) - coder.encode(PRIOR, after)).abs().max() < 3e-3


def test_zero_code_is_the_prior() -> None:
    priors = random_boxes(20)
    torch.testing.assert_close(DeltaXYWHTRBBoxCoder(proj_xy=True).decode(priors, torch.zeros_like(priors)), priors)


def test_several_boxes_a_prior_are_decoded_side_by_side() -> None:
    coder, priors = DeltaXYWHTRBBoxCoder(proj_xy=True), random_boxes(7)
    codes = torch.randn(7, 3, 5, dtype=torch.float64)
    together = coder.decode(priors, codes.flatten(1))
    assert together.shape == (7, 15)
    for k in range(3):
        torch.testing.assert_close(together[:, 5 * k : 5 * k + 5], coder.decode(priors, codes[:, k]))


def test_huge_numbers_are_bounded() -> None:
    code = torch.tensor([[0.0, 0.0, 80.0, -80.0, 100.0]], requires_grad=True)
    box = DeltaXYWHTRBBoxCoder().decode(PRIOR, code)
    assert box[0, 2:4].tolist() == pytest.approx([32 * 62.5, 16 / 62.5], rel=1e-5)
    box.sum().backward()
    assert torch.isfinite(code.grad).all()


def test_boxes_without_an_extent_have_a_finite_code() -> None:
    point = torch.tensor([[3.0, 4.0, 0.0, 0.0, 0.0]])
    coder = DeltaXYWHTRBBoxCoder()
    assert torch.isfinite(coder.encode(PRIOR, point)).all()
    assert torch.isfinite(coder.encode(point, PRIOR)).all()


def test_centre_clamp_bounds_the_shift() -> None:
    coder = DeltaXYWHTRBBoxCoder(add_ctr_clamp=True, ctr_clamp=5)
    box = coder.decode(PRIOR, torch.tensor([[9.0, -9.0, 0.0, 0.0, 0.0]]))
    assert box[0, :2].tolist() == [21.0, 19.0]


def test_half_precision_code_is_decoded_in_single() -> None:
    box = DeltaXYWHTRBBoxCoder().decode(PRIOR, torch.zeros(1, 5, dtype=torch.bfloat16))
    assert box.dtype == torch.float32
    assert torch.equal(box, PRIOR)


def test_box_type_on_demand() -> None:
    boxes = DeltaXYWHTRBBoxCoder(use_box_type=True).decode(RotatedBoxes(PRIOR), torch.zeros(1, 5))
    assert isinstance(boxes, RotatedBoxes)
    assert torch.equal(boxes.tensor, PRIOR)


def test_gradient_by_finite_differences() -> None:
    coder, priors = DeltaXYWHTRBBoxCoder(norm_factor=1, proj_xy=True), random_boxes(4)
    codes = (0.1 * torch.rand(4, 5, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda code: coder.decode(priors, code), (codes,))


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        (dict(target_means=(0.0,) * 4), 'target_means is .* expected five numbers'),
        (dict(target_stds=(1, 1, 1, 1, 0)), 'the deviations above 0'),
        (dict(angle_version='le135'), "angle_version is 'le135'; expected 'le90'"),
        (dict(norm_factor=0), 'norm_factor is 0; expected a number above 0'),
    ],
)
def test_settings_without_a_meaning_are_refused(options: dict, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        DeltaXYWHTRBBoxCoder(**options)


def test_wrong_shapes_are_refused() -> None:
    coder = DeltaXYWHTRBBoxCoder()
    with pytest.raises(InputError, match=r'gt_bboxes has shape \(1, 4\), expected \(..., 5\)'):
        coder.encode(PRIOR, torch.zeros(1, 4))
    with pytest.raises(InputError, match=r'pred_bboxes has shape \(2, 5\) for priors of shape \(1, 5\)'):
        coder.decode(PRIOR, torch.zeros(2, 5))
