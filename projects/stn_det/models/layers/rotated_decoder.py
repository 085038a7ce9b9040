"""Decoder layers that look at features through oriented boxes, and refine these.

Letters: N images, Q queries, C channels, L levels.
"""

from copy import deepcopy
from typing import NamedTuple

import torch
from mmcv.cnn import build_norm_layer
from mmcv.cnn.bricks.transformer import MultiheadAttention
from mmdet.models.layers import MLP, DetrTransformerDecoderLayer
from mmdet.utils import ConfigType, OptMultiConfig
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from .box_state import BoxState
from .feed_forward import feed_forward
from .flat_levels import FlatLevels, Frame
from .query_positions import encode_states, encoded_size
from .rotated_deformable_attention import RotatedDeformableAttention


class Decoded(NamedTuple):
    """What each decoder layer gives the head.

    Attributes:
        hidden: (N, Q, C) of each layer.
        references: where each layer started, (N, Q, 5) states or (N, Q, 2) points.
        deltas: (N, Q, 5) float32, the step that each layer predicts from there.
    """

    hidden: list[Tensor]
    references: list[Tensor]
    deltas: list[Tensor]


class RotatedDecoderLayer(DetrTransformerDecoderLayer):
    """mmdet's decoder layer with :class:`RotatedDeformableAttention` on the features."""

    def _init_layers(self) -> None:
        self.self_attn = MultiheadAttention(**self.self_attn_cfg)
        self.cross_attn = RotatedDeformableAttention(**self.cross_attn_cfg)
        self.embed_dims = self.self_attn.embed_dims
        self.ffn = feed_forward(self.ffn_cfg)
        self.norms = ModuleList(build_norm_layer(self.norm_cfg, self.embed_dims)[1] for _ in range(3))

    def forward(
        self,
        query: Tensor,
        value: Tensor,
        query_pos: Tensor,
        reference_points: Tensor,
        spatial_shapes: Tensor,
        level_start_index: Tensor,
        key_padding_mask: Tensor | None = None,
        self_attn_mask: Tensor | None = None,
    ) -> Tensor:
        """Queries look at each other, then at the features; (N, Q, C) to (N, Q, C).

        Args:
            query: (N, Q, C).
            value: (N, S, C) features of all levels.
            query_pos: (N, Q, C).
            reference_points: (N, Q, L, 2 or 5), see :meth:`BoxState.level_references`.
            spatial_shapes: (L, 2) int64, rows (H, W).
            level_start_index: (L,) int64.
            key_padding_mask: (N, S) bool, true for padding; None for none.
            self_attn_mask: (Q, Q) bool, true where row i must not see column j; None to see all.
        """
        query = self.self_attn(query, query, query, query_pos=query_pos, key_pos=query_pos, attn_mask=self_attn_mask)
        query = self.norms[0](query)
        query = self.cross_attn(
            query,
            value=value,
            query_pos=query_pos,
            key_padding_mask=key_padding_mask,
            reference_points=reference_points,
            spatial_shapes=spatial_shapes,
            level_start_index=level_start_index,
        )
        query = self.norms[1](query)
        result: Tensor = self.norms[2](self.ffn(query))
        return result


class RotatedDeformableDecoder(BaseModule):
    """Layers one after the other, each from the boxes that the one before has refined.

    "Deformable DETR" https://arxiv.org/abs/2010.04159, with states of oriented boxes.

    Args:
        num_layers: number of layers.
        layer_cfg: arguments of the layers: ``self_attn_cfg`` for mmcv's ``MultiheadAttention``, ``cross_attn_cfg`` for
            :class:`RotatedDeformableAttention`, ``ffn_cfg`` and ``norm_cfg``.
        with_box_refine: each layer starts from the box of the one before; otherwise all start from the first reference.
        look_forward_twice: let the loss of a layer also reach the layer before, through the box that it started from,
            as in "DINO" https://arxiv.org/abs/2203.03605.
        init_cfg: weight initialisation.
    """

    def __init__(
        self,
        num_layers: int,
        layer_cfg: ConfigType,
        with_box_refine: bool = True,
        look_forward_twice: bool = False,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(init_cfg)
        self.num_layers = num_layers
        self.with_box_refine, self.look_forward_twice = with_box_refine, look_forward_twice
        self.layers = ModuleList(RotatedDecoderLayer(**deepcopy(layer_cfg)) for _ in range(num_layers))
        self.embed_dims = self.layers[0].embed_dims

    def forward(
        self,
        query: Tensor,
        query_pos: Tensor | None,
        reference: Tensor,
        memory: FlatLevels,
        frame: Frame,
        reg_branches: nn.ModuleList,
        box_state: BoxState,
        self_attn_mask: Tensor | None = None,
    ) -> Decoded:
        """Runs all layers.

        Args:
            query: (N, Q, C) contents.
            query_pos: (N, Q, C), the same for all layers; None where they come from the references.
            reference: (N, Q, 5) states or (N, Q, 2) points to start from; detached where it is a proposal.
            memory: the features.
            frame: sizes of the images.
            reg_branches: of each layer, from C channels to the 5 numbers of a step.
            box_state: how a step is taken.
            self_attn_mask: (Q, Q) bool, true where row i must not see column j.

        Returns:
            Hidden states, references and steps of each layer. Boxes that a layer gives the next pass no gradient on
            through the attention; the first reference does, as far as it has one.
        """
        result = Decoded([], [], [])
        start = reference
        for number, layer in enumerate(self.layers):
            seen = box_state.level_references(start, frame.img_shapes, frame.batch_shape, len(memory.shapes))
            query = layer(
                query,
                value=memory.tokens,
                query_pos=self.positions(start, query_pos),
                reference_points=seen,
                self_attn_mask=self_attn_mask,
                **memory.kwargs(),
            )
            hidden = self.outcome(query)
            delta = predict_deltas(reg_branches[number], hidden)
            result.hidden.append(hidden)
            result.references.append(reference)
            result.deltas.append(delta)
            if self.with_box_refine:
                refined = box_state.refine(start.detach(), delta, number)
                start = refined.detach()
                reference = refined if self.look_forward_twice else start
        return result

    def positions(self, reference: Tensor, query_pos: Tensor | None) -> Tensor | None:
        """Positional queries (N, Q, C) of a layer: those given."""
        return query_pos

    def outcome(self, query: Tensor) -> Tensor:
        """What a layer's queries (N, Q, C) look like to the head: as they are."""
        return query


class RotatedDinoDecoder(RotatedDeformableDecoder):
    """The decoder of "DINO" https://arxiv.org/abs/2203.03605: positional queries follow the boxes, a norm at the end.

    Args:
        num_layers: number of layers.
        layer_cfg: as of :class:`RotatedDeformableDecoder`.
        angle_in_query: tell the positional query the angle as well.
        look_forward_twice: as of :class:`RotatedDeformableDecoder`.
        init_cfg: weight initialisation.
    """

    def __init__(
        self,
        num_layers: int,
        layer_cfg: ConfigType,
        angle_in_query: bool = False,
        look_forward_twice: bool = True,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(num_layers, layer_cfg, True, look_forward_twice, init_cfg)
        self.angle_in_query = angle_in_query
        size = encoded_size(self.embed_dims // 2, angle_in_query)
        self.ref_point_head = MLP(size, self.embed_dims, self.embed_dims, 2)
        self.norm = nn.LayerNorm(self.embed_dims)

    def positions(self, reference: Tensor, query_pos: Tensor | None) -> Tensor:
        """Positional queries (N, Q, C) of the states (N, Q, 5) that a layer starts from."""
        encoding = encode_states(reference, self.embed_dims // 2, self.angle_in_query)
        positions: Tensor = self.ref_point_head(encoding)
        return positions

    def outcome(self, query: Tensor) -> Tensor:
        """The queries (N, Q, C) after the norm that all layers share."""
        hidden: Tensor = self.norm(query)
        return hidden


def predict_deltas(branch: nn.Module, hidden: Tensor) -> Tensor:
    """Steps (N, Q, 5) of hidden states (N, Q, C), in float32 at least.

    bfloat16 keeps 8 bits of a step behind a sigmoid, which is pixels in a large image.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        if hidden.dtype in (torch.float16, torch.bfloat16):
            hidden = hidden.float()
        deltas: Tensor = branch(hidden)
        return deltas
