"""Exponential of small square matrices, without the host reads of ``torch.linalg.matrix_exp`` on a GPU."""

import torch
from torch import Tensor

SQUARINGS = 6
TERMS = 10  # of the series for a matrix of norm up to 8 / 2^6: the next term is below 1e-16


def matrix_exponential(matrix: Tensor) -> Tensor:
    """``exp(matrix)`` by scaling and squaring with fixed counts; exactly the identity for 0.

    Args:
        matrix: (..., n, n) float64, of a norm up to about 8.

    Returns:
        (..., n, n) float64.
    """
    small = matrix / 2**SQUARINGS
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    result = identity.expand(matrix.shape)
    for term in range(TERMS, 0, -1):
        result = identity + small @ result / term
    for _ in range(SQUARINGS):
        result = result @ result
    return result
