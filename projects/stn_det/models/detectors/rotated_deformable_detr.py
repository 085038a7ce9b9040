"""Rotated Deformable DETR: plain, with iterative refinement, and in two stages.

Letters: N images, C channels, S positions of all levels, Q queries.
"""

from typing import Any

import torch
from mmdet.models.detectors.base_detr import DetectionTransformer
from mmdet.models.layers import SinePositionalEncoding
from mmdet.registry import MODELS
from mmdet.structures import OptSampleList
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from torch import Tensor, nn

from ...errors import ConfigError
from ..layers.deformable_encoder import RotatedDeformableEncoder
from ..layers.flat_levels import FlatLevels, Frame, padding_masks
from ..layers.proposals import Proposals, best_cells, cell_states, gather_queries
from ..layers.query_positions import encode_states, encoded_size
from ..layers.rotated_decoder import Decoded, RotatedDeformableDecoder
from ..layers.rotated_deformable_attention import RotatedDeformableAttention

SET_HERE = ('num_pred_layer', 'share_pred_layer', 'as_two_stage')


@MODELS.register_module()
class RotatedDeformableDETR(DetectionTransformer):
    """Queries that find oriented boxes, looking at the features through points that turn with the box.

    "Deformable DETR: Deformable Transformers for End-to-End Object Detection" https://arxiv.org/abs/2010.04159 with the
    states of :class:`BoxState` and :class:`RotatedDeformableAttention`. Three forms, as in the paper: plain, where all
    layers look from a learned point; ``with_box_refine``, where each layer starts from the box of the one before; and
    ``as_two_stage``, where the queries are the encoder's best cells. Other than in the paper, proposals are scored for
    all classes and only the best bear a loss, as in DINO: matching every cell with every object of an overhead image is
    expensive.

    Args:
        backbone: config of the backbone.
        neck: config of the neck, whose levels all have the encoder's channels.
        encoder: arguments of :class:`RotatedDeformableEncoder`; or, with a ``type``, a module with
            ``forward(feats, masks)`` from maps (N, C_l, H_l, W_l) and their paddings (N, H_l, W_l), true outside of the
            image (None for none), to maps (N, C, H_l, W_l), such as ``HybridEncoder``.
        decoder: ``num_layers`` and ``layer_cfg`` of :class:`RotatedDeformableDecoder`.
        bbox_head: config of a :class:`RotatedDeformableDETRHead`, without what the detector sets.
        positional_encoding: arguments of mmdet's ``SinePositionalEncoding`` for the encoder; not used by one with a
            ``type``.
        num_queries: Q; fewer in two stages where there are fewer cells.
        with_box_refine: refine the box from layer to layer.
        as_two_stage: begin with proposals of the encoder.
        num_feature_levels: levels that the neck gives.
        angle_in_query: tell the positional query of a proposal its angle as well.
        train_cfg: handed to the head.
        test_cfg: handed to the head.
        data_preprocessor: config of the data preprocessor.
        init_cfg: weight initialisation.

    Raises:
        ConfigError: when the head sets what the detector sets, or numbers of channels do not fit.
    """

    def __init__(
        self,
        backbone: ConfigType,
        neck: OptConfigType = None,
        encoder: OptConfigType = None,
        decoder: OptConfigType = None,
        bbox_head: OptConfigType = None,
        positional_encoding: OptConfigType = None,
        num_queries: int = 300,
        with_box_refine: bool = False,
        as_two_stage: bool = False,
        num_feature_levels: int = 4,
        angle_in_query: bool = False,
        train_cfg: OptConfigType = None,
        test_cfg: OptConfigType = None,
        data_preprocessor: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        if encoder is None or decoder is None or bbox_head is None:
            raise ConfigError('encoder, decoder or bbox_head is None; expected the config of each')
        given = sorted(set(SET_HERE) & set(bbox_head))
        if given:
            raise ConfigError(f'bbox_head sets {given}, which {type(self).__name__} sets itself; leave them out')
        self.with_box_refine, self.as_two_stage = with_box_refine, as_two_stage
        self.num_feature_levels, self.angle_in_query = num_feature_levels, angle_in_query
        branches = dict(
            num_pred_layer=decoder['num_layers'] + int(as_two_stage),
            share_pred_layer=not with_box_refine,
            as_two_stage=as_two_stage,
        )
        super().__init__(
            backbone=backbone,
            neck=neck,
            encoder=encoder,
            decoder=decoder,
            bbox_head={**bbox_head, **branches},
            positional_encoding=positional_encoding,
            num_queries=num_queries,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )

    def _init_layers(self) -> None:
        self.decoder = self._build_decoder(dict(self.decoder))
        self.embed_dims = self.decoder.embed_dims
        self._build_encoder(dict(self.encoder))
        if self.bbox_head.embed_dims != self.embed_dims:
            raise ConfigError(
                f'bbox_head.embed_dims is {self.bbox_head.embed_dims}; expected {self.embed_dims}, that of the decoder'
            )
        self._init_queries()

    def _build_decoder(self, cfg: ConfigType) -> RotatedDeformableDecoder:
        return RotatedDeformableDecoder(**cfg, with_box_refine=self.with_box_refine)

    def _build_encoder(self, cfg: ConfigType) -> None:
        """An encoder of tokens with its positions, or one of maps that has a ``type``."""
        self.encodes_maps = 'type' in cfg
        positions = self.positional_encoding or {}
        if self.encodes_maps:
            self.positional_encoding = None
            self.encoder = MODELS.build(cfg)
            return
        self.positional_encoding = SinePositionalEncoding(**positions)
        self.encoder = RotatedDeformableEncoder(**cfg)
        if self.encoder.embed_dims != self.embed_dims or 2 * self.positional_encoding.num_feats != self.embed_dims:
            raise ConfigError(
                f'encoder has embed_dims {self.encoder.embed_dims}, positional_encoding num_feats '
                f'{self.positional_encoding.num_feats}; expected {self.embed_dims} like the decoder, and half of it'
            )
        self.level_embed = nn.Parameter(torch.zeros(self.num_feature_levels, self.embed_dims))

    def _init_queries(self) -> None:
        """What the queries come from: learned points and contents, or the encoder's best cells."""
        channels = self.embed_dims
        if self.as_two_stage:
            self.memory_trans_fc = nn.Linear(channels, channels)
            self.memory_trans_norm = nn.LayerNorm(channels)
            self.pos_trans_fc = nn.Linear(encoded_size(channels // 2, self.angle_in_query), 2 * channels)
            self.pos_trans_norm = nn.LayerNorm(2 * channels)
        else:
            self.query_embedding = nn.Embedding(self.num_queries, 2 * channels)
            self.reference_points_fc = nn.Linear(channels, 2)

    def init_weights(self) -> None:
        """As in the paper: Xavier for the transformer, heads of attention that look in different directions."""
        super().init_weights()
        parts = [self.decoder] if self.encodes_maps else [self.encoder, self.decoder]
        for weight in (weight for part in parts for weight in part.parameters() if weight.dim() > 1):
            nn.init.xavier_uniform_(weight)
        for part in self.modules():
            if isinstance(part, RotatedDeformableAttention):
                part.reset_parameters()
        if not self.encodes_maps:
            nn.init.normal_(self.level_embed)
        self._init_query_weights()

    def _init_query_weights(self) -> None:
        if self.as_two_stage:
            nn.init.xavier_uniform_(self.memory_trans_fc.weight)
            nn.init.xavier_uniform_(self.pos_trans_fc.weight)
        else:
            nn.init.xavier_uniform_(self.reference_points_fc.weight)
            nn.init.zeros_(self.reference_points_fc.bias)

    def forward_transformer(
        self, img_feats: tuple[Tensor, ...], batch_data_samples: OptSampleList = None
    ) -> dict[str, Any]:
        """What the head is given: ``decoded``, and in training what else bears a loss.

        Args:
            img_feats: maps (N, C_l, H_l, W_l) of the neck.
            batch_data_samples: N samples with ``img_shape`` and ``batch_input_shape``; None for images without padding.
        """
        frame = Frame.of(batch_data_samples, img_feats)
        memory = self.forward_encoder(**self.pre_transformer(img_feats, frame))
        decoder_inputs, head_inputs = self.pre_decoder(memory, frame, batch_data_samples)
        decoded = self.forward_decoder(memory=memory, frame=frame, **decoder_inputs)
        return dict(decoded=decoded, **(head_inputs if self.training else {}))

    def pre_transformer(self, img_feats: tuple[Tensor, ...], frame: Frame) -> dict[str, Any]:
        """The features and where they are padding."""
        if len(img_feats) != self.num_feature_levels:
            raise ConfigError(
                f'num_feature_levels is {self.num_feature_levels} and the neck gives {len(img_feats)}; expected as many'
            )
        return dict(feats=img_feats, masks=padding_masks(img_feats, frame))

    def forward_encoder(self, feats: tuple[Tensor, ...], masks: list[Tensor] | None) -> FlatLevels:
        """The memory: tokens (N, S, C) of all levels after the encoder."""
        if self.encodes_maps:
            return FlatLevels.join(self.encoder(feats, masks), masks)
        positions = []
        for level, feat in enumerate(feats):
            if masks is None:
                encoded = self.positional_encoding(None, input=feat)
            else:
                encoded = self.positional_encoding(masks[level])
            positions.append(encoded.flatten(2).transpose(1, 2) + self.level_embed[level])
        memory: FlatLevels = self.encoder(FlatLevels.join(feats, masks), torch.cat(positions, 1))
        return memory

    def pre_decoder(
        self, memory: FlatLevels, frame: Frame, batch_data_samples: OptSampleList = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Inputs of the decoder (``query``, ``query_pos``, ``reference``) and of the head's loss."""
        if not self.as_two_stage:
            query_pos, query = self.query_embedding.weight.chunk(2, 1)
            with torch.autocast(query.device.type, enabled=False):
                points = self.reference_points_fc(query_pos).sigmoid()
            number = memory.tokens.shape[0]
            expanded = (part[None].expand(number, -1, -1) for part in (query, query_pos, points))
            return dict(zip(('query', 'query_pos', 'reference'), expanded)), {}
        proposals = self.propose(memory, frame)
        states = proposals.states.detach()
        encoding = encode_states(states, self.embed_dims // 2, self.angle_in_query)
        query_pos, query = self.pos_trans_norm(self.pos_trans_fc(encoding)).chunk(2, -1)
        return dict(query=query, query_pos=query_pos, reference=states), dict(proposals=proposals)

    def propose(self, memory: FlatLevels, frame: Frame) -> Proposals:
        """The best cells of the memory, as boxes."""
        tokens = self.memory_trans_norm(self.memory_trans_fc(memory.tokens))
        states, inside = cell_states(memory, frame)
        logits, states = self.bbox_head.propose(tokens, states)
        best = best_cells(logits, inside, self.num_queries)
        return Proposals(*(gather_queries(part, best) for part in (logits, states)))

    def forward_decoder(self, **inputs: Any) -> Decoded:
        """Runs the decoder; see :meth:`RotatedDeformableDecoder.forward`."""
        head = self.bbox_head
        decoded: Decoded = self.decoder(reg_branches=head.reg_branches, box_state=head.box_state, **inputs)
        return decoded

    def _forward(self, batch_inputs: Tensor, batch_data_samples: OptSampleList = None) -> tuple[Tensor, Tensor]:
        """Class logits (layers, N, Q, classes) and states (layers, N, Q, 5)."""
        inputs = self.forward_transformer(self.extract_feat(batch_inputs), batch_data_samples)
        result: tuple[Tensor, Tensor] = self.bbox_head(inputs['decoded'])
        return result
