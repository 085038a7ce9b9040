"""What all angle coders have in common: round trips on the whole circle, no seam, gradients, errors, learning."""

import math

import pytest
import torch
from mmdet.registry import MODELS, TASK_UTILS
from torch import Tensor, nn

from stn_det.models.task_modules.angle_coders import AngleCoder, nearest_branch, vector_angle

SMOOTH_L1 = dict(type='SmoothL1Loss', beta=0.1)
FOCAL = dict(type='SmoothFocalLoss')
CODERS = {
    'pseudo': (dict(type='PseudoAngleCoder'), dict(type='PeriodicL1Loss', beta=0.1)),
    'csl': (dict(type='CSLCoder'), FOCAL),
    'csl-triangle': (dict(type='CSLCoder', window='triangle'), FOCAL),
    'csl-rect': (dict(type='CSLCoder', window='rect'), dict(type='SmoothFocalLoss', gamma=0.0, alpha=-1.0)),
    'csl-pulse': (dict(type='CSLCoder', window='pulse'), FOCAL),
    'psc': (dict(type='PSCCoder', dual_freq=False), SMOOTH_L1),
    'psc-dual': (dict(type='PSCCoder'), SMOOTH_L1),
    'acm': (dict(type='ACMCoder', dual_freq=False), SMOOTH_L1),
    'acm-dual': (dict(type='ACMCoder'), SMOOTH_L1),
    'dfl': (dict(type='DFLAngleCoder'), dict(type='CrossEntropyLoss')),
}
# what a network says for a target: logits where the code is classes
HEADING = {
    'csl': dict(type='CSLCoder', omega=0.5, heading=True),
    'psc': dict(type='PSCCoder', heading=True),
    'acm': dict(type='ACMCoder', base_omega=1),
    'dfl': dict(type='DFLAngleCoder', heading=True),
}


def circle_error(found: Tensor, theta: Tensor, period: float) -> Tensor:
    """Distance of angles around the circle, radians."""
    error = found - theta
    return (error - (error / period).round() * period).abs()


def perfect(coder: AngleCoder, theta: Tensor) -> Tensor:
    """The prediction of a perfect network: the target, or logits whose softmax it is."""
    code = coder.encode(theta)
    return (code + 1e-12).log() if type(coder).__name__ == 'DFLAngleCoder' else code


@pytest.mark.parametrize('name', list(CODERS))
def test_round_trip_across_the_seam_and_several_turns(name: str) -> None:
    coder = TASK_UTILS.build(CODERS[name][0])
    theta = torch.linspace(-7, 7, 1501, dtype=torch.float64)
    found = coder.decode(perfect(coder, theta))
    allowed = {'csl': math.radians(0.5), 'dfl': 1e-5}.get(name.split('-')[0], 1e-9)
    assert circle_error(found, theta, math.pi).max() <= allowed + 1e-9
    if name != 'pseudo':
        assert found.min() >= -math.pi / 2
        assert found.max() < math.pi / 2


@pytest.mark.parametrize('name', list(HEADING))
def test_headings_keep_their_direction(name: str) -> None:
    coder = TASK_UTILS.build(HEADING[name])
    theta = torch.linspace(-math.pi, math.pi, 721, dtype=torch.float64)
    assert coder.period == 2 * math.pi
    found = coder.decode(perfect(coder, theta))
    assert circle_error(found, theta, 2 * math.pi).max() <= math.radians(0.25) + 1e-9


@pytest.mark.parametrize('name', [name for name in CODERS if name != 'pseudo'])
def test_a_box_turned_by_half_has_the_same_code(name: str) -> None:
    coder = TASK_UTILS.build(CODERS[name][0])
    theta = torch.deg2rad(torch.arange(-89.7, 90, 7.0, dtype=torch.float64))
    torch.testing.assert_close(coder.encode(theta + math.pi), coder.encode(theta), rtol=0, atol=1e-9)


@pytest.mark.parametrize('name', list(CODERS))
@pytest.mark.parametrize('shape', [(), (0,), (3,), (2, 0, 4), (2, 3, 4)])
def test_any_leading_shape(name: str, shape: tuple[int, ...]) -> None:
    coder = TASK_UTILS.build(CODERS[name][0])
    theta = torch.zeros(shape)
    code = coder.encode(theta)
    assert code.shape == (*shape, coder.encode_size)
    assert coder.decode(code).shape == shape
    assert coder.initial_code().shape == (coder.encode_size,)


@pytest.mark.parametrize('name', ['pseudo', 'psc', 'psc-dual', 'acm', 'acm-dual', 'dfl'])
def test_gradcheck_of_decode(name: str) -> None:
    coder = TASK_UTILS.build(CODERS[name][0])
    theta = torch.tensor([-1.2, -0.4, 0.1, 0.9, 1.4], dtype=torch.float64)
    noise = 0.1 * torch.randn((5, coder.encode_size), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    code = (5 * coder.encode(theta) if name == 'dfl' else coder.encode(theta)) + noise
    assert torch.autograd.gradcheck(coder.decode, (code.requires_grad_(),))


@pytest.mark.parametrize('name', list(CODERS))
@pytest.mark.parametrize('value', [0.0, 1.0, -1e5, 1e5])
def test_codes_without_direction_are_finite(name: str, value: float) -> None:
    coder = TASK_UTILS.build(CODERS[name][0])
    code = torch.full((2, coder.encode_size), value, requires_grad=True)
    theta = coder.decode(code)
    assert torch.isfinite(theta).all()
    if theta.requires_grad:
        theta.sum().backward()
        assert torch.isfinite(code.grad).all()


def features(theta: Tensor) -> Tensor:
    """A box's look (K, 16): the same after half a turn, without a jump anywhere."""
    harmonic = 2 * torch.arange(1, 9) * theta[:, None]
    return torch.cat([harmonic.cos(), harmonic.sin()], 1)


@pytest.mark.parametrize('name', list(CODERS))
def test_a_small_network_learns_angles_below_a_degree(name: str) -> None:
    coder, loss = TASK_UTILS.build(CODERS[name][0]), MODELS.build(CODERS[name][1])
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, coder.encode_size))
    with torch.no_grad():
        network[-1].bias.copy_(coder.initial_code())
    # one number cannot jump: the angle itself is asked for away from its seam only
    span = 1.3 if name == 'pseudo' else math.pi / 2
    steps = 200
    optimizer = torch.optim.Adam(network.parameters())
    theta = torch.linspace(-span, span, 361)
    before = circle_error(coder.decode(network(features(theta))), theta, math.pi).mean()
    for step in range(steps):
        optimizer.param_groups[0]['lr'] = 0.02 * (1 - step / steps)
        truth = span * (2 * torch.rand(256) - 1)
        optimizer.zero_grad()
        loss(network(features(truth)), coder.encode(truth)).backward()
        optimizer.step()
    after = circle_error(coder.decode(network(features(theta))), theta, math.pi)
    assert before > math.radians(20)
    assert after.mean() < math.radians(1)


def test_nearest_branch_of_known_angles() -> None:
    fine, coarse = torch.tensor([0.1, 0.1, 0.1]), torch.tensor([0.3, 1.5, -3.0])
    expected = torch.tensor([0.1, 0.1 + math.pi / 2, 0.1 - math.pi])
    torch.testing.assert_close(nearest_branch(fine, coarse, math.pi / 2), expected)


def test_vector_angle_of_known_vectors() -> None:
    u, v = torch.tensor([1.0, 0.0, -2.0, 0.0]), torch.tensor([1.0, -3.0, 0.0, 0.0])
    expected = torch.tensor([math.pi / 4, -math.pi / 2, math.pi, 0.0])
    torch.testing.assert_close(vector_angle(u, v), expected)
