"""The state of a query: fractions of a diagonal, an angle that goes around, bounded steps."""

import math

import pytest
import torch
from torch import Tensor

from stn_det.errors import ConfigError, InputError
from stn_det.geometry import rbox_to_qbox
from stn_det.models.layers import BoxState

SIZES = [(300, 400), (80, 60)]  # (H, W): diagonals 500 and 100


def states(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Random states well inside of their ranges."""
    generator = torch.Generator().manual_seed(1)
    state = torch.rand((*shape, 5), generator=generator, dtype=dtype) * 0.8 + 0.1
    state[..., 4] = (state[..., 4] - 0.5) * 3
    return state


def test_sides_are_measured_in_diagonals_and_centres_in_sides() -> None:
    state = torch.tensor([[[0.5, 0.25, 0.2, 0.1, 0.3]], [[0.5, 0.25, 0.2, 0.1, 0.3]]])
    expected = torch.tensor([[[200.0, 75, 100, 50, 0.3]], [[30.0, 20, 20, 10, 0.3]]])
    assert torch.allclose(BoxState().boxes(state, SIZES), expected)


def test_a_box_that_turns_keeps_its_sides() -> None:
    lying, standing = torch.tensor([200.0, 150, 100, 20, 0]), torch.tensor([200.0, 150, 100, 20, -math.pi / 2])
    state = BoxState.from_boxes(torch.stack([lying, standing])[None], [(300, 400)])
    assert torch.equal(state[0, 0, :4], state[0, 1, :4])


def test_boxes_and_states_go_there_and_back_in_front_of_layers_too() -> None:
    state = states(3, 2, 7)
    assert torch.allclose(BoxState.from_boxes(BoxState.boxes(state, SIZES), SIZES), state, atol=1e-6)


def test_sizes_may_lie_in_a_tensor() -> None:
    state = states(2, 7)
    assert torch.equal(BoxState.boxes(state, SIZES), BoxState.boxes(state, torch.tensor(SIZES)))


@pytest.mark.parametrize('mode', ['periodic', 'sigmoid'])
def test_a_step_of_zero_changes_nothing(mode: str) -> None:
    state = states(2, 7)
    assert torch.allclose(BoxState(mode).refine(state, torch.zeros_like(state), 0), state, atol=1e-6)


def test_a_step_in_numbers() -> None:
    reference = torch.tensor([[[0.5, 0.5, 0.5, 0.5, 0.2]]])
    delta = torch.tensor([[[math.log(3), -math.log(3), 0, math.log(9), math.atanh(0.5)]]])
    refined = BoxState(max_step=0.8).refine(reference, delta, 0)
    assert torch.allclose(refined, torch.tensor([[[0.75, 0.25, 0.5, 0.9, 0.6]]]))


def test_the_angle_goes_around_at_the_seam() -> None:
    reference = torch.tensor([[[0.5, 0.5, 0.3, 0.1, math.pi / 2 - 0.05]]])
    delta = torch.zeros(1, 1, 5)
    delta[..., 4] = math.atanh(0.1)
    refined = BoxState(max_step=1.0).refine(reference, delta, 0)
    assert refined[0, 0, 4].item() == pytest.approx(-math.pi / 2 + 0.05, abs=1e-6)
    ahead = reference.clone()
    ahead[..., 4] += 0.1
    corners = [rbox_to_qbox(state[0]).reshape(4, 2) for state in (refined, ahead)]
    assert torch.allclose(corners[0].roll(2, 0), corners[1], atol=1e-6)  # one rectangle, begun at the other end


def test_the_gradient_does_not_see_the_seam() -> None:
    angles = []
    for theta in (0.0, math.pi / 2 - 0.01, -math.pi / 2):
        delta = torch.full((1, 1, 5), 0.3, requires_grad=True)
        BoxState().refine(torch.tensor([[[0.5, 0.5, 0.3, 0.1, theta]]]), delta, 0)[..., 4].sum().backward()
        angles.append(delta.grad[0, 0, 4].item())
    assert angles == pytest.approx([math.pi / 2 * (1 - math.tanh(0.3) ** 2)] * 3, abs=1e-6)


@pytest.mark.parametrize('max_step', [0.1, 1.0, math.pi / 2])
def test_steps_are_bounded_and_angles_stay_in_range(max_step: float) -> None:
    reference = states(2, 500)
    delta = torch.randn(2, 500, 5, generator=torch.Generator().manual_seed(0)) * 20
    refined = BoxState(max_step=max_step).refine(reference, delta, 0)
    turn = refined[..., 4] - reference[..., 4]
    turn = turn - math.pi * (turn / math.pi).round()
    assert turn.abs().max() <= max_step + 1e-5
    assert turn.abs().max() > 0.99 * max_step
    assert (refined[..., 4] >= -math.pi / 2 - 1e-7).all()
    assert (refined[..., 4] < math.pi / 2).all()


def test_each_layer_may_have_its_own_bound() -> None:
    state = BoxState(max_step=(0.5, 0.25))
    reference = torch.tensor([[[0.5, 0.5, 0.3, 0.1, 0.0]]])
    delta = torch.full((1, 1, 5), 30.0)
    found = [state.refine(reference, delta, layer)[0, 0, 4].item() for layer in (0, 1)]
    assert found == pytest.approx([0.5, 0.25])
    assert state.step_of(None) == math.pi / 2  # proposals start from no angle at all
    with pytest.raises(ConfigError, match=r'max_step has 2 entries and decoder layer 2'):
        state.refine(reference, delta, 2)


def test_a_sigmoid_angle_stops_at_the_seam() -> None:
    reference = torch.tensor([[[0.5, 0.5, 0.3, 0.1, 1.5]]])
    delta = torch.zeros(1, 1, 5)
    delta[..., 4] = 50.0
    refined = BoxState('sigmoid').refine(reference, delta, 0)
    assert refined[0, 0, 4].item() == pytest.approx(math.pi / 2)
    delta[..., 4] = math.log(3)
    half_way = BoxState('sigmoid').refine(torch.tensor([[[0.5, 0.5, 0.3, 0.1, 0.0]]]), delta, 0)
    assert half_way[0, 0, 4].item() == pytest.approx(math.pi / 4)


def test_a_point_stands_for_an_upright_box_of_half_a_diagonal() -> None:
    point = torch.tensor([[[0.2, 0.7]]])
    expected = torch.tensor([[[0.2, 0.7, 0.5, 0.5, 0.0]]])
    assert torch.allclose(BoxState().refine(point, torch.zeros(1, 1, 5), 0), expected)


@pytest.mark.parametrize('mode', ['periodic', 'sigmoid'])
def test_gradient_of_a_step_agrees_with_differences(mode: str) -> None:
    reference = states(1, 4, dtype=torch.float64).requires_grad_()
    delta = torch.randn(1, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: BoxState(mode).refine(a, b, 0), (reference, delta))


def test_steps_are_taken_in_float32_under_autocast() -> None:
    state, delta = states(1, 50), torch.randn(1, 50, 5, generator=torch.Generator().manual_seed(3)).bfloat16()
    with torch.autocast('cpu', torch.bfloat16):
        refined = BoxState().refine(state, delta, 0)
    assert refined.dtype == torch.float32
    assert torch.equal(refined, BoxState().refine(state, delta.float(), 0))


def test_references_of_levels_are_fractions_of_the_padded_input() -> None:
    state = torch.tensor([[[0.5, 0.25, 0.2, 0.1, 0.3]], [[0.5, 0.25, 0.2, 0.1, 0.3]]])
    found = BoxState.level_references(state, SIZES, (320, 416), 3)
    expected = torch.tensor(
        [[200 / 416, 75 / 320, 100 / 416, 50 / 320, 0.3], [30 / 416, 20 / 320, 20 / 416, 10 / 320, 0.3]]
    )
    assert found.shape == (2, 1, 3, 5)
    assert torch.allclose(found, expected[:, None, None].expand(-1, -1, 3, -1))
    points = BoxState.level_references(state[..., :2], SIZES, (320, 416), 3)
    assert torch.equal(points, found[..., :2])


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(angle_mode='vector'), r"angle_mode is 'vector'; expected one of"),
        (dict(max_step=0.0), r'max_step is 0.0; expected radians in \(0, pi\]'),
        (dict(max_step=(1.0, 4.0)), r'max_step is \(1.0, 4.0\)'),
        (dict(max_step=()), r'max_step is \(\)'),
    ],
)
def test_bad_settings_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BoxState(**arguments)


def test_bad_shapes_are_refused() -> None:
    with pytest.raises(InputError, match=r'reference has shape \(1, 3, 4\), expected \(..., 5\) states'):
        BoxState().refine(torch.zeros(1, 3, 4), torch.zeros(1, 3, 5))
    with pytest.raises(InputError, match=r'img_shapes has shape \(2, 2\) for states of shape \(3, 7, 5\)'):
        BoxState.boxes(torch.zeros(3, 7, 5), SIZES)
