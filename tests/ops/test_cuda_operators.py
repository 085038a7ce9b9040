"""Every operator on a GPU, and what only a GPU can be asked: streams, graphs, several devices.

Where the tests run on the emulated kernels (``make test-emulated``), those that need no GPU run too.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest
import torch
from torch import Tensor

from stn_det import ops
from stn_det.errors import InputError
from stn_det.ops import _library

EMULATED = bool(_library._on_cpu) and not _library.instruction_set()
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
if DEVICE == 'cpu' and not EMULATED:
    pytest.skip('no GPU', allow_module_level=True)
if DEVICE == 'cuda' and not _library._on_cuda:
    pytest.skip(f'the operators for CUDA are {_library.library_report("cuda")[0]}', allow_module_level=True)

needs_gpu = pytest.mark.skipif(DEVICE == 'cpu', reason='no GPU')
needs_two = pytest.mark.skipif(torch.cuda.device_count() < 2, reason='fewer than two GPUs')

LEVELS = torch.tensor([[19, 21], [10, 11], [5, 6]])
QUADS = torch.tensor([-1.0, -1, 1, -1, 1, 1, -1, 1])


@pytest.fixture(autouse=True)
def _restore_determinism() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Uniform numbers in [0, 1) in float64, the same on every device."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def boxes(count: int, seed: int = 0) -> Tensor:
    """Rotated boxes (count, 5) many of which overlap."""
    scale = torch.tensor([300.0, 200, 60, 40, 6.3], dtype=torch.float64)
    return draw(count, 5, seed=seed) * scale + torch.tensor([0.0, 0, 3, 3, -3], dtype=torch.float64)


def quads(count: int, seed: int = 0) -> Tensor:
    """Quadrilaterals (count, 8) near squares."""
    centre = draw(count, 1, 2, seed=seed) * 200
    return (centre + 20 * QUADS.view(1, 4, 2) + 8 * draw(count, 4, 2, seed=seed + 1)).flatten(1)


def attention(size: int = 0, channels: int = 32, queries: int | None = None) -> tuple[Callable, list[Tensor]]:
    """Attention with given points, or fused with references of the given size."""
    positions = int(LEVELS.prod(1).sum())
    queries = queries or positions
    starts = torch.tensor([0, 399, 509])
    value = draw(2, positions, 4, channels) - 0.5
    if size == 0:
        places, weights = draw(2, queries, 4, 3, 4, 2, seed=1) * 1.2 - 0.1, draw(2, queries, 4, 3, 4, seed=2)
        return _given, [value, LEVELS, starts, places, weights]
    references = draw(2, queries, 3, size, seed=3) * 0.8 + 0.1
    offsets, logits = 3 * draw(2, queries, 4, 3, 4, 2, seed=1), draw(2, queries, 4, 12, seed=2)
    return _fused, [value, LEVELS, starts, references, offsets, logits]


def _given(value: Tensor, shapes: Tensor, starts: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    return ops.ms_deform_attn(value, shapes, starts, places, weights)


def _fused(value: Tensor, shapes: Tensor, starts: Tensor, *rest: Tensor) -> Tensor:
    return ops.ms_deform_attn_fused(value, shapes, starts, *rest)


def rois(rotated: bool) -> Tensor:
    """RoIs on two images of 40 x 50."""
    image = torch.arange(21, dtype=torch.float64)[:, None] % 2
    if rotated:
        return torch.cat([image, boxes(21) * torch.tensor([0.15, 0.15, 0.2, 0.2, 1], dtype=torch.float64)], 1)
    corner = draw(21, 2) * 20
    return torch.cat([image, corner, corner + 3 + 20 * draw(21, 2, seed=1)], 1)


def matrices(rows: int) -> Tensor:
    """Turned and stretched maps (2, rows, 3), in perspective where there are three rows."""
    affine = torch.tensor([[1.3, 0.4, -5.0], [-0.3, 1.1, 6.0], [0.002, 0.001, 1.0]], dtype=torch.float64)
    return torch.stack([affine, affine.roll(1, 1).abs() * 0.1 + torch.eye(3, dtype=torch.float64)])[:, :rows]


def given_points() -> Tensor:
    """Points (2, 33, 45, 2) in and around images of 40 x 50."""
    return draw(2, 33, 45, 2, seed=6) * torch.tensor([60.0, 48.0], dtype=torch.float64) - 5


def convolve(image: Tensor, offset: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
    """Deformable convolution v2 with two groups of offsets."""
    return ops.deform_conv2d(image, offset, weight, None, 1, 1, 1, mask, 1, 2)


def pool(kind: str, image: Tensor, places: Tensor) -> Tensor:
    """RoIAlign: 'avg', 'max' or 'rotated'."""
    if kind == 'rotated':
        return ops.roi_align_rotated(image, places, (7, 5), 0.5, 2)
    return ops.roi_align(image, places.detach(), (7, 5), 0.5, 0, True, kind)


CASES: dict[str, Callable[[], tuple[Callable, list[Tensor]]]] = {
    'ms_deform_attn': attention,
    'ms_deform_attn, 3 channels': partial(attention, channels=3, queries=97),
    'ms_deform_attn, 160 channels': partial(attention, channels=160, queries=31),
    'fused, points': partial(attention, 2),
    'fused, boxes': partial(attention, 4),
    'fused, rotated boxes': partial(attention, 5),
    'deform_conv2d': lambda: (
        convolve,
        [draw(2, 16, 18, 21), 4 * draw(2, 36, 18, 21) - 2, draw(8, 16, 3, 3) - 0.5, draw(2, 18, 18, 21)],
    ),
    'warp, affine': lambda: (lambda x, m: ops.warp_sample(x, m, (33, 45)), [draw(2, 5, 40, 50), matrices(2)]),
    'warp, bicubic': lambda: (
        lambda x, m: ops.warp_sample(x, m, (33, 45), 'bicubic', 'reflection'),
        [draw(2, 8, 40, 50).contiguous(memory_format=torch.channels_last), matrices(3)],
    ),
    'warp, antialias': lambda: (
        lambda x, m: ops.warp_sample(x, m, (13, 15), 'bilinear', 'border', True),
        [draw(2, 5, 40, 50), matrices(3) * torch.tensor([2.5, 2.5, 1.0], dtype=torch.float64)],
    ),
    'remap': lambda: (ops.remap, [draw(2, 5, 40, 50), given_points()]),
    'remap, bicubic': lambda: (
        lambda x, p: ops.remap(x, p, 'bicubic', 'reflection'),
        [draw(2, 24, 40, 50).contiguous(memory_format=torch.channels_last), given_points()],
    ),
    'roi_align': lambda: (partial(pool, 'avg'), [draw(2, 12, 40, 50), rois(False)]),
    'roi_align, max': lambda: (partial(pool, 'max'), [draw(2, 12, 40, 50), rois(False)]),
    'roi_align_rotated': lambda: (partial(pool, 'rotated'), [draw(2, 12, 40, 50), rois(True)]),
    'box_iou_rotated': lambda: (ops.box_iou_rotated, [boxes(150), boxes(70, 5)]),
    'box_iou_rotated, aligned': lambda: (
        lambda a, b: ops.box_iou_rotated(a, b, aligned=True, mode='iof'),
        [boxes(300), boxes(300, 5)],
    ),
    'box_iou_quadri': lambda: (ops.box_iou_quadri, [boxes(80), quads(90, 3)]),
    'quadri_iou': lambda: (ops.quadri_iou, [quads(60), quads(70, 3)]),
    'rotated_iou_giou': lambda: (
        lambda a, b: torch.stack(ops.rotated_iou_giou(a, b)),
        [boxes(200), boxes(200, 5)],
    ),
    'sigmoid_focal_loss': lambda: (
        lambda x, t: ops.sigmoid_focal_loss(x, t, reduction='none'),
        [4 * draw(300, 15) - 2, (draw(300) * 16).long()],
    ),
}
# Those whose features may be float16 or bfloat16 while all else stays float32; index of the features.
# Not the maximum: features that rounding makes equal make another of them the largest.
HALVES = [
    name for name in CASES if name.startswith(('ms_', 'fused', 'deform', 'warp', 'remap', 'roi')) and 'max' not in name
]


def as_arguments(parts: Sequence[Tensor], dtype: torch.dtype, device: str = DEVICE) -> list[Tensor]:
    """Copies on the device, the first in the dtype, other numbers in float32 at least; numbers get a gradient."""
    out = []
    for index, part in enumerate(parts):
        if not part.is_floating_point():
            out.append(part.to(device))
            continue
        wide = dtype if index == 0 or dtype == torch.float64 else torch.float32
        out.append(part.to(device, wide).requires_grad_())
    return out


def gradients(function: Callable, arguments: Sequence[Tensor]) -> list[Tensor]:
    """The result and the gradients to all arguments that have one, on the CPU in float64."""
    output = function(*arguments)
    weights = torch.cos(torch.arange(output.numel(), dtype=torch.float64)).view(output.shape)
    leaves = [part for part in arguments if part.requires_grad]
    grads = torch.autograd.grad(output, leaves, weights.to(output), allow_unused=True)
    return [part.detach().double().cpu() for part in (output, *grads) if part is not None]


def assert_near(found: Sequence[Tensor], wanted: Sequence[Tensor], tolerance: float) -> None:
    """Whether every result is within the tolerance, as a part of its norm, but for one number in a thousand.

    A point that rounding moves over the centre of a pixel has another slope there.
    """
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted):
        assert one.shape == other.shape
        errors = (one - other).abs().flatten().sort().values
        error = errors[: errors.numel() - errors.numel() // 1000].norm() / other.norm()
        assert error <= tolerance


@pytest.mark.parametrize('name', CASES)
@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float64, 1e-10), (torch.float32, 2e-4)])
def test_agrees_with_plain_pytorch_in_float64(name, dtype, tolerance, monkeypatch) -> None:
    function, parts = CASES[name]()
    found = gradients(function, as_arguments(parts, dtype))
    monkeypatch.setattr(_library, '_on_cpu', frozenset())
    rounded = [part.to(dtype) if part.is_floating_point() else part for part in parts]
    assert_near(found, gradients(function, as_arguments(rounded, torch.float64, 'cpu')), tolerance)


@pytest.mark.parametrize('name', HALVES)
@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float16, 3e-3), (torch.bfloat16, 2e-2)])
def test_sixteen_bits_keep_their_precision(name, dtype, tolerance, monkeypatch) -> None:
    """Against float64 on the same rounded features: only the rounding of results and of gradients is left."""
    function, parts = CASES[name]()
    parts = [part.float().double() if part.is_floating_point() else part for part in parts]
    parts[0] = parts[0].to(dtype).double()
    found = gradients(function, as_arguments(parts, dtype))
    monkeypatch.setattr(_library, '_on_cpu', frozenset())
    assert_near(found, gradients(function, as_arguments(parts, torch.float64, 'cpu')), tolerance)


@pytest.mark.parametrize('name', CASES)
def test_deterministic_mode_gives_the_same_bits_and_nearly_the_same_numbers(name) -> None:
    function, parts = CASES[name]()
    plain = gradients(function, as_arguments(parts, torch.float32))
    torch.use_deterministic_algorithms(True)
    first, second = (gradients(function, as_arguments(parts, torch.float32)) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(first, second))
    assert_near(first, plain, 1e-5)


@pytest.mark.parametrize('labelled', [False, True])
@pytest.mark.parametrize('name', ['nms', 'nms_rotated', 'nms_quadri'])
def test_suppression_keeps_what_the_reference_keeps(name, labelled, monkeypatch) -> None:
    count = 300
    shapes = {'nms_rotated': boxes(count), 'nms_quadri': quads(count)}.get(name)
    if shapes is None:
        corner = draw(count, 2) * 100
        shapes = torch.cat([corner, corner + 40 * draw(count, 2, seed=1)], 1)
    scores = (draw(count, seed=4) * 50).round() / 50  # some are equal
    labels = (draw(count, seed=5) * 3).long() if labelled else None
    run = getattr(ops, name)
    on_device = [None if part is None else part.to(DEVICE) for part in (shapes, scores, labels)]
    found = run(on_device[0], on_device[1], 0.3, on_device[2]).cpu()
    monkeypatch.setattr(_library, '_on_cpu', frozenset())
    assert torch.equal(found, run(shapes, scores, 0.3, labels))


@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
def test_soft_suppression_agrees_with_the_reference(method, monkeypatch) -> None:
    corner = draw(200, 2) * 60
    rectangles, scores = torch.cat([corner, corner + 30 * draw(200, 2, seed=1)], 1), draw(200, seed=2)
    found = ops.soft_nms(rectangles.to(DEVICE), scores.to(DEVICE), 0.3, method=method)
    monkeypatch.setattr(_library, '_on_cpu', frozenset())
    wanted = ops.soft_nms(rectangles, scores, 0.3, method=method)
    assert torch.equal(found[1].cpu(), wanted[1])
    torch.testing.assert_close(found[0].cpu(), wanted[0])


def test_levels_that_do_not_fit_show_as_nan() -> None:
    """Nobody waits for a GPU to refuse them; nothing outside of the value is read."""
    function, (value, shapes, starts, *rest) = attention()
    wrong = shapes.clone()
    wrong[2] = torch.tensor([500, 600])
    output = function(*as_arguments([value, wrong, starts, *rest], torch.float32))
    assert output.isnan().all()


@needs_gpu
def test_every_operator_is_compiled() -> None:
    assert {kind for kind in ops.status().values() if 'cuda' not in kind} == set()


@needs_gpu
@pytest.mark.parametrize('name', CASES)
def test_runs_on_the_current_stream(name) -> None:
    """Work of another stream that the operator depends on is waited for only on that stream."""
    function, parts = CASES[name]()
    wanted = gradients(function, as_arguments(parts, torch.float32))
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(20_000_000)  # cycles: whoever takes another stream reads the copies before they are there
        found = gradients(function, as_arguments(parts, torch.float32))
    assert_near(found, wanted, 1e-5)


@needs_gpu
@pytest.mark.parametrize('name', CASES)
def test_a_graph_can_capture_it(name) -> None:
    """Nothing waits for the host, in either pass."""
    function, parts = CASES[name]()
    arguments = as_arguments(parts, torch.float32)
    leaves = [part for part in arguments if part.requires_grad]

    def run() -> list[Tensor]:
        output = function(*arguments)
        grads = torch.autograd.grad(output, leaves, torch.ones_like(output), allow_unused=True)
        return [part for part in (output.detach(), *grads) if part is not None]

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = run()
    with torch.no_grad():
        for leaf in leaves[:1]:
            leaf.mul_(0.5)
    graph.replay()
    assert_near([part.double().cpu() for part in captured], [part.double().cpu() for part in run()], 1e-5)


@needs_gpu
@pytest.mark.parametrize('name', ['nms', 'nms_rotated', 'nms_quadri'])
def test_suppression_waits_for_nobody(name) -> None:
    """The operator itself; only taking the kept indices needs their number."""
    shapes = {'nms': boxes(500)[:, :4], 'nms_rotated': boxes(500), 'nms_quadri': quads(500)}[name].float().to(DEVICE)
    order, labels = torch.arange(500, device=DEVICE), torch.zeros(500, dtype=torch.long, device=DEVICE)
    operator = getattr(torch.ops.stn_det, name)
    operator(shapes, order, labels, 0.5)
    torch.cuda.set_sync_debug_mode('error')
    try:
        operator(shapes, order, labels, 0.5)
    finally:
        torch.cuda.set_sync_debug_mode('default')


@needs_gpu
@pytest.mark.parametrize('name', CASES)
def test_devices_that_differ_are_refused(name) -> None:
    function, parts = CASES[name]()
    arguments = as_arguments(parts, torch.float32)
    with pytest.raises((InputError, RuntimeError), match='device'):
        function(*arguments[:-1], arguments[-1].cpu())


@needs_two
@pytest.mark.parametrize('name', CASES)
def test_the_current_device_may_be_another(name) -> None:
    function, parts = CASES[name]()
    wanted = gradients(function, as_arguments(parts, torch.float32))
    with torch.cuda.device(0):
        assert_near(gradients(function, as_arguments(parts, torch.float32, 'cuda:1')), wanted, 1e-5)


@needs_gpu
@pytest.mark.parametrize('name', ['ms_deform_attn', 'fused, rotated boxes', 'warp, affine', 'box_iou_rotated'])
def test_compiles_whole(name) -> None:
    function, parts = CASES[name]()
    arguments = as_arguments(parts, torch.float32)
    compiled = torch.compile(function, fullgraph=True)
    assert_near(gradients(compiled, arguments), gradients(function, arguments), 1e-5)


@needs_gpu
def test_more_than_two_billion_elements() -> None:
    """A value of 2^31 numbers: the last position is read and gets its gradient."""
    if torch.cuda.mem_get_info()[0] < 30 << 30:
        pytest.skip('needs 30 GB of free memory')
    positions = (1 << 31) // 256 + 100
    value = torch.zeros(1, positions, 8, 32, device=DEVICE, dtype=torch.bfloat16)
    value[:, -1] = 1
    shapes = torch.tensor([[positions, 1]], device=DEVICE)
    places = torch.tensor([0.5, (positions - 0.5) / positions], device=DEVICE).expand(1, 5, 8, 1, 1, 2)
    output = ops.ms_deform_attn(value, shapes, shapes.new_zeros(1), places, torch.ones(1, 5, 8, 1, 1, device=DEVICE))
    assert output.abs().max() > 0  # float32 places the point within a pixel of the last
