"""The compiled sigmoid focal loss: against the plain one in every dtype, its accuracy, and under torch.compile."""

import math
from functools import partial

import pytest
import torch

from stn_det.ops import sigmoid_focal_loss
from stn_det.ops.reference.sigmoid_focal_loss import sigmoid_focal_loss_reference

pytestmark = pytest.mark.usefixtures('compiled')


def inputs(dtype=torch.float64, rows=37, classes=15):
    generator = torch.Generator().manual_seed(classes)
    logits = (3 * torch.randn(rows, classes, generator=generator)).to(dtype)
    target = torch.randint(-1, classes + 2, (rows,), generator=generator)
    return logits, target


def run(function, logits):
    """Output and gradient to the logits."""
    leaf = logits.detach().clone().requires_grad_()
    output = function(leaf)
    output.backward(torch.cos(torch.arange(output.numel())).view_as(output).to(output))
    return output.detach(), leaf.grad


# One chunk of the kernel is 1024 terms: rows end within chunks, chunks within rows.
@pytest.mark.parametrize('classes', [1, 3, 8, 15, 80, 2500])
@pytest.mark.parametrize(
    ('dtype', 'tolerance'),
    [(torch.float64, 1e-14), (torch.float32, 1e-6), (torch.float16, 1e-3), (torch.bfloat16, 8e-3)],
)
@pytest.mark.parametrize('reduction', ['none', 'sum', 'mean'])
def test_agrees_with_the_reference_in_float64(dtype, tolerance, classes, reduction) -> None:
    logits, target = inputs(dtype, 37 if classes < 100 else 3, classes)  # the sum has to fit float16
    weight = torch.linspace(0.5, 2, classes, dtype=torch.float64)

    def plain(x):
        terms = sigmoid_focal_loss_reference(x, target, 2.0, 0.25, weight)
        return terms if reduction == 'none' else terms.sum() / (len(x) if reduction == 'mean' else 1)

    found = run(lambda x: sigmoid_focal_loss(x, target, 2.0, 0.25, weight, reduction), logits)
    wanted = run(plain, logits.double())
    assert [part.dtype for part in found] == [dtype, dtype]
    for one, other in zip(found, wanted):
        assert (one - other).abs().max() <= tolerance * other.abs().max()


@pytest.mark.parametrize('gamma', [0.0, 0.5, 1.0, 2.0, 3.7])
@pytest.mark.parametrize('alpha', [0.25, 0.0, 1.0])
def test_every_exponent(gamma, alpha) -> None:
    logits, target = inputs()
    for one, other in zip(
        run(lambda x: sigmoid_focal_loss(x, target, gamma, alpha, reduction='none'), logits),
        run(lambda x: sigmoid_focal_loss_reference(x, target, gamma, alpha, None), logits),
    ):
        torch.testing.assert_close(one, other, atol=1e-14, rtol=1e-12)


@pytest.mark.parametrize(('gamma', 'ulps'), [(0.0, 2.0), (1.0, 3.5), (2.0, 5.0)])
def test_relative_accuracy_of_every_term(gamma, ulps) -> None:
    """In units of the last place of float32, 2^-23, from terms of 1e-36 to large ones; plain PyTorch: 1.0, 2.2, 3.3."""
    logits = torch.linspace(-27, 40, 400_001).view(-1, 1)
    background = torch.ones(len(logits), dtype=torch.int64)
    found = sigmoid_focal_loss(logits, background, gamma, 0.0, reduction='none').double()
    exact = logits.double()
    exact = torch.sigmoid(exact) ** gamma * (exact.clamp(min=0) + torch.log1p(torch.exp(-exact.abs())))
    assert ((found - exact).abs() / exact).max() <= ulps * 2**-23


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_extreme_logits(dtype) -> None:
    logits = torch.tensor([[-math.inf, -1e30, -800, -90, 0, 90, 800, 1e30, math.inf, math.nan]], dtype=dtype).t()
    for gamma in (0.0, 1.5, 2.0):
        loss, grad = run(
            lambda x, g=gamma: sigmoid_focal_loss(x, torch.ones(10, dtype=torch.int64), g, 0.0, None, 'none'), logits
        )
        assert loss[:3].flatten().tolist() == [0, 0, 0]
        torch.testing.assert_close(loss[5:9], logits[5:9])
        assert loss[9].isnan()
        assert not loss[:9].isnan().any()
        assert not grad[:9].isnan().any()
        assert grad[9].isnan()


def test_labels_of_any_size_are_background() -> None:
    logits, _ = inputs(rows=4)
    target = torch.tensor([15, -1, 2**62, -(2**63)])
    weight = torch.full((15,), 7.0, dtype=torch.float64)
    found = sigmoid_focal_loss(logits, target, weight=weight, reduction='none')
    torch.testing.assert_close(found, sigmoid_focal_loss_reference(logits, torch.full((4,), 15), 2.0, 0.25, None))


@pytest.mark.parametrize('shape', [(0, 5), (5, 0), (0, 0)])
@pytest.mark.parametrize('reduction', ['none', 'mean'])
def test_empty(shape, reduction) -> None:
    logits = torch.zeros(shape)
    loss, grad = run(lambda x: sigmoid_focal_loss(x, torch.zeros(shape[0]).long(), reduction=reduction), logits)
    assert loss.shape == (shape if reduction == 'none' else ())
    assert grad.shape == shape
    assert not loss.any()


def test_any_layout_of_the_arguments() -> None:
    logits, target = inputs(torch.float32)
    expected = run(lambda x: sigmoid_focal_loss(x, target), logits)
    turned, labels = logits.t().contiguous().t(), target.repeat_interleave(2)[::2]
    assert not turned.is_contiguous()
    assert not labels.is_contiguous()
    for one, other in zip(run(lambda x: sigmoid_focal_loss(x, labels.int()), turned), expected):
        assert torch.equal(one, other)
    wide = logits[:1].expand(37, -1)
    assert torch.equal(sigmoid_focal_loss(wide, target), sigmoid_focal_loss(wide.clone(), target))


def test_a_learned_weight_gets_its_gradient() -> None:
    logits, target = inputs()
    weight = torch.rand(15, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w: sigmoid_focal_loss(logits, target, weight=w), (weight,))


def test_gradient_without_a_slope_that_was_kept() -> None:
    logits, target = inputs()
    results = []
    for with_slope in (True, False):
        leaf = logits.clone().requires_grad_()
        torch.ops.stn_det.sigmoid_focal_loss(leaf, target, None, 2.0, 0.25, True, with_slope)[0].backward()
        results.append(leaf.grad)
    assert results[0].any()
    assert torch.equal(*results)


def test_wrong_sizes_are_refused() -> None:
    logits, target = inputs()
    loss = torch.ops.stn_det.sigmoid_focal_loss
    with pytest.raises(RuntimeError, match=r'target has 36 elements, expected int64 of shape \(37,\)'):
        loss(logits, target[1:], None, 2.0, 0.25, True, True)
    with pytest.raises(RuntimeError, match='weight has 14 elements, expected one a class: 15'):
        loss(logits, target, torch.ones(14, dtype=torch.float64), 2.0, 0.25, True, True)


@pytest.mark.usefixtures('deterministic')
def test_the_number_of_threads_changes_no_bit(checks) -> None:
    logits, target = inputs(torch.float32, rows=3000)
    for reduction in ('none', 'mean'):
        checks.same_for_any_number_of_threads(
            partial(run, lambda x, r=reduction: sigmoid_focal_loss(x, target, reduction=r), logits)
        )


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
@pytest.mark.parametrize('total', [True, False])
def test_opcheck(dtype, total) -> None:
    logits, target = inputs(dtype)
    weight = torch.ones(15, dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    for with_slope in (True, False):
        torch.library.opcheck(
            torch.ops.stn_det.sigmoid_focal_loss.default,
            (logits.clone().requires_grad_(), target, weight, 2.0, 0.25, total, with_slope),
        )


def test_compiles_whole_forward_and_backward() -> None:
    logits, target = inputs(torch.float32)
    compiled = torch.compile(sigmoid_focal_loss, fullgraph=True, backend='aot_eager')
    runs = [run(lambda x, f=function: f(x, target), logits) for function in (compiled, sigmoid_focal_loss)]
    for one, other in zip(*runs):
        assert torch.equal(one, other)


def test_exports(checks) -> None:
    checks.exports(sigmoid_focal_loss, inputs(torch.float32), 'sigmoid_focal_loss')


@pytest.mark.usefixtures('cpu_only')
def test_portable_code_agrees_with_that_for_this_processor(checks, tmp_path) -> None:
    logits, target = inputs(torch.float32)
    found = checks.portable('sigmoid_focal_loss', (logits, target), tmp_path, reduction='none')
    torch.testing.assert_close(found, sigmoid_focal_loss(logits, target, reduction='none'), atol=1e-6, rtol=1e-6)
