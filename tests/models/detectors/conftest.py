"""A detection transformer small enough for tests, and samples of two shapes in one padded batch."""

from collections.abc import Callable

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor, nn

CHANNELS = 32
ATTENTION = dict(embed_dims=CHANNELS, num_heads=4, num_levels=2, num_points=2, dropout=0.0)
FFN = dict(embed_dims=CHANNELS, feedforward_channels=64, ffn_drop=0.0)
DECODER_LAYER = dict(
    self_attn_cfg=dict(embed_dims=CHANNELS, num_heads=4), cross_attn_cfg=dict(ATTENTION), ffn_cfg=dict(FFN)
)


@MODELS.register_module(force=True)
class TinyTransformerBackbone(nn.Module):
    """Two levels of 32 channels at strides 8 and 16."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, CHANNELS, 8, 8)
        self.down = nn.Conv2d(CHANNELS, CHANNELS, 3, 2, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Maps of images (N, 3, H, W)."""
        first = self.stem(images).relu()
        return first, self.down(first)


KINDS = dict(
    plain=dict(type='RotatedDeformableDETR'),
    refined=dict(type='RotatedDeformableDETR', with_box_refine=True),
    two_stage=dict(type='RotatedDeformableDETR', with_box_refine=True, as_two_stage=True),
    dino=dict(type='RotatedDINO', dn_cfg=dict(num_dn_queries=6)),
)


def _config(kind: str, head: dict | None = None, num_queries: int = 10, **kwargs) -> dict:
    heads = dict(
        type='RotatedDINOHead' if kind == 'dino' else 'RotatedDeformableDETRHead',
        num_classes=3,
        embed_dims=CHANNELS,
        loss_angle=dict(type='PeriodicL1Loss', loss_weight=1.6),
        loss_iou=dict(type='GaussianBoxLoss', distance='kld', loss_weight=5.0),
    )
    config = dict(
        backbone=dict(type='TinyTransformerBackbone'),
        encoder=dict(num_layers=1, layer_cfg=dict(self_attn_cfg=dict(ATTENTION), ffn_cfg=dict(FFN))),
        decoder=dict(num_layers=2, layer_cfg=dict(DECODER_LAYER)),
        positional_encoding=dict(num_feats=CHANNELS // 2, normalize=True),
        bbox_head={**heads, **(head or {})},
        num_queries=num_queries,
        num_feature_levels=2,
    )
    return {**config, **KINDS[kind], **kwargs}


def _detector(kind: str, **kwargs) -> nn.Module:
    torch.manual_seed(0)
    model = MODELS.build(_config(kind, **kwargs))
    model.init_weights()
    return model


@pytest.fixture
def detector_config() -> Callable[..., dict]:
    """Config of a model of a kind: plain, refined, two_stage or dino; ``head`` and others change it."""
    return _config


@pytest.fixture
def detector() -> Callable[..., nn.Module]:
    """Builds what ``detector_config`` says, with weights set."""
    return _detector


def _sample(
    boxes: list[list[float]], size: tuple[int, int] = (96, 96), batch: tuple[int, int] = (96, 96), classes: int = 3
) -> DetDataSample:
    sample = DetDataSample(metainfo=dict(img_shape=size, batch_input_shape=batch, scale_factor=(1.0, 1.0)))
    labels = torch.arange(len(boxes)) % classes
    sample.gt_instances = InstanceData(bboxes=torch.tensor(boxes).reshape(-1, 5), labels=labels)
    return sample


@pytest.fixture
def sample() -> Callable[..., DetDataSample]:
    """Makes the sample of an image from its boxes."""
    return _sample
