"""One row of the benchmark on a GPU: an operator on inputs, the implementations to compare, what is exact, the work."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ops.on_cuda.counts import Work

PASSES = ('forward', 'backward', 'both')


@dataclass(frozen=True)
class Contender:
    """One implementation: a function of its leaves, all of which get a gradient.

    Leaves are prepared outside of the measured time, in the form that the implementation reads; gradients of those
    whose name the exact result has too are compared. ``readout`` makes the output comparable with the exact one; None:
    it computes something else, listed for scale. ``captured`` is False where the host is waited for, so that no graph
    can hold it.
    """

    name: str
    function: Callable[..., Tensor]
    leaves: dict[str, Tensor]
    readout: Callable[[Tensor], Tensor] | None = lambda output: output
    captured: bool = True


@dataclass(frozen=True)
class Exact:
    """Output and gradients of the operator in float64, on the same inputs.

    Where ``smooth`` has a mask for a gradient, the others of its elements are not compared: the function has a kink
    there, and rounding decides the side.
    """

    output: Tensor
    gradients: dict[str, Tensor] = field(default_factory=dict)
    smooth: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """Inputs of a row and all that is done with them; the first contender is ours. ``grad`` is that of the output."""

    contenders: list[Contender]
    exact: Callable[[], Exact]
    work: dict[str, Work]
    grad: Tensor | None = None


@dataclass(frozen=True)
class Row:
    """A line of the plan: how the case is called and how to make it."""

    operator: str
    shape: str
    dtype: torch.dtype
    points: str
    build: Callable[[], Case]
    passes: tuple[str, ...] = PASSES

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What tells this row from all others."""
        return self.operator, self.shape, str(self.dtype).removeprefix('torch.'), self.points


def differentiate(
    function: Callable[..., Tensor],
    leaves: dict[str, Tensor],
    grad: Tensor | None,
    smooth: dict[str, Tensor] | None = None,
) -> Exact:
    """The exact result by one call in float64, with its gradients where there is a gradient of the output."""
    doubles = {name: leaf.double().requires_grad_(grad is not None) for name, leaf in leaves.items()}
    output = function(*doubles.values())
    if grad is None:
        return Exact(output)
    gradients = torch.autograd.grad(output, list(doubles.values()), grad.double())
    return Exact(output.detach(), dict(zip(doubles, gradients)), smooth or {})


def largest_error(found: Tensor, exact: Tensor, smooth: Tensor | None = None) -> float:
    """Largest difference from the exact result as a part of its largest number; NaN where the result has one."""
    difference = (found.double() - exact).abs()
    if smooth is not None:
        difference = difference[smooth]
    return (difference.max() / exact.abs().max()).item() if difference.numel() else 0.0
