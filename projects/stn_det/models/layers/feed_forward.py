"""The feed-forward network of transformer layers."""

from mmcv.cnn.bricks.transformer import FFN
from mmdet.utils import ConfigType


def feed_forward(cfg: ConfigType) -> FFN:
    """mmcv's ``FFN`` with a ReLU that does not overwrite its input, unless ``act_cfg`` says so.

    The input is a view of a matrix product. Overwriting one costs the backward pass a copy of its gradient, the largest
    tensor of a layer, and saves nothing: the product itself is not kept.
    """
    return FFN(**{'act_cfg': dict(type='ReLU', inplace=False), **cfg})
