"""Head of Rotated DINO: the set losses of matching queries beside the losses of denoising queries.

Letters: N images, D denoising queries, Q matching queries, C classes, L decoder layers, P pairs of a positive denoising
query and its object.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmdet.models.losses import VarifocalLoss
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.utils import OptConfigType, OptMultiConfig
from torch import Tensor

from ..layers.batch_truth import BatchTruth
from ..layers.contrastive_denoising import Denoising
from ..layers.proposals import Proposals
from ..layers.rotated_decoder import Decoded
from ..task_modules.adaptive_denoising import adaptive_denoising
from .rotated_deformable_detr_head import RotatedDeformableDETRHead, average
from .set_targets import Pairs, class_targets


class DenoisingTargets(NamedTuple):
    """What denoising queries should find, by their rows in N * D queries.

    Attributes:
        pairs: P positive queries and their objects.
        negative: (P,) rows of the negative queries.
        slots: (P,) image, group and slot of each positive query, as three tensors.
    """

    pairs: Pairs
    negative: Tensor
    slots: tuple[Tensor, Tensor, Tensor]

    @classmethod
    def of(cls, denoising: Denoising) -> 'DenoisingTargets':
        """Targets of all groups; slots without an object are left out."""
        counts, groups, slots = denoising.truth.counts, denoising.groups, denoising.slots
        places = [(i, g, k) for i, count in enumerate(counts) for g in range(groups) for k in range(count)]
        image, group, slot = torch.tensor(places, dtype=torch.long).reshape(-1, 3).to(denoising.states.device).unbind(1)
        starts = torch.tensor([0, *counts[:-1]]).cumsum(0).to(image.device)
        rows = (image * groups + group) * 2 * slots + slot
        return cls(Pairs(rows, starts[image] + slot), rows + slots, (image, group, slot))


@MODELS.register_module()
class RotatedDINOHead(RotatedDeformableDETRHead):
    """Matching and denoising queries of "DINO" https://arxiv.org/abs/2203.03605 for oriented boxes.

    A positive denoising query learns class and box of the object that it was made from, a negative one that it is
    background, with the same losses as the matching queries.

    Args:
        num_classes, embed_dims, num_reg_fcs, num_pred_layer, share_pred_layer, as_two_stage, box_state, assigner,
            loss_cls, loss_bbox, loss_angle, loss_iou, union_matching, train_cfg, test_cfg, init_cfg: as of
            :class:`RotatedDeformableDETRHead`.
        adaptive_denoising: positive queries that no longer win their object against the matching queries become
            background, as in "RHINO" https://arxiv.org/abs/2305.07598; see
            :func:`stn_det.models.task_modules.adaptive_denoising.adaptive_denoising`. It waits for the device once
            more.
    """

    def __init__(
        self,
        num_classes: int,
        embed_dims: int = 256,
        num_reg_fcs: int = 2,
        num_pred_layer: int = 7,
        share_pred_layer: bool = False,
        as_two_stage: bool = True,
        box_state: OptConfigType = None,
        assigner: OptConfigType = None,
        loss_cls: OptConfigType = None,
        loss_bbox: OptConfigType = None,
        loss_angle: OptConfigType = None,
        loss_iou: OptConfigType = None,
        union_matching: bool = False,
        adaptive_denoising: bool = False,
        train_cfg: OptConfigType = None,
        test_cfg: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            embed_dims=embed_dims,
            num_reg_fcs=num_reg_fcs,
            num_pred_layer=num_pred_layer,
            share_pred_layer=share_pred_layer,
            as_two_stage=as_two_stage,
            box_state=box_state,
            assigner=assigner,
            loss_cls=loss_cls,
            loss_bbox=loss_bbox,
            loss_angle=loss_angle,
            loss_iou=loss_iou,
            union_matching=union_matching,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            init_cfg=init_cfg,
        )
        self.adaptive_denoising = adaptive_denoising

    def loss(
        self,
        decoded: Decoded,
        batch_data_samples: SampleList,
        proposals: Proposals | None = None,
        denoising: Denoising | None = None,
    ) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            decoded: what the decoder layers gave, for denoising queries first.
            batch_data_samples: N samples with ``gt_instances`` in pixels of the network's input.
            proposals: the encoder's.
            denoising: where the denoising queries come from, or None.

        Returns:
            As of :meth:`RotatedDeformableDETRHead.loss`, and the same with ``dn_`` for the denoising queries.
        """
        logits, states = self(decoded)
        metas = [sample.metainfo for sample in batch_data_samples]
        truth = BatchTruth.of([sample.gt_instances for sample in batch_data_samples], metas)
        number = 0 if denoising is None else denoising.states.shape[1]
        losses = self.loss_by_feat(logits[:, :, number:], states[:, :, number:], proposals, truth, metas)
        if denoising is not None:
            losses.update(self.denoising_losses(logits, states, denoising, metas))
        return losses

    def denoising_losses(
        self, logits: Tensor, states: Tensor, denoising: Denoising, img_metas: Sequence[dict]
    ) -> dict[str, Tensor]:
        """Losses of the first D of logits (L, N, D + Q, C) and states (L, N, D + Q, 5) in each layer."""
        with torch.autocast(logits.device.type, enabled=False):
            targets = DenoisingTargets.of(denoising)
            boxes = self.box_state.boxes(states, [meta['img_shape'] for meta in img_metas])
            kept = self._kept(logits, boxes, denoising, targets, img_metas)
            total = average(logits, len(targets.negative))
            number = denoising.states.shape[1]
            losses: dict[str, Tensor] = {}
            for layer in range(len(logits)):
                flat = (part[layer, :, :number].flatten(0, 1) for part in (logits, states, boxes))
                terms = self._denoising_layer(
                    *flat, denoising.truth, targets, total, None if kept is None else kept[layer]
                )
                name = f'd{layer}.dn_' if layer + 1 < len(logits) else 'dn_'
                losses.update({name + term: value for term, value in terms.items()})
            return losses

    def _kept(
        self,
        logits: Tensor,
        boxes: Tensor,
        denoising: Denoising,
        targets: DenoisingTargets,
        img_metas: Sequence[dict],
    ) -> Tensor | None:
        """Which positive queries keep their object in each layer: (L, P), 1 or 0; None where all do."""
        layers, images = logits.shape[:2]
        if not self.adaptive_denoising or not denoising.slots:
            return None
        number = denoising.states.shape[1]
        shape = (layers * images, denoising.groups, 2, denoising.slots)
        matching = (part[:, :, number:].flatten(0, 1).detach() for part in (logits, boxes))
        positive = (part[:, :, :number].reshape(*shape, -1)[:, :, 0].detach() for part in (logits, boxes))
        truths = denoising.truth.instances * layers
        won = adaptive_denoising(self.assigner, *matching, *positive, truths, list(img_metas) * layers)
        image, group, slot = targets.slots
        return won.unflatten(0, (layers, images))[:, image, group, slot].to(logits.dtype)

    def _denoising_layer(
        self,
        logits: Tensor,
        states: Tensor,
        boxes: Tensor,
        truth: BatchTruth,
        targets: DenoisingTargets,
        total: Tensor,
        kept: Tensor | None,
    ) -> dict[str, Tensor]:
        """Losses of one layer: logits (N * D, C), states and boxes (N * D, 5), kept (P,) or None."""
        pairs = targets.pairs
        quality: Tensor | float = 1.0 if kept is None else kept
        if isinstance(self.loss_cls, VarifocalLoss):
            quality = quality * self.quality(boxes[pairs.rows], truth.boxes[pairs.objects])
        wanted = class_targets(logits, pairs, truth.labels, quality)
        rows = torch.cat([pairs.rows, targets.negative])
        losses = dict(loss_cls=self.loss_cls(logits[rows], wanted[rows], avg_factor=total))
        losses.update(self.box_losses(states, boxes, truth, pairs, total, kept))
        return losses
