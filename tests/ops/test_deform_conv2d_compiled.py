"""The compiled deformable convolution: against the plain one in every dtype, and as a citizen of torch.compile."""

import math
import sys
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from stn_det.ops import _deform, _library, deform_conv2d

pytestmark = pytest.mark.usefixtures('compiled')


@pytest.fixture
def deterministic() -> Iterator[None]:
    """For tests that ask for equal bits: on a GPU sums of the gradient of the input are otherwise in any order."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def inputs(
    dtype=torch.float64, batch=2, channels=12, outputs=4, size=(7, 9), kernel=(3, 2), groups=1, shared=1, **layer
):
    """Input, offset, weight, bias and mask, and the options, of a convolution whose offsets reach far outside."""
    generator = torch.Generator().manual_seed(channels)
    wide = torch.float64 if dtype == torch.float64 else torch.float32

    def random(*shape: int, of: torch.dtype = wide) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(of)

    weight = random(outputs, channels // groups, *kernel, of=dtype)
    x = random(batch, channels, *size, of=dtype)
    out = F.conv2d(torch.zeros(1, 1, *size), torch.zeros(1, 1, *kernel), None, **layer).shape[2:]
    points = shared * kernel[0] * kernel[1]
    offset, mask = 2 * random(batch, 2 * points, *out), random(batch, points, *out)
    return (x, offset, weight, random(outputs, of=dtype), mask), {'groups': groups, 'offset_groups': shared, **layer}


def convolve(options: dict):
    """The operator as a function of its tensors alone."""
    return lambda x, offset, weight, bias, mask: deform_conv2d(x, offset, weight, bias, mask=mask, **options)


def plain(checks, monkeypatch, tensors, options, grad_output):
    """Output and gradients of the plain version in float64."""
    with monkeypatch.context() as patch:
        patch.setattr(_library, '_on_cpu', frozenset())
        return checks.gradients(convolve(options), [tensor.double() for tensor in tensors], grad_output.double())


@pytest.mark.parametrize(
    'shape',
    [
        dict(channels=1, outputs=1),
        dict(channels=3, outputs=5, stride=2),
        dict(channels=8, padding=1),
        dict(channels=16, groups=2, padding=(2, 1)),
        dict(channels=24, shared=2, dilation=2),
        dict(channels=36, outputs=6, groups=3, shared=2, stride=(1, 2)),  # the borders of the groups lie apart
        dict(channels=24, groups=2, shared=4, dilation=(1, 2), padding=1),
        dict(channels=8, outputs=8, groups=8, padding=1),
        dict(channels=40, kernel=(1, 1)),
        dict(channels=64, kernel=(5, 3), padding=(2, 1), batch=1),
    ],
)
@pytest.mark.parametrize(
    # Results and gradients in 16 bits are float32 sums rounded once: 2^-11 and 2^-8 of the largest at worst.
    # Sums of up to 1000 products in float32: 1000 * 2^-24.
    ('dtype', 'tolerance'),
    [(torch.float64, 1e-13), (torch.float32, 6e-5), (torch.float16, 5e-4), (torch.bfloat16, 4e-3)],
)
def test_agrees_with_the_plain_version_in_float64(checks, monkeypatch, dtype, tolerance, shape) -> None:
    tensors, options = inputs(dtype, **shape)
    grad_output = torch.randn_like(convolve(options)(*tensors))
    found = checks.gradients(convolve(options), tensors, grad_output)
    assert [part.dtype for part in found] == [dtype, *(tensor.dtype for tensor in tensors)]
    for one, other in zip(found, plain(checks, monkeypatch, tensors, options, grad_output)):
        assert (one - other).abs().max() <= tolerance * other.abs().max()


def test_ranges_of_any_length_give_the_same(checks, monkeypatch) -> None:
    """Ranges that end within a row, within an image, and after several images."""
    tensors, options = inputs(batch=5, channels=16, padding=1)
    whole = checks.gradients(convolve(options), tensors)
    monkeypatch.setattr(_deform, 'COLUMN_BYTES', 1)
    assert len(list(_deform._ranges(5 * 9 * 10, tensors[0].permute(0, 2, 3, 1), tensors[2]))) == 8
    for one, other in zip(checks.gradients(convolve(options), tensors), whole):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


@pytest.mark.parametrize('batch', [1, 2, 3, 5, 33, 37])
def test_any_batch_size(batch) -> None:
    """Deformable-DETR issue 224: batches that no im2col_step divides."""
    (x, offset, weight, bias, mask), options = inputs(batch=batch, channels=4, size=(3, 4))
    together = deform_conv2d(x, offset, weight, bias, mask=mask, **options)
    for k in range(batch):
        alone = deform_conv2d(x[k : k + 1], offset[k : k + 1], weight, bias, mask=mask[k : k + 1], **options)
        torch.testing.assert_close(together[k : k + 1], alone, atol=1e-13, rtol=0)


@pytest.mark.parametrize(('dy', 'dx'), [(0, 0), (1, 0), (0, -2), (-3, 2), (9, 0)])
def test_whole_pixel_offsets_are_a_shifted_convolution(dy, dx) -> None:
    """Offsets are (dy, dx), as in torchvision and mmcv."""
    (x, _, weight, _, _), _ = inputs(torch.float32)
    offset = torch.tensor([float(dy), float(dx)]).repeat(6).view(1, 12, 1, 1).expand(2, 12, 5, 8)
    shifted = torch.zeros_like(x)
    rows = slice(max(0, -dy), max(0, min(7, 7 - dy)))
    columns = slice(max(0, -dx), min(9, 9 - dx))
    shifted[:, :, rows, columns] = x[:, :, max(0, dy) : max(0, dy) + len(range(7)[rows])][
        ..., max(0, dx) : max(0, dx) + len(range(9)[columns])
    ]
    # Kernel points stay inside the map, so that shifting the map and shifting the points are the same.
    torch.testing.assert_close(deform_conv2d(x, offset, weight), F.conv2d(shifted, weight), atol=2e-5, rtol=0)


def test_points_by_hand_dy_before_dx_kernel_rows_before_columns() -> None:
    """The order of torchvision and mmcv: point 4 of a 2 x 3 kernel is row 1, column 1, its channels 8 (dy), 9 (dx)."""
    x = torch.arange(20.0).view(1, 1, 4, 5)
    offset = torch.zeros(1, 12, 3, 3)
    offset[0, 8, 1, 0], offset[0, 9, 1, 0] = 0.5, 2.0
    for point, expected in ((4, 0.5 * (x[0, 0, 2, 3] + x[0, 0, 3, 3])), (3, x[0, 0, 2, 0]), (5, x[0, 0, 2, 2])):
        weight = torch.zeros(1, 1, 2, 3)
        weight.view(-1)[point] = 1
        assert deform_conv2d(x, offset, weight)[0, 0, 1, 0] == expected


def test_groups_of_offsets_and_of_the_mask_move_their_channels_alone() -> None:
    x, weight = torch.randn(1, 4, 5, 5), torch.eye(4).view(4, 4, 1, 1)
    offset, mask = torch.zeros(1, 4, 5, 5), torch.ones(1, 2, 5, 5)
    offset[:, 2] = 1.0  # dy of the second group
    mask[:, 1] = 3.0
    found = deform_conv2d(x, offset, weight, mask=mask, offset_groups=2)
    assert torch.equal(found[:, :2], x[:, :2])
    assert torch.equal(found[:, 2:, :4], 3 * x[:, 2:, 1:])
    assert not found[:, 2:, 4].any()


@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf, 1e30, -1e30])
@pytest.mark.parametrize('axis', [0, 1])
def test_wild_offsets_read_zero(checks, bad, axis) -> None:
    (x, offset, weight, bias, mask), options = inputs(torch.float32)
    offset[:, axis::2] = bad
    output, *grads = checks.gradients(convolve(options), (x, offset, weight, bias, mask))
    assert torch.equal(output, bias.view(1, -1, 1, 1).expand_as(output))
    assert not any(grads[k].any() for k in (0, 1, 2, 4))


def test_infinite_pixels_that_are_not_read_leave_no_trace() -> None:
    """A pixel outside the map reads as 0, whatever its neighbour inside holds."""
    x = torch.full((1, 1, 3, 3), math.inf)
    offset = torch.full((1, 2, 3, 3), 50.0)
    assert not deform_conv2d(x, offset, torch.ones(1, 1, 1, 1)).any()


@pytest.mark.parametrize('empty', ['batch', 'channels', 'outputs'])
def test_empty(checks, empty) -> None:
    tensors, options = inputs(**{'channels': 4, empty: 0}) if empty != 'channels' else _without_channels()
    output, *grads = checks.gradients(convolve(options), tensors)
    assert output.shape == (len(tensors[0]), len(tensors[2]), *tensors[1].shape[2:])
    assert [grad.shape for grad in grads] == [tensor.shape for tensor in tensors]
    if empty == 'channels':
        assert torch.equal(output, tensors[3].view(1, -1, 1, 1).expand_as(output))
        assert not grads[1].any()


def _without_channels():
    (x, offset, weight, bias, mask), options = inputs()
    return (x[:, :0], offset, weight[:, :0], bias, mask), options


@pytest.mark.usefixtures('deterministic')
def test_any_layout_of_the_arguments(checks) -> None:
    tensors, options = inputs(channels=8)
    turned = [part.transpose(0, -1).contiguous().transpose(0, -1) for part in tensors]
    assert not any(part.is_contiguous() for part in turned if part.dim() > 1)
    nhwc = [part.to(memory_format=torch.channels_last) if part.dim() == 4 else part for part in tensors]
    expanded = torch.ones((), dtype=torch.float64).expand(2, 4, 5, 8)
    wanted = checks.gradients(convolve(options), tensors, expanded)
    for arguments in (turned, nhwc):
        for one, other in zip(checks.gradients(convolve(options), arguments, expanded), wanted):
            assert torch.equal(one, other)
    assert wanted[0].is_contiguous()
    assert deform_conv2d(*nhwc[:3]).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.usefixtures('deterministic')
@pytest.mark.parametrize('needed', [0, 1, 2, 3, 4])
def test_gradient_of_one_tensor_alone(checks, needed) -> None:
    tensors, options = inputs()
    wanted = checks.gradients(convolve(options), tensors, torch.ones(2, 4, 5, 8, dtype=torch.float64))[1 + needed]
    leaves = [tensor.requires_grad_(k == needed) for k, tensor in enumerate(tensors)]
    convolve(options)(*leaves).sum().backward()
    assert torch.equal(leaves[needed].grad, wanted)
    assert all(leaf.grad is None for k, leaf in enumerate(leaves) if k != needed)


def im2col_arguments(dtype=torch.float32, first=3, last=71):
    (x, offset, _, _, mask), _ = inputs(dtype, channels=32, shared=2)
    return x.permute(0, 2, 3, 1).contiguous(), offset, mask, [3, 2], [1, 1], [0, 0], [1, 1], 1, 2, first, last


@pytest.mark.usefixtures('deterministic')
def test_the_number_of_threads_changes_no_bit_of_the_sampling(checks) -> None:
    arguments = im2col_arguments(last=80)

    def run():
        columns = torch.ops.stn_det.deform_im2col(*arguments)
        buffers = [torch.zeros_like(part) for part in arguments[:3]]
        torch.ops.stn_det.deform_im2col_backward(columns.cos(), *arguments, *buffers, deterministic=True)
        return columns, *buffers

    checks.same_for_any_number_of_threads(run)


@pytest.mark.skipif(not _library.instruction_set(), reason='CUDA adds up each range by itself')
def test_the_cut_into_ranges_changes_no_bit_of_the_gradients() -> None:
    whole, parts = ([torch.zeros_like(part) for part in im2col_arguments()[:3]] for _ in range(2))
    grad = torch.ops.stn_det.deform_im2col(*im2col_arguments()).cos()
    torch.ops.stn_det.deform_im2col_backward(grad, *im2col_arguments(), *whole)
    for first, last in ((3, 4), (4, 45), (45, 71)):
        arguments = im2col_arguments(first=first, last=last)
        torch.ops.stn_det.deform_im2col_backward(grad[:, first - 3 : last - 3], *arguments, *parts)
    assert all(torch.equal(one, other) for one, other in zip(whole, parts))


def test_index_arithmetic_has_64_bits(tmp_path) -> None:
    """Deformable-DETR issue 66, mmcv issue 1724: illegal access where a tensor has more than 2^31 elements."""
    side = 46341  # squared: 2^31 + 4633
    names = iter('abcd')

    def sparse(*shape: int) -> torch.Tensor:
        """Zeros that take up address space, but neither memory nor disk."""
        name = str(tmp_path / next(names))
        return torch.from_file(name, shared=True, size=math.prod(shape), dtype=torch.float32).view(shape)

    x, grad_input, offset, grad_offset = (
        sparse(*shape) for shape in 2 * [(1, side, side, 1)] + 2 * [(1, 2, side, side)]
    )
    x[0, -1, -1], x[0, -1, -2] = 5, 3
    last_point = torch.tensor([side - 1, side - 1.5]).view(1, 2, 1, 1)
    layer = ([1, 1], [1, 1], [0, 0], [1, 1], 1, 1)
    columns = torch.ops.stn_det.deform_im2col(x, last_point, None, *layer, 0, 1)
    assert columns.item() == 4
    torch.ops.stn_det.deform_im2col_backward(columns, x, last_point, None, *layer, 0, 1, grad_input, None, None)
    assert grad_input[0, -1, -3:].flatten().tolist() == [0, 2, 2]

    offset[0, 1, -1, -1] = -0.75
    last = side * side - 1, side * side
    assert torch.ops.stn_det.deform_im2col(x, offset, None, *layer, *last).item() == 3.5
    torch.ops.stn_det.deform_im2col_backward(columns, x, offset, None, *layer, *last, None, grad_offset, None)
    assert grad_offset[0, :, -1, -1].tolist() == [4 * -3.5, 4 * (5 - 3)]  # the row below the last reads 0


def test_what_would_read_outside_is_refused() -> None:
    x, offset, mask, kernel, *layer, _, _ = im2col_arguments()
    run = torch.ops.stn_det.deform_im2col
    with pytest.raises(RuntimeError, match='pixels 0 to 81 were asked for, expected a range in 0 to 80'):
        run(x, offset, mask, kernel, *layer, 0, 81)
    with pytest.raises(RuntimeError, match='pixels -1 to 1 were asked for'):
        run(x, offset, mask, kernel, *layer, -1, 1)
    with pytest.raises(RuntimeError, match='offset has 2 images of 24 channels, expected 2 of 36'):
        run(x, offset, mask, [3, 3], *layer, 0, 1)
    with pytest.raises(RuntimeError, match='offset has 2 images of 24 channels, expected 1 of 24'):
        run(x[:1], offset, mask, kernel, *layer, 0, 1)
    with pytest.raises(RuntimeError, match=r'mask has to be of shape \(2, 12, 5, 8\)'):
        run(x, offset, mask[:, :-1], kernel, *layer, 0, 1)
    with pytest.raises(RuntimeError, match='offset has to be float64 for float64 features and float32 otherwise'):
        run(x.double(), offset, mask, kernel, *layer, 0, 1)
    with pytest.raises(RuntimeError, match='mask has to be float64 for float64 features and float32 otherwise'):
        run(x, offset, mask.double(), kernel, *layer, 0, 1)
    with pytest.raises(RuntimeError, match='groups = 3 and offset_groups = 2 have to divide the 32 channels'):
        run(x, offset, mask, kernel, *layer[:3], 3, 2, 0, 1)
    with pytest.raises(RuntimeError, match='stride has to be two numbers'):
        run(x, offset, mask, kernel, [0, 1], *layer[1:], 0, 1)
    with pytest.raises(RuntimeError, match='kernel of 2147483647 x 2147483647 is too large'):
        run(x, offset, mask, [2**31 - 1, 2**31 - 1], *layer[:3], 1, 16, 0, 1)
    columns, back = run(*im2col_arguments()), torch.ops.stn_det.deform_im2col_backward
    with pytest.raises(RuntimeError, match='grad_columns does not have the shape of the columns'):
        back(columns[:, 1:], *im2col_arguments(), None, None, None)
    with pytest.raises(RuntimeError, match='grad_input has size 6 in dimension 1, expected 7'):
        back(columns, *im2col_arguments(), torch.zeros_like(x)[:, 1:].contiguous(), None, None)
    with pytest.raises(RuntimeError, match='grad_input has to be float64 for float64 features'):
        back(columns, *im2col_arguments(), torch.zeros_like(x, dtype=torch.double), None, None)
    with pytest.raises(RuntimeError, match='grad_columns has to have the dtype of input'):
        back(columns.double(), *im2col_arguments(), None, None, None)
    with pytest.raises(RuntimeError, match='grad_mask was passed without a mask'):
        back(columns, x, offset, None, kernel, *layer, 3, 71, None, None, mask)


@pytest.mark.parametrize('masked', [False, True])
def test_opcheck(masked) -> None:
    x, offset, mask, *rest = im2col_arguments()
    mask = mask if masked else None
    torch.library.opcheck(torch.ops.stn_det.deform_im2col.default, (x, offset, mask, *rest))
    columns = torch.ops.stn_det.deform_im2col(x, offset, mask, *rest)
    buffers = [None if part is None else torch.zeros_like(part) for part in (x, offset, mask)]
    torch.library.opcheck(torch.ops.stn_det.deform_im2col_backward.default, (columns, x, offset, mask, *rest, *buffers))

    weight, layer = torch.randn(4, 32, 3, 2), ([1, 1], [0, 0], [1, 1], 1, 2)
    leaves = [None if part is None else part.requires_grad_() for part in (x, offset, weight, mask)]
    torch.library.opcheck(torch.ops.stn_det.deform_conv2d.default, (*leaves, *layer))
    plain_leaves = [None if part is None else part.detach() for part in leaves]
    grad = torch.randn(2, 5, 8, 4)
    for needed in ([True] * 4, [False, False, True, False]):
        torch.library.opcheck(torch.ops.stn_det.deform_conv2d_backward.default, (grad, *plain_leaves, *layer, needed))


@pytest.mark.usefixtures('deterministic')
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_gradcheck_of_any_geometry(data) -> None:
    numbers = st.integers(1, 2)
    groups, shared = data.draw(numbers), data.draw(numbers)
    kernel, stride, dilation = (data.draw(st.tuples(numbers, numbers)) for _ in range(3))
    padding = data.draw(st.tuples(st.integers(0, 1), st.integers(0, 1)))
    channels = 2 * data.draw(st.integers(1, 5))
    tensors, options = inputs(
        batch=1, channels=channels, outputs=2, size=(4, 3), kernel=kernel, groups=groups, shared=shared,
        stride=stride, padding=padding, dilation=dilation,
    )  # fmt: skip
    leaves = [tensor.requires_grad_() for tensor in tensors]
    assert torch.autograd.gradcheck(convolve(options), leaves, fast_mode=True)


def test_compiles_whole_forward_and_backward(checks) -> None:
    for layout in (torch.contiguous_format, torch.channels_last):
        tensors, options = inputs(torch.float32, padding=1)
        tensors = (tensors[0].to(memory_format=layout), *tensors[1:])
        compiled = torch.compile(convolve(options), fullgraph=True, backend='aot_eager')
        for one, other in zip(checks.gradients(compiled, tensors), checks.gradients(convolve(options), tensors)):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-6)  # the bias is summed in another order
            assert one.stride() == other.stride()


def test_exports(checks) -> None:
    tensors, options = inputs(torch.float32, padding=1)
    checks.exports(convolve(options), tensors, 'deform_conv2d')


@pytest.mark.usefixtures('cpu_only')
def test_portable_code_agrees_with_that_for_this_processor(checks, tmp_path) -> None:
    tensors, options = inputs(torch.float32, channels=40)
    found = checks.portable('deform_conv2d', tensors[:4], tmp_path, mask=tensors[4], **options)
    torch.testing.assert_close(found, convolve(options)(*tensors), atol=1e-4, rtol=0)


@pytest.mark.usefixtures('deterministic')
def test_autocast_changes_neither_pass(checks) -> None:
    """The products stay in float32: bfloat16 has 8 bits, too few for sums over K * C."""
    tensors, options = inputs(torch.float32)
    wanted = checks.gradients(convolve(options), tensors)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = checks.gradients(convolve(options), tensors)
    assert all(torch.equal(one, other) for one, other in zip(found, wanted))


@pytest.mark.skipif(bool(_library.instruction_set()), reason='the CPU multiplies in float32')
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_products_of_16_bits(checks, monkeypatch, dtype) -> None:
    """What a GPU runs: rounded maps, columns and results, sums in float32."""
    shape = dict(channels=24, outputs=16, groups=2, padding=1)
    tensors, options = inputs(dtype, **shape)
    grad_output = torch.randn_like(convolve(options)(*tensors))
    wanted = plain(checks, monkeypatch, tensors, options, grad_output)
    monkeypatch.setattr(sys.modules[deform_conv2d.__module__], '_has_tensor_cores', lambda device: True)
    monkeypatch.setattr(_deform, 'COLUMN_BYTES', 1)  # several ranges
    found = checks.gradients(convolve(options), tensors, grad_output)
    rounding = 2**-11 if dtype == torch.float16 else 2**-8
    assert [part.dtype for part in found] == [dtype, *(tensor.dtype for tensor in tensors)]
    for one, other in zip(found, wanted):
        assert (one - other).abs().max() <= 2 * rounding * other.abs().max()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_gradient_of_a_16_bit_kernel_is_rounded_once(monkeypatch, dtype) -> None:
    """Against float64 on the same columns; the sums of ten ranges stay in float32."""
    device = 'cuda' if 'deform_im2col' in _library._on_cuda and torch.cuda.is_available() else 'cpu'
    if device == 'cpu' and _library.instruction_set():
        pytest.skip('the CPU multiplies in float32')
    tensors, _ = inputs(dtype, batch=9, channels=16, groups=2, padding=1)
    x, offset, weight, _, mask = (tensor.to(device) for tensor in tensors)
    x, grad_output = x.permute(0, 2, 3, 1).contiguous(), torch.randn(9, 7, 10, 4).to(device, dtype)
    geometry, pixels = ([1, 1], [1, 1], [1, 1], 2, 1), 9 * 7 * 10
    columns = torch.ops.stn_det.deform_im2col(x, offset, mask, [3, 2], *geometry, 0, pixels).double()
    grad = grad_output.double().view(pixels, 2, 2).permute(1, 2, 0)
    wanted = _deform._kernel_tensor(grad @ columns.flatten(2), weight)
    monkeypatch.setattr(_deform, 'COLUMN_BYTES', 1)
    monkeypatch.setattr(_deform, 'COLUMN_BYTES_CUDA', 1)
    assert len(list(_deform._ranges(pixels, x, weight))) == 10
    needed = [False, False, True, False]
    found = torch.ops.stn_det.deform_conv2d_backward(grad_output, x, offset, weight, mask, *geometry, needed)[2]
    assert found.dtype == dtype
    bound = torch.finfo(dtype).eps / 2 * wanted.abs() + 1e-5 * wanted.abs().max()
    assert ((found - wanted).abs() <= bound).all()
