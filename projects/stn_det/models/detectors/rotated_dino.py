"""Rotated DINO: contrastive denoising, mixed query selection, boxes that look forward twice.

Letters: N images, Q matching queries, D denoising queries.
"""

from typing import Any

import torch
from mmdet.registry import MODELS
from mmdet.structures import OptSampleList
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from torch import nn

from ...errors import ConfigError
from ..layers.batch_truth import BatchTruth
from ..layers.contrastive_denoising import ContrastiveDenoising
from ..layers.flat_levels import FlatLevels, Frame
from ..layers.rotated_decoder import RotatedDinoDecoder
from .rotated_deformable_detr import RotatedDeformableDETR

DENOISING_SET_HERE = ('num_classes', 'embed_dims')


@MODELS.register_module()
class RotatedDINO(RotatedDeformableDETR):
    """A two-stage :class:`RotatedDeformableDETR` that learns from spoilt objects as well.

    "DINO: DETR with Improved DeNoising Anchor Boxes for End-to-End Object Detection" https://arxiv.org/abs/2203.03605.
    Queries take their place from the encoder's proposals and their content from a table of its own; the positional
    query of each layer follows the box.

    Args:
        backbone, neck, encoder, positional_encoding, num_feature_levels, train_cfg, test_cfg, data_preprocessor,
            init_cfg: as of :class:`RotatedDeformableDETR`.
        decoder: arguments of :class:`RotatedDinoDecoder`.
        bbox_head: config of a :class:`RotatedDINOHead`, without what the detector sets.
        num_queries: Q.
        angle_in_query: tell positional queries the angle as well.
        dn_cfg: arguments of :class:`ContrastiveDenoising` but classes and channels; None to train without.

    Raises:
        ConfigError: when ``dn_cfg`` sets what the detector sets, and as of :class:`RotatedDeformableDETR`.
    """

    def __init__(
        self,
        backbone: ConfigType,
        neck: OptConfigType = None,
        encoder: OptConfigType = None,
        decoder: OptConfigType = None,
        bbox_head: OptConfigType = None,
        positional_encoding: OptConfigType = None,
        num_queries: int = 900,
        num_feature_levels: int = 4,
        angle_in_query: bool = False,
        dn_cfg: OptConfigType = None,
        train_cfg: OptConfigType = None,
        test_cfg: OptConfigType = None,
        data_preprocessor: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        given = sorted(set(DENOISING_SET_HERE) & set(dn_cfg or {}))
        if given:
            raise ConfigError(f'dn_cfg sets {given}, which RotatedDINO sets itself; leave them out')
        self.dn_cfg = dn_cfg
        super().__init__(
            backbone=backbone,
            neck=neck,
            encoder=encoder,
            decoder=decoder,
            bbox_head=bbox_head,
            positional_encoding=positional_encoding,
            num_queries=num_queries,
            with_box_refine=True,
            as_two_stage=True,
            num_feature_levels=num_feature_levels,
            angle_in_query=angle_in_query,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )

    def _build_decoder(self, cfg: ConfigType) -> RotatedDinoDecoder:
        return RotatedDinoDecoder(**cfg, angle_in_query=self.angle_in_query)

    def _init_queries(self) -> None:
        self.memory_trans_fc = nn.Linear(self.embed_dims, self.embed_dims)
        self.memory_trans_norm = nn.LayerNorm(self.embed_dims)
        self.query_embedding = nn.Embedding(self.num_queries, self.embed_dims)
        self.dn_query_generator = None
        if self.dn_cfg is not None:
            self.dn_query_generator = ContrastiveDenoising(
                num_classes=self.bbox_head.num_classes, embed_dims=self.embed_dims, **self.dn_cfg
            )

    def _init_query_weights(self) -> None:
        nn.init.xavier_uniform_(self.memory_trans_fc.weight)
        nn.init.xavier_uniform_(self.query_embedding.weight)

    def pre_decoder(
        self, memory: FlatLevels, frame: Frame, batch_data_samples: OptSampleList = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Inputs of the decoder (``query``, ``reference``, in training ``self_attn_mask``) and of the head's loss."""
        proposals = self.propose(memory, frame)
        states = proposals.states.detach()
        images, number = states.shape[:2]
        query = self.query_embedding.weight[None, :number].expand(images, -1, -1)
        if not self.training or self.dn_query_generator is None or batch_data_samples is None:
            return dict(query=query, query_pos=None, reference=states), dict(proposals=proposals)
        metas = [sample.metainfo for sample in batch_data_samples]
        truth = BatchTruth.of([sample.gt_instances for sample in batch_data_samples], metas)
        denoising = self.dn_query_generator(truth, frame)
        inputs = dict(
            query=torch.cat([denoising.content, query], 1),
            query_pos=None,
            reference=torch.cat([denoising.states, states], 1),
            self_attn_mask=denoising.mask(number),
        )
        return inputs, dict(proposals=proposals, denoising=denoising)
