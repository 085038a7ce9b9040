"""The compiled warp: against the plain one in every dtype and layout, and under torch.compile and torch.export."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from stn_det.ops import warp_sample
from stn_det.ops.reference.warp_sample import warp_sample_reference

pytestmark = pytest.mark.usefixtures('compiled')

CHOICES = list(itertools.product(('bilinear', 'nearest', 'bicubic'), ('zeros', 'border', 'reflection')))


def inputs(dtype=torch.float64, images=2, channels=5, height=23, width=31, scale=1.1, slant=1e-3, degrees=20.0):
    """Images, and matrices that turn about the centre, scale and slant a little, another one for each image."""
    generator = torch.Generator().manual_seed(channels)
    image = torch.randn(images, channels, height, width, generator=generator, dtype=torch.float64).to(dtype)
    matrices = torch.zeros(images, 3, 3, dtype=torch.float64)
    for k, matrix in enumerate(matrices):
        cos, sin = (scale * f(math.radians(degrees + 35 * k)) for f in (math.cos, math.sin))
        turn = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)
        center = torch.tensor([width / 2 + 0.3, height / 2 - 0.2], dtype=torch.float64)
        matrix[:2, :2], matrix[:2, 2] = turn, center - turn @ center
        matrix[2] = torch.tensor([slant, -slant, 1])
    return image, matrices


def both(checks, arguments, *options) -> list[tuple[Tensor, Tensor]]:
    """Results and gradients, ours and those of the plain version in float64."""
    size, mode, padding, antialias = options
    found = checks.gradients(lambda x, m: warp_sample(x, m, size, mode, padding, antialias), arguments)
    wanted = checks.gradients(
        lambda x, m: warp_sample_reference(x, m, size, mode, padding, antialias),
        [part.double() for part in arguments],
        torch.cos(torch.arange(found[0].numel())).view_as(found[0]).to(found[0]).double(),
    )
    return list(zip(found, wanted, strict=True))


@pytest.mark.parametrize('antialias', [False, True])
@pytest.mark.parametrize('channels', [1, 3, 8, 11, 16, 33])
@pytest.mark.parametrize(
    ('dtype', 'tolerance'),
    # Relative to the largest value. Float32 sums up to 16 taps; the half types add their own rounding of the result.
    [(torch.float64, 1e-12), (torch.float32, 4e-6), (torch.float16, 1e-3), (torch.bfloat16, 8e-3)],
)
@pytest.mark.usefixtures('deterministic')
def test_agrees_with_the_reference_in_float64(checks, dtype, tolerance, channels, antialias) -> None:
    arguments = inputs(dtype, channels=channels, images=8 if channels == 33 else 2, scale=2.4 if antialias else 1.1)
    for mode, padding in CHOICES:
        pairs = both(checks, arguments, (19, 26), mode, padding, antialias and mode != 'nearest')
        assert [one.dtype for one, _ in pairs] == [dtype, dtype, torch.float64]
        for one, other in pairs[:2]:
            assert (one - other).abs().max() <= tolerance * other.abs().max()
        assert (pairs[2][0] - pairs[2][1]).abs().max() <= max(tolerance, 1e-11) * pairs[2][1].abs().max()


@pytest.mark.parametrize(
    ('size', 'scale', 'slant'),
    [
        *((size, *map_) for size in [(1, 1), (1, 200), (130, 3), (65, 129)] for map_ in [(0.1, 0.0), (1.0, 2e-3)]),
        *((size, 30.0, 0.0) for size in [(1, 1), (1, 70), (9, 12)]),
    ],
)
def test_tiles_and_crops_of_any_size(checks, size, scale, slant) -> None:
    """One pixel, one row, full tiles, tiles and a rest; frames of the source and points too far apart for one."""
    arguments = inputs(torch.float64, channels=9, height=70, width=90, scale=scale, slant=slant)
    for mode, antialias in (('bilinear', False), ('bilinear', True), ('bicubic', False), ('nearest', False)):
        for one, other in both(checks, arguments, size, mode, 'zeros', antialias):
            assert (one - other).abs().max() <= 1e-11 * max(1.0, other.abs().max())
        image, matrix = (part.detach().clone() for part in arguments)
        matrix.requires_grad_()
        output = warp_sample(image, matrix, size, mode, 'zeros', antialias)
        (alone,) = torch.autograd.grad(output.cos().sum(), matrix)  # without a gradient to the image: other code
        image.requires_grad_()
        output = warp_sample(image, matrix, size, mode, 'zeros', antialias)
        (beside,) = torch.autograd.grad(output.cos().sum(), (image, matrix))[1:]
        assert (alone - beside).abs().max() <= 1e-12 * max(1.0, beside.abs().max())


def test_a_crop_of_a_large_image_reads_only_the_crop() -> None:
    """An image that exists only as one row, repeated: a copy of it would need 16 GiB."""
    wide = torch.arange(2.0**16)[None, None, None].expand(1, 1, 2**16, 2**16)
    matrix = torch.tensor([[[1.0, 0, 60000], [0, 1, 50000]]])
    result = warp_sample(wide, matrix, (5, 7))
    assert torch.equal(result, (60000 + torch.arange(7.0)).expand(1, 1, 5, 7))


def test_too_many_pixels_for_a_gradient_are_refused() -> None:
    wide = torch.zeros(1)[None, None, None].expand(1, 1, 2**16, 2**16)
    matrix = torch.tensor([[[1.0, 0, 60000], [0, 1, 50000]]]).double()
    with pytest.raises(
        RuntimeError, match=r'input is 65536 x 65536, expected fewer than 2\^31 pixels for its gradient'
    ):
        torch.ops.stn_det.warp_sample_backward(torch.zeros(1, 1, 5, 7), wide, matrix, 0, 0, False, False, True, True)


def test_arguments_that_do_not_fit_are_refused_below_the_wrapper() -> None:
    image, matrix = inputs()
    call, back = torch.ops.stn_det.warp_sample, torch.ops.stn_det.warp_sample_backward
    with pytest.raises(RuntimeError, match='matrix has to be float64 of shape'):
        call(image, matrix[:1], 4, 5, 0, 0, False, False)
    with pytest.raises(RuntimeError, match='matrix has to be float64 of shape'):
        call(image, matrix.float(), 4, 5, 0, 0, False, False)
    with pytest.raises(RuntimeError, match='mode is 3, expected 0, 1 or 2'):
        call(image, matrix, 4, 5, 3, 0, False, False)
    with pytest.raises(RuntimeError, match='padding is -1, expected 0, 1 or 2'):
        call(image, matrix, 4, 5, 0, -1, False, False)
    with pytest.raises(RuntimeError, match='input is 0 x 31, expected 1 to'):
        call(image[:, :, :0], matrix, 4, 5, 0, 0, False, False)
    with pytest.raises(RuntimeError, match='grad_output does not have the shape and dtype'):
        back(torch.zeros(2, 4, 6, 7).double(), image, matrix, 0, 0, False, False, True, True)


@pytest.mark.usefixtures('deterministic')
def test_any_layout_of_the_arguments(checks) -> None:
    image, matrix = inputs(torch.float32, channels=12)
    plain = checks.gradients(lambda x, m: warp_sample(x, m, (19, 26)), (image, matrix))
    last = image.contiguous(memory_format=torch.channels_last)
    turned = image.transpose(2, 3).contiguous().transpose(2, 3)
    assert not turned.is_contiguous()
    for other in (last, turned, image.flip(3).flip(3), torch.cat([image, image], 1)[:, :12]):
        grad = torch.cos(torch.arange(plain[0].numel())).view_as(plain[0])
        for layout in (torch.contiguous_format, torch.channels_last):
            x, m = other.detach().requires_grad_(), matrix.transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
            output = warp_sample(x, m, (19, 26))
            grads = torch.autograd.grad(output, (x, m), grad.contiguous(memory_format=layout))
            assert all(torch.equal(*pair) for pair in zip((output, *grads), plain))
            assert output.is_contiguous(memory_format=torch.channels_last) == (other is last)
            assert output.is_contiguous() == (other is not last)


@pytest.mark.usefixtures('deterministic')
def test_expanded_gradients_and_images(checks) -> None:
    image, matrix = inputs(torch.float32)
    grad = torch.ones(()).expand(2, 5, 19, 26)
    found = checks.gradients(lambda x, m: warp_sample(x, m, (19, 26)), (image, matrix), grad)
    wanted = checks.gradients(lambda x, m: warp_sample(x, m, (19, 26)), (image, matrix), grad.contiguous())
    assert all(torch.equal(*pair) for pair in zip(found, wanted))
    one = image[:1].expand(2, -1, -1, -1)
    assert torch.equal(warp_sample(one, matrix, (19, 26)), warp_sample(one.contiguous(), matrix, (19, 26)))


@pytest.mark.parametrize('antialias', [False, True])
@pytest.mark.usefixtures('deterministic')
def test_the_number_of_threads_changes_no_bit(checks, antialias) -> None:
    for shape in (dict(images=3, channels=40), dict(images=1, channels=3, height=150, width=140)):
        image, matrix = inputs(torch.float32, scale=1.7, **shape)

        def run(image=image, matrix=matrix):
            alone = matrix.clone().requires_grad_()
            output = warp_sample(image, alone, (150, 141), antialias=antialias)
            grad = torch.autograd.grad(output, alone, output.detach())
            return *grad, *checks.gradients(
                lambda x, m: warp_sample(x, m, (150, 141), antialias=antialias), (image, matrix)
            )

        checks.same_for_any_number_of_threads(run)


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize('last', [False, True])
def test_opcheck(dtype, last) -> None:
    image, matrix = inputs(dtype)
    layout = torch.channels_last if last else torch.contiguous_format
    image = image.contiguous(memory_format=layout).requires_grad_()
    arguments = (image, matrix.requires_grad_(), 19, 26, 2, 1, True, last)
    torch.library.opcheck(torch.ops.stn_det.warp_sample.default, arguments)
    grad = torch.randn(2, 5, 19, 26, dtype=dtype)
    for wanted in ((True, True), (True, False), (False, True)):
        arguments = (grad, image.detach(), matrix.detach(), 0, 2, False, last, *wanted)
        torch.library.opcheck(torch.ops.stn_det.warp_sample_backward.default, arguments)


@pytest.mark.usefixtures('deterministic')
def test_compiles_whole_forward_and_backward(checks) -> None:
    arguments = inputs(torch.float32)

    def function(x: Tensor, m: Tensor) -> Tensor:
        return warp_sample(x, m, (x.shape[2] // 2, x.shape[3]), 'bicubic', 'border', True)

    compiled = torch.compile(function, fullgraph=True, backend='aot_eager')
    for one, other in zip(checks.gradients(compiled, arguments), checks.gradients(function, arguments)):
        assert torch.equal(one, other)


def test_exports(checks) -> None:
    checks.exports(lambda x, m: warp_sample(x, m, (19, 26)), inputs(torch.float32), 'warp_sample')


@pytest.mark.parametrize('antialias', [False, True])
@pytest.mark.usefixtures('cpu_only')
def test_portable_code_agrees_with_that_for_this_processor(checks, tmp_path, antialias) -> None:
    arguments = (*inputs(torch.float32, channels=20, images=8, scale=1.6), (19, 26))
    found = checks.portable('warp_sample', arguments, tmp_path, antialias=antialias)
    torch.testing.assert_close(found, warp_sample(*arguments, antialias=antialias), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ('dtype', 'tolerance'),
    # Float32 sums up to 13 x 13 taps here, with or without fused products.
    [(torch.float64, 1e-12), (torch.float32, 8e-6), (torch.float16, 1e-3), (torch.bfloat16, 8e-3)],
)
# Packs of 2, 4 or 8 channels a lane; more packs than lanes; no whole pack.
@pytest.mark.parametrize(('channels', 'scale'), [(8, 1.1), (24, 2.4), (13, 2.4), (264, 3.1)])
def test_channels_last_agrees_with_the_reference(checks, dtype, tolerance, channels, scale) -> None:
    size = (3, 7) if channels > 200 else (11, 19)  # tiles smaller and larger than the image, and not a multiple of it
    image, matrix = inputs(dtype, channels=channels, scale=scale)
    image = image.contiguous(memory_format=torch.channels_last)
    for mode, padding, antialias in (
        ('bilinear', 'zeros', False),
        ('bilinear', 'reflection', True),
        ('nearest', 'border', False),
        ('bicubic', 'border', True),
    ):
        x, m = image.clone().requires_grad_(), matrix.clone().requires_grad_()
        assert x.is_contiguous(memory_format=torch.channels_last)
        output = warp_sample(x, m, size, mode, padding, antialias)
        grad = torch.cos(torch.arange(output.numel())).view(output.shape).to(dtype)
        grads = torch.autograd.grad(output, (x, m), grad.contiguous(memory_format=torch.channels_last))
        wanted = checks.gradients(
            lambda x, m, options=(size, mode, padding, antialias): warp_sample_reference(x, m, *options),
            [image.double(), matrix],
            grad.double(),
        )
        assert output.is_contiguous(memory_format=torch.channels_last)
        for one, other, bound in zip((output, *grads), wanted, (tolerance, tolerance, max(tolerance, 1e-11))):
            assert (one - other).abs().max() <= bound * other.abs().max()


@pytest.mark.parametrize('last', [False, True])
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16])
def test_deterministic_gradients(checks, dtype, last) -> None:
    """The mode changes no more than rounding, and repeats every bit."""
    image, matrix = inputs(dtype, channels=8, scale=1.8)
    image = image.contiguous(memory_format=torch.channels_last) if last else image

    def run() -> list[Tensor]:
        x, m = image.clone().requires_grad_(), matrix.clone().requires_grad_()
        output = warp_sample(x, m, (19, 45), 'bicubic', 'border', True)
        return torch.autograd.grad(output, (x, m), output.detach())

    free = run()
    torch.use_deterministic_algorithms(True)
    try:
        first, second = run(), run()
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(*pair) for pair in zip(first, second))
    bound = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 8e-3}[dtype]
    for one, other in zip(first, free):
        assert (one - other).abs().max() <= bound * other.abs().max()


def test_wild_gradients_and_pixels_stay_where_they_are() -> None:
    """NaN and infinity in a gradient or an image reach the pixels that their points read, and no others."""
    for layout in (torch.contiguous_format, torch.channels_last):
        image = torch.ones(1, 8, 20, 20).contiguous(memory_format=layout).requires_grad_()
        matrix = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]], dtype=torch.float64)
        output = warp_sample(image, matrix, (20, 20))
        grad = torch.ones_like(output)
        grad[0, 3, 4, 5], grad[0, 2, 0, 0] = math.nan, math.inf
        for deterministic in (False, True):
            torch.use_deterministic_algorithms(deterministic)
            try:
                (found,) = torch.autograd.grad(output, image, grad, retain_graph=True)
            finally:
                torch.use_deterministic_algorithms(False)
            assert torch.equal(found.nan_to_num(nan=7.0), grad.nan_to_num(nan=7.0))
