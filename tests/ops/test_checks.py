"""Argument checks."""

import pytest
import torch

from stn_det import checks
from stn_det.errors import InputError


def test_shapes_with_letters_and_numbers() -> None:
    tensor = torch.zeros(3, 5)
    assert checks.check_shape('boxes', tensor, ('M', 5)) is tensor
    assert checks.check_shape('boxes', torch.zeros(0, 5), ('M', 5)).numel() == 0
    for bad in (torch.zeros(3, 4), torch.zeros(5), torch.zeros(1, 3, 5)):
        with pytest.raises(InputError, match=r'boxes has shape .* expected \(M, 5\); reshape it'):
            checks.check_shape('boxes', bad, ('M', 5))


def test_one_dimension_is_written_as_a_tuple() -> None:
    with pytest.raises(InputError, match=r'scores has shape \(2, 2\), expected \(M,\)'):
        checks.check_shape('scores', torch.zeros(2, 2), ('M',))


def test_checks_read_no_values() -> None:
    meta = torch.zeros(3, 5, device='meta')
    checks.check_float_shape('boxes', meta, ('M', 5))
    checks.check_same_device(boxes=meta, scores=None, other=meta)
    checks.check_length('boxes', meta, 3, 'scores')


def test_dtype_and_type_and_device() -> None:
    with pytest.raises(InputError, match=r'boxes has dtype torch.int32, expected a floating-point dtype'):
        checks.check_floating('boxes', torch.zeros(1, dtype=torch.int32))
    with pytest.raises(InputError, match=r'boxes must be a torch.Tensor, got ndarray'):
        checks.check_tensor('boxes', torch.zeros(1).numpy())
    with pytest.raises(InputError, match='a on cpu, b on meta'):
        checks.check_same_device(a=torch.zeros(1), b=torch.zeros(1, device='meta'))


def test_pairs_and_fractions() -> None:
    assert checks.as_pair('stride', 3) == (3, 3)
    assert checks.as_pair('stride', [1, 2]) == (1, 2)
    for bad in (1.5, (1, 2, 3), 'ab', (1.0, 2)):
        with pytest.raises(InputError, match=r'stride is .* expected an int or a pair'):
            checks.as_pair('stride', bad)
    assert checks.check_fraction('t', 1) == 1.0
    with pytest.raises(InputError, match=r't is -0.1, expected a number in \[0, 1\]'):
        checks.check_fraction('t', -0.1)


def test_compute_dtype() -> None:
    half, single, double = (torch.zeros(1, dtype=d) for d in (torch.bfloat16, torch.float32, torch.float64))
    assert checks.compute_dtype(half, None) == torch.float32
    assert checks.compute_dtype(half, single) == torch.float32
    assert checks.compute_dtype(single, double) == torch.float64
