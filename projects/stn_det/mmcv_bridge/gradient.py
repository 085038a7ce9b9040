"""Gradients for operators whose backward mmcv calls as a function of its own."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def vector_jacobian(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], grad_output: Tensor
) -> tuple[Tensor, ...]:
    """Product of ``grad_output`` with the Jacobian of ``function`` at ``inputs``, one tensor per input.

    The forward is computed once more: mmcv saves what its own kernels need, not an autograd graph.
    """
    with torch.enable_grad():
        leaves = [tensor.detach().requires_grad_() for tensor in inputs]
        output = function(*leaves)
    grads = torch.autograd.grad(output, leaves, grad_output.to(output.dtype), allow_unused=True)
    return tuple(torch.zeros_like(leaf) if grad is None else grad for leaf, grad in zip(leaves, grads))
