"""Functions under ``torch.compile``, as a contender."""

from collections.abc import Callable

import torch
from torch import Tensor


def compiled(function: Callable[..., Tensor], device: torch.device) -> Callable[..., Tensor]:
    """The function compiled for fixed shapes into one graph.

    On a CPU, where runs are rehearsed, without a code generator, which takes a minute.
    """
    import torch._dynamo  # takes seconds
    import torch._functorch.config

    torch._dynamo.reset()  # closures share the code for which the number of compilations is limited
    torch._functorch.config.donated_buffer = False  # a backward pass runs again and again on the same forward pass
    backend = 'inductor' if device.type == 'cuda' else 'aot_eager'
    return torch.compile(function, dynamic=False, fullgraph=True, backend=backend)
