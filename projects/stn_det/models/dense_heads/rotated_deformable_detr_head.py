"""Head of the rotated detection transformers: classes and oriented boxes of queries, trained as a set.

Letters: N images, Q queries, C classes, L layers that bear a loss, T objects of a batch, M matched pairs.
"""

from collections.abc import Sequence
from copy import deepcopy

import torch
from mmdet.models.losses import VarifocalLoss
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures import SampleList
from mmdet.utils import ConfigType, InstanceList, OptConfigType, OptMultiConfig, reduce_mean
from mmengine.model import BaseModule, bias_init_with_prob
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ...errors import ConfigError
from ...ops import box_iou_rotated
from ..layers.batch_truth import BatchTruth
from ..layers.box_state import BoxState
from ..layers.proposals import Proposals
from ..layers.rotated_decoder import Decoded, predict_deltas
from ..task_modules.assignment import Match
from ..task_modules.union_matches import union_matches
from .oriented_results import oriented_results
from .set_targets import Pairs, class_targets

ASSIGNER = dict(
    type='BatchHungarianAssigner',
    match_costs=[dict(type='FocalLossCost', weight=2.0), dict(type='HausdorffCost', weight=5.0)],
)
FIRST_SIDE = -2.0  # logit of a side before training: 0.12 diagonals


@MODELS.register_module()
class RotatedDeformableDETRHead(BaseModule):
    """One oriented box and its class scores for every query, with no suppression afterwards.

    The set loss of "End-to-End Object Detection with Transformers" https://arxiv.org/abs/2005.12872 on every layer, as
    in "Deformable DETR" https://arxiv.org/abs/2010.04159. Boxes are states of :class:`BoxState`: L1 on centre and sides
    as fractions, the angle apart on its circle, a third loss on boxes in pixels. Each layer is matched by itself; all
    layers and images in one call. Matching and losses wait for the device once, to bring the costs to the host. Objects
    to ignore are background.

    Args:
        num_classes: number of foreground classes C.
        embed_dims: channels of a query.
        num_reg_fcs: hidden layers of the branch of the box.
        num_pred_layer: branches of either kind; the detector sets it: one for each decoder layer, one for the encoder.
        share_pred_layer: use one branch of either kind for all; the detector sets it.
        as_two_stage: the last branches are those of the encoder's proposals; the detector sets it.
        box_state: arguments of :class:`BoxState`.
        assigner: config of a :class:`BatchHungarianAssigner`; focal loss and Hausdorff distance if None.
        loss_cls: ``FocalLoss``, or ``VarifocalLoss`` towards the rotated IoU of matched boxes.
        loss_bbox: loss between (M, 4) fractions (cx / W, cy / H, w / D, h / D).
        loss_angle: loss between (M,) angles in radians, or None.
        loss_iou: loss between (M, 5) boxes in pixels and radians, or None.
        union_matching: let every layer learn the boxes of all pairs that any layer found, as in "D-FINE"
            https://arxiv.org/abs/2410.13842; the classes stay with the pairs of the layer itself.
        train_cfg: not used; mmdet's detectors pass it.
        test_cfg: ``max_per_img`` (300), ``score_thr`` (0).
        init_cfg: weight initialisation.

    Raises:
        ConfigError: when there is no class, or ``test_cfg`` asks for what the head does not do.
    """

    def __init__(
        self,
        num_classes: int,
        embed_dims: int = 256,
        num_reg_fcs: int = 2,
        num_pred_layer: int = 6,
        share_pred_layer: bool = False,
        as_two_stage: bool = False,
        box_state: OptConfigType = None,
        assigner: OptConfigType = None,
        loss_cls: OptConfigType = None,
        loss_bbox: OptConfigType = None,
        loss_angle: OptConfigType = None,
        loss_iou: OptConfigType = None,
        union_matching: bool = False,
        train_cfg: OptConfigType = None,
        test_cfg: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(init_cfg)
        if num_classes < 1:
            raise ConfigError(f'num_classes is {num_classes}; expected at least 1 foreground class')
        unknown = set(test_cfg or {}) - {'max_per_img', 'score_thr'}
        if unknown:
            raise ConfigError(
                f'test_cfg has {sorted(unknown)}; expected max_per_img and score_thr: a query is suppressed by training'
            )
        self.num_classes = self.cls_out_channels = num_classes
        self.embed_dims, self.num_reg_fcs, self.num_pred_layer = embed_dims, num_reg_fcs, num_pred_layer
        self.share_pred_layer, self.as_two_stage = share_pred_layer, as_two_stage
        self.union_matching = union_matching
        self.train_cfg, self.test_cfg = train_cfg, dict(test_cfg or {})
        self.box_state = BoxState(**(box_state or {}))
        self.assigner = TASK_UTILS.build(assigner or ASSIGNER)
        self.loss_cls = MODELS.build(
            loss_cls or dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0)
        )
        self.loss_bbox = MODELS.build(loss_bbox or dict(type='L1Loss', loss_weight=5.0))
        self.loss_angle = None if loss_angle is None else MODELS.build(loss_angle)
        self.loss_iou = None if loss_iou is None else MODELS.build(loss_iou)
        self._init_layers()

    def _init_layers(self) -> None:
        cls_branch = nn.Linear(self.embed_dims, self.cls_out_channels)
        hidden = [nn.Linear(self.embed_dims, self.embed_dims) for _ in range(self.num_reg_fcs)]
        layers = [part for layer in hidden for part in (layer, nn.ReLU())]
        reg_branch = nn.Sequential(*layers, nn.Linear(self.embed_dims, 5))
        number = range(self.num_pred_layer)
        if self.share_pred_layer:
            self.cls_branches = nn.ModuleList([cls_branch for _ in number])
            self.reg_branches = nn.ModuleList([reg_branch for _ in number])
        else:
            self.cls_branches = nn.ModuleList([deepcopy(cls_branch) for _ in number])
            self.reg_branches = nn.ModuleList([deepcopy(reg_branch) for _ in number])

    def init_weights(self) -> None:
        """Starts with rare objects (score 0.01) and steps of 0; boxes of points begin small."""
        super().init_weights()
        for branch in self.cls_branches:
            nn.init.constant_(branch.bias, bias_init_with_prob(0.01))
        for branch in self.reg_branches:
            nn.init.zeros_(branch[-1].weight)
            nn.init.zeros_(branch[-1].bias)
        if not self.as_two_stage:
            nn.init.constant_(self.reg_branches[0][-1].bias[2:4], FIRST_SIDE)

    def forward(self, decoded: Decoded) -> tuple[Tensor, Tensor]:
        """Class logits (L, N, Q, C) and states (L, N, Q, 5) of all decoder layers, float32."""
        logits = [branch(hidden).float() for branch, hidden in zip(self.cls_branches, decoded.hidden)]
        steps = zip(decoded.references, decoded.deltas)
        states = [self.box_state.refine(start, delta, layer) for layer, (start, delta) in enumerate(steps)]
        return torch.stack(logits), torch.stack(states)

    def propose(self, tokens: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits (N, S, C) and refined states (N, S, 5) of an encoder's tokens (N, S, embed_dims)."""
        deltas = predict_deltas(self.reg_branches[-1], tokens)
        return self.cls_branches[-1](tokens).float(), self.box_state.refine(states, deltas)

    def loss(
        self, decoded: Decoded, batch_data_samples: SampleList, proposals: Proposals | None = None
    ) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            decoded: what the decoder layers gave.
            batch_data_samples: N samples with ``gt_instances`` in pixels of the network's input.
            proposals: the encoder's, which bear the same losses, or None.

        Returns:
            ``loss_cls``, ``loss_bbox``, ``loss_angle``, ``loss_iou`` of the last layer, the others with ``d0.`` and so
            on in front, those of proposals with ``enc_``.
        """
        logits, states = self(decoded)
        metas = [sample.metainfo for sample in batch_data_samples]
        truth = BatchTruth.of([sample.gt_instances for sample in batch_data_samples], metas)
        return self.loss_by_feat(logits, states, proposals, truth, metas)

    def loss_by_feat(
        self,
        logits: Tensor,
        states: Tensor,
        proposals: Proposals | None,
        truth: BatchTruth,
        img_metas: Sequence[dict],
    ) -> dict[str, Tensor]:
        """Losses of logits (L, N, Q, C) and states (L, N, Q, 5); see :meth:`loss`."""
        with torch.autocast(logits.device.type, enabled=False):
            names = [*(f'd{layer}.' for layer in range(len(logits) - 1)), '']
            if proposals is not None:
                names = ['enc_', *names]
                logits = torch.cat([proposals.logits[None], logits])
                states = torch.cat([proposals.states[None], states])
            boxes = self.box_state.boxes(states, [meta['img_shape'] for meta in img_metas])
            layers = self.match(logits, boxes, truth, img_metas)
            losses: dict[str, Tensor] = {}
            shared = self._union(layers, logits.shape[2])
            for index, (name, matches) in enumerate(zip(names, layers)):
                pairs = Pairs.of(matches, logits.shape[2], truth.counts)
                others = pairs if shared is None else Pairs.of(shared, logits.shape[2], truth.counts)
                flat = (part[index].flatten(0, 1) for part in (logits, states, boxes))
                terms = self.layer_losses(*flat, truth, pairs, others)
                losses.update({name + term: value for term, value in terms.items()})
            return losses

    def match(self, logits: Tensor, boxes: Tensor, truth: BatchTruth, img_metas: Sequence[dict]) -> list[list[Match]]:
        """Matches of each image in each layer, of logits (L, N, Q, C) and boxes (L, N, Q, 5) in pixels."""
        layers, images = logits.shape[:2]
        predicted = (part.detach().flatten(0, 1) for part in (logits, boxes))
        found = self.assigner.assign_batch(*predicted, truth.instances * layers, list(img_metas) * layers)
        return [found[layer * images : (layer + 1) * images] for layer in range(layers)]

    def _union(self, layers: list[list[Match]], num_queries: int) -> list[Match] | None:
        return union_matches(layers, num_queries) if self.union_matching else None

    def layer_losses(
        self, logits: Tensor, states: Tensor, boxes: Tensor, truth: BatchTruth, pairs: Pairs, box_pairs: Pairs
    ) -> dict[str, Tensor]:
        """Losses of one layer.

        Args:
            logits: (N * Q, C).
            states: (N * Q, 5).
            boxes: (N * Q, 5) the states in pixels.
            truth: the objects.
            pairs: whose classes are learnt.
            box_pairs: whose boxes are learnt.
        """
        quality: Tensor | float = 1.0
        if isinstance(self.loss_cls, VarifocalLoss):
            quality = self.quality(boxes[pairs.rows], truth.boxes[pairs.objects])
        targets = class_targets(logits, pairs, truth.labels, quality)
        losses = dict(loss_cls=self.loss_cls(logits, targets, avg_factor=average(logits, len(truth.labels))))
        total = average(logits, len(box_pairs.rows) if self.union_matching else len(truth.labels))
        losses.update(self.box_losses(states, boxes, truth, box_pairs, total))
        return losses

    def box_losses(
        self,
        states: Tensor,
        boxes: Tensor,
        truth: BatchTruth,
        pairs: Pairs,
        total: Tensor,
        weight: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Losses of boxes of M pairs, whose sums are divided by ``total``; weight (M,) of each pair."""
        predicted, wanted = states[pairs.rows], truth.states[pairs.objects]
        judged = dict(loss_bbox=(self.loss_bbox, predicted[:, :4], wanted[:, :4]))
        if self.loss_angle is not None:
            judged['loss_angle'] = self.loss_angle, predicted[:, 4], wanted[:, 4]
        if self.loss_iou is not None:
            judged['loss_iou'] = self.loss_iou, boxes[pairs.rows], truth.boxes[pairs.objects]
        return {name: averaged(*term, total, weight) for name, term in judged.items()}

    @staticmethod
    @torch.no_grad()
    def quality(boxes: Tensor, truth: Tensor) -> Tensor:
        """Rotated IoU (M,) of boxes (M, 5) with those that they should be."""
        return box_iou_rotated(boxes.detach(), truth, aligned=True)

    def predict(self, decoded: Decoded, batch_data_samples: SampleList, rescale: bool = True) -> InstanceList:
        """Detections of N images from the last layer; see :meth:`predict_by_feat`."""
        logits, states = self(decoded)
        metas = [sample.metainfo for sample in batch_data_samples]
        return self.predict_by_feat(logits[-1], states[-1], metas, rescale=rescale)

    def predict_by_feat(
        self,
        logits: Tensor,
        states: Tensor,
        batch_img_metas: Sequence[dict],
        cfg: ConfigType | None = None,
        rescale: bool = False,
    ) -> InstanceList:
        """The best pairs of query and class of each image.

        Args:
            logits: (N, Q, C).
            states: (N, Q, 5).
            batch_img_metas: N with ``img_shape``, and ``scale_factor`` (x, y) for ``rescale``.
            cfg: replaces ``test_cfg`` for this call.
            rescale: return boxes in the original image instead of the network's input.

        Returns:
            N instances with ``bboxes`` (K, 5) le90 in pixels and radians, ``scores`` (K,) falling, ``labels`` (K,).
        """
        cfg = self.test_cfg if cfg is None else cfg
        boxes = self.box_state.boxes(states, [meta['img_shape'] for meta in batch_img_metas])
        images = zip(logits.sigmoid(), boxes, batch_img_metas)
        return [self._predict_single(*image, cfg, rescale) for image in images]

    def _predict_single(
        self, scores: Tensor, boxes: Tensor, img_meta: dict, cfg: ConfigType, rescale: bool
    ) -> InstanceData:
        number = min(cfg.get('max_per_img', 300), scores.numel())
        best, flat = scores.flatten().topk(number)
        labels, queries = flat % scores.shape[1], flat.div(scores.shape[1], rounding_mode='floor')
        if cfg.get('score_thr', 0.0) > 0:
            kept = best >= cfg['score_thr']
            best, labels, queries = best[kept], labels[kept], queries[kept]
        return oriented_results(boxes[queries], best, labels, img_meta, cfg, rescale, with_nms=False)


def averaged(loss: nn.Module, predicted: Tensor, wanted: Tensor, total: Tensor, weight: Tensor | None) -> Tensor:
    """A loss of M pairs over ``total``; weight (M,) of each. mmdet's L1 reads weights that it is given on the host."""
    if weight is None or not len(weight):
        mean: Tensor = loss(predicted, wanted, avg_factor=total)
        return mean
    terms = loss(predicted, wanted, reduction_override='none').reshape(len(weight), -1).sum(1)
    return (terms * weight).sum() / total


def average(like: Tensor, count: int) -> Tensor:
    """Mean of a number over all processes, at least 1: what sums over objects are divided by."""
    mean: Tensor = reduce_mean(like.new_tensor(float(count)))
    return mean.clamp(min=1.0)
