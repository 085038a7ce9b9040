from types import SimpleNamespace

import torch
from torch import nn


def test_values_stay_and_strides_change():
    from mmengine.model import BaseModel

    from stn_det.engine import ChannelsLastHook

    class Model(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 8, 3)
            self.linear = nn.Linear(4, 2)

        def forward(self, inputs, data_samples=None, mode='tensor'):
            return self.conv(inputs)

    model = Model()
    image = torch.randn(2, 4, 9, 9)
    parameter, expected = model.conv.weight, model(image)
    ChannelsLastHook().before_run(SimpleNamespace(model=model))
    assert model.conv.weight is parameter
    assert model.conv.weight.is_contiguous(memory_format=torch.channels_last)
    result = model(image)
    assert result.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(result, expected)
