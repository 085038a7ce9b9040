"""The encoder of Deformable DETR on the operators of this package."""

from copy import deepcopy

from mmcv.cnn import build_norm_layer
from mmdet.models.layers import DetrTransformerEncoderLayer
from mmdet.utils import ConfigType, OptMultiConfig
from mmengine.model import BaseModule, ModuleList
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .feed_forward import feed_forward
from .flat_levels import FlatLevels, cell_centres
from .rotated_deformable_attention import RotatedDeformableAttention


class RotatedDeformableEncoderLayer(DetrTransformerEncoderLayer):
    """mmdet's encoder layer with :class:`RotatedDeformableAttention`, whose references are points here."""

    def _init_layers(self) -> None:
        self.self_attn = RotatedDeformableAttention(**self.self_attn_cfg)
        self.embed_dims = self.self_attn.embed_dims
        self.ffn = feed_forward(self.ffn_cfg)
        self.norms = ModuleList(build_norm_layer(self.norm_cfg, self.embed_dims)[1] for _ in range(2))


class RotatedDeformableEncoder(BaseModule):
    """Every cell of every level looks at points around itself in all levels.

    "Deformable DETR" https://arxiv.org/abs/2010.04159.

    Args:
        num_layers: number of layers.
        layer_cfg: arguments of the layers: ``self_attn_cfg`` for :class:`RotatedDeformableAttention`, ``ffn_cfg`` and
            ``norm_cfg`` for mmcv's.
        num_cp: the first so many layers compute their forward pass again during the backward pass, to save memory.
        init_cfg: weight initialisation.
    """

    def __init__(
        self, num_layers: int, layer_cfg: ConfigType, num_cp: int = 0, init_cfg: OptMultiConfig = None
    ) -> None:
        super().__init__(init_cfg)
        self.num_layers, self.num_cp = num_layers, num_cp
        self.layers = ModuleList(RotatedDeformableEncoderLayer(**deepcopy(layer_cfg)) for _ in range(num_layers))
        self.embed_dims = self.layers[0].embed_dims

    def forward(self, levels: FlatLevels, positions: Tensor) -> FlatLevels:
        """The levels with new tokens.

        Args:
            levels: tokens (N, S, C).
            positions: (N, S, C), or (1, S, C) for all images, added to the queries.
        """
        centres = cell_centres(levels.shapes, levels.tokens.device)
        references = centres[None, :, None].expand(levels.tokens.shape[0], -1, len(levels.shapes), -1)
        tokens = levels.tokens
        for number, layer in enumerate(self.layers):
            arguments = dict(query_pos=positions, reference_points=references, **levels.kwargs())
            if number < self.num_cp and self.training:
                tokens = checkpoint(layer, tokens, use_reentrant=False, **arguments)
            else:
                tokens = layer(tokens, **arguments)
        return levels._replace(tokens=tokens)
