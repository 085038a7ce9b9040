"""Deformable attention on a GPU: the operator alone, and with the softmax and the locations that a module computes.

``ms_deform_attn``: locations and weights are given. ``ms_deform_attn_fused``: references in float32, offsets and logits
in the dtype of the value, as linear layers leave them under autocast; who does not take those computes softmax and
locations in PyTorch, in float32, inside the measured time.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ops.attention import Sizes, grid_sample_attention
from ops.on_cuda.case import Case, Contender, Exact
from ops.on_cuda.compiled import compiled
from ops.on_cuda.counts import attention_corners, bytes_of, sampling_work
from ops.on_cuda.peers import Adapter, Function, Peer, installed
from ops.on_cuda.points import Queries
from stn_det import ops

Peers = dict[str, Peer]

IMAGES_AT_ONCE = 64  # a limit of the older peers, as their modules set it
QUERIES_AT_ONCE = 8192  # of the exact result, whose samples are tensors
KINK = 0.01  # pixels from the line between two pixels' centres, where the gradient to a location jumps


@dataclass(frozen=True)
class Problem:
    """Inputs of one attention, value (N, S, G, D) in its dtype; offsets and logits too, locations in float32."""

    queries: Queries
    value: Tensor
    grad: Tensor

    @property
    def sizes(self) -> Sizes:
        """(H, W) of each level."""
        return self.queries.sizes

    @cached_property
    def shapes(self) -> Tensor:
        """(L, 2) int64."""
        return torch.tensor(self.sizes, device=self.value.device)

    @cached_property
    def starts(self) -> Tensor:
        """(L,) int64."""
        return torch.cat([self.shapes.new_zeros(1), self.shapes.prod(1).cumsum(0)[:-1]])

    @cached_property
    def pixels(self) -> Tensor:
        """(L, 1, 2): width and height of each level in float32, to which offsets in 16 bits are promoted."""
        return self.shapes.flip(1).float()[:, None]

    @cached_property
    def locations(self) -> Tensor:
        """(N, Q, G, L, K, 2)."""
        return self.locate(self.queries.references, self.queries.offsets)

    @cached_property
    def weights(self) -> Tensor:
        """(N, Q, G, L, K), after the softmax."""
        return self.weigh(self.queries.logits)

    def locate(self, references: Tensor, offsets: Tensor) -> Tensor:
        """Locations from references and offsets in pixels, in the wider of both dtypes."""
        return references[:, :, None, :, None] + offsets / self.pixels

    def weigh(self, logits: Tensor) -> Tensor:
        """Softmax over levels and points, in float32 at least."""
        wide = torch.promote_types(logits.dtype, torch.float32)
        return logits.softmax(-1, dtype=wide).unflatten(-1, (len(self.sizes), -1))


EAGER = ('eager',)
COMPILED = ('eager', 'compiled')
SIXTEEN_BITS = 'deformops Triton (sums in 16 bits)'


def deformops(dtype: torch.dtype) -> list[str]:
    """Backends of deformops for a dtype; where sums could be kept in 16 bits, with and without."""
    return ['deformops CUDA', 'deformops Triton', *([SIXTEEN_BITS] if dtype != torch.float32 else [])]


def make_problem(queries: Queries, dtype: torch.dtype, channels: int) -> Problem:
    """Random values and gradients for queries, the same in each run on the same kind of device."""
    device = queries.logits.device
    generator = torch.Generator(device).manual_seed(1)
    images, count, heads = queries.logits.shape[:3]
    positions = sum(height * width for height, width in queries.sizes)
    value = torch.randn(images, positions, heads, channels, generator=generator, device=device)
    grad = torch.randn(images, count, heads * channels, generator=generator, device=device)
    return Problem(queries, value.to(dtype), grad.to(dtype))


def given_case(problem: Problem, peers: Peers, forms: tuple[str, ...]) -> Case:
    """Locations and weights as arguments."""
    leaves = {'value': problem.value, 'locations': problem.locations, 'weights': problem.weights}
    shapes, starts, sizes = problem.shapes, problem.starts, problem.sizes

    def ours(value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        return ops.ms_deform_attn(value, shapes, starts, locations, weights)

    def plain(value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        return grid_sample_attention(value.float(), sizes, locations, weights).to(value.dtype)

    contenders = [Contender('stn_det', ours, leaves), *_forms(plain, leaves, forms), *given_peers(problem, peers)]
    others = bytes_of(problem.locations, problem.weights)
    grads = bytes_of(*leaves.values())
    return Case(contenders, lambda: _exact_given(problem), _work(problem, others, grads), problem.grad)


def _forms(plain: Function, leaves: dict[str, Tensor], forms: tuple[str, ...]) -> list[Contender]:
    """The form on ``grid_sample`` as it is and under ``torch.compile``, as far as wanted."""
    found = [Contender('grid_sample', plain, leaves)] if 'eager' in forms else []
    if 'compiled' in forms:
        found.append(Contender('grid_sample, torch.compile', compiled(plain, leaves['value'].device), leaves))
    return found


def given_peers(problem: Problem, peers: Peers) -> list[Contender]:
    """Those that are installed, on operands in the dtypes that their kernels read."""
    dtype, shapes, starts = problem.value.dtype, problem.shapes, problem.starts
    value, locations, weights = problem.value, problem.locations, problem.weights
    narrow = {'value': value, 'locations': locations.to(dtype), 'weights': weights.to(dtype)}
    mixed = {'value': value, 'locations': locations, 'weights': weights.to(dtype)}
    wide = {'value': value, 'locations': locations, 'weights': weights}
    packed = torch.cat([locations.flatten(3), problem.queries.logits], -1).to(dtype)
    points = locations.shape[4]
    adapters: dict[str, Adapter] = {
        'mmcv': (lambda call: lambda v, p, w: call(v, shapes, starts, p, w, IMAGES_AT_ONCE), narrow),
        'Deformable DETR': (lambda call: lambda v, p, w: call(v, shapes, starts, p, w, IMAGES_AT_ONCE), narrow),
        # Its softmax is inside the kernel, also here.
        'DCNv4': (
            lambda call: lambda v, both: call(v, shapes, starts, both, IMAGES_AT_ONCE, points),
            {'value': value, 'packed': packed},
        ),
        **{
            name: (lambda call: lambda v, p, w: call(v, shapes, starts, p, w, method='linear'), mixed)
            for name in deformops(dtype)
        },
        'msda-triton': (lambda call: lambda v, p, w: _joined(call(v, shapes, p, w, 'zeros', False), v), wide),
    }
    return installed(peers, adapters)


def fused_case(problem: Problem, peers: Peers, forms: tuple[str, ...]) -> Case:
    """References, offsets and logits as arguments: the core of a module."""
    dtype, shapes, starts, sizes = problem.value.dtype, problem.shapes, problem.starts, problem.sizes
    references = problem.queries.references
    offsets, logits = problem.queries.offsets.to(dtype), problem.queries.logits.to(dtype)
    leaves = {'value': problem.value, 'offsets': offsets, 'logits': logits}

    def ours(value: Tensor, offsets: Tensor, logits: Tensor) -> Tensor:
        return ops.ms_deform_attn_fused(value, shapes, starts, references, offsets, logits)

    def unfused(value: Tensor, offsets: Tensor, logits: Tensor) -> Tensor:
        locations, weights = problem.locate(references, offsets), problem.weigh(logits)
        return ops.ms_deform_attn(value, shapes, starts, locations, weights)

    def plain(value: Tensor, offsets: Tensor, logits: Tensor) -> Tensor:
        locations, weights = problem.locate(references, offsets), problem.weigh(logits)
        return grid_sample_attention(value.float(), sizes, locations, weights).to(value.dtype)

    contenders = [
        Contender('stn_det', ours, leaves),
        Contender('stn_det, not fused', unfused, leaves),
        *_forms(plain, leaves, forms),
        *fused_peers(problem, peers, leaves),
    ]
    work = _work(problem, bytes_of(references, offsets, logits), bytes_of(*leaves.values()))
    return Case(contenders, lambda: _exact_fused(problem, offsets, logits), work, problem.grad)


def fused_peers(problem: Problem, peers: Peers, leaves: dict[str, Tensor]) -> list[Contender]:
    """Those that are installed, with what they leave to PyTorch; a softmax of their own is used."""
    shapes, starts, references = problem.shapes, problem.starts, problem.queries.references
    points = problem.queries.offsets.shape[4]

    def places(offsets: Tensor) -> Tensor:
        return problem.locate(references, offsets)

    def classic(call: Function) -> Function:
        return lambda v, o, w: call(v, shapes, starts, places(o), problem.weigh(w), IMAGES_AT_ONCE)

    def packed(call: Function) -> Function:
        def run(value: Tensor, offsets: Tensor, logits: Tensor) -> Tensor:
            both = torch.cat([places(offsets).flatten(3).to(value.dtype), logits], -1)
            return call(value, shapes, starts, both, IMAGES_AT_ONCE, points)

        return run

    def softmax_inside(call: Function) -> Function:
        return lambda v, o, w: call(v, shapes, starts, places(o), w, method='softmax')

    def triton(call: Function) -> Function:
        return lambda v, o, w: _joined(call(v, shapes, places(o), problem.weigh(w), 'zeros', False), v)

    adapters: dict[str, Adapter] = {
        'mmcv': (classic, leaves),
        'Deformable DETR': (classic, leaves),
        'DCNv4': (packed, leaves),
        **dict.fromkeys(deformops(problem.value.dtype), (softmax_inside, leaves)),
        'msda-triton': (triton, leaves),
    }
    return installed(peers, adapters)


def _joined(output: Tensor, value: Tensor) -> Tensor:
    """(N, Q, G, D) as (N, Q, G * D) in the dtype of the value."""
    return output.flatten(2).to(value.dtype)


def _work(problem: Problem, others: int, grads: int) -> dict:
    corners = attention_corners(problem.locations, problem.sizes)
    channels, size = problem.value.shape[3], problem.value.element_size()
    return sampling_work(corners, channels, size, others, bytes_of(problem.grad), grads)


def _exact_given(problem: Problem) -> Exact:
    def function(value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        return grid_sample_attention(value, problem.sizes, locations, weights)

    others = {'locations': problem.locations, 'weights': problem.weights}
    smooth = {'locations': away_from_kinks(problem.locations.double(), problem.pixels)}
    return exact_by_queries(function, problem.value, others, problem.grad, smooth)


def _exact_fused(problem: Problem, offsets: Tensor, logits: Tensor) -> Exact:
    def function(value: Tensor, references: Tensor, offsets: Tensor, logits: Tensor) -> Tensor:
        locations, weights = problem.locate(references, offsets), problem.weigh(logits)
        return grid_sample_attention(value, problem.sizes, locations, weights)

    references = problem.queries.references
    smooth = {'offsets': away_from_kinks(problem.locate(references.double(), offsets.double()), problem.pixels)}
    others = {'references': references, 'offsets': offsets, 'logits': logits}
    return exact_by_queries(function, problem.value, others, problem.grad, smooth)


def away_from_kinks(locations: Tensor, pixels: Tensor) -> Tensor:
    """Which coordinates (N, Q, G, L, K, 2) are not within a hundredth of a pixel of the line between two centres."""
    place = locations * pixels - 0.5
    return (place - place.round()).abs() > KINK


def exact_by_queries(
    function: Function, value: Tensor, others: dict[str, Tensor], grad: Tensor, smooth: dict[str, Tensor]
) -> Exact:
    """Exact result of a function of the value and of tensors (N, Q, ...), a part of the queries at a time."""
    output = torch.empty(grad.shape, dtype=torch.float64, device=grad.device)
    gradients = {name: torch.zeros_like(part, dtype=torch.float64) for name, part in {'value': value, **others}.items()}
    for image in range(value.shape[0]):
        pixels = value[image : image + 1].double().requires_grad_()
        for start in range(0, grad.shape[1], QUERIES_AT_ONCE):
            part = (slice(image, image + 1), slice(start, start + QUERIES_AT_ONCE))
            leaves = [other[part].double().requires_grad_() for other in others.values()]
            found = function(pixels, *leaves)
            output[part] = found.detach()
            of_value, *rest = torch.autograd.grad(found, [pixels, *leaves], grad[part].double())
            gradients['value'][image] += of_value[0]
            for name, gradient in zip(others, rest):
                gradients[name][part] = gradient
    return Exact(output, gradients, smooth)
