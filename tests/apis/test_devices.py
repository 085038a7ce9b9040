"""Choice of the device."""

import pytest
import torch
from mmengine.device import get_device
from mmengine.device import utils as device_utils

from stn_det.apis.devices import on_device, resolve_device
from stn_det.errors import InputError


def test_cpu_is_always_there() -> None:
    assert resolve_device('cpu') == torch.device('cpu')


def test_the_default_is_the_gpu_where_there_is_one() -> None:
    assert resolve_device(None).type == ('cuda' if torch.cuda.is_available() else 'cpu')


@pytest.mark.parametrize(('name', 'message'), [('gpu', "'gpu' is unknown"), ('meta', "'meta' is not supported")])
def test_other_names_are_refused(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolve_device(name)


def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match=r"'cuda:99' is not there: PyTorch .* sees \d+ GPUs"):
        resolve_device('cuda:99')


def test_mmengine_follows_and_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_utils, 'DEVICE', 'cuda')
    with on_device('cpu') as device:
        assert get_device() == device.type == 'cpu'
    assert get_device() == 'cuda'
