"""Hungarian assignment of a whole batch, all decoder layers included, that waits for the device once."""

from collections.abc import Sequence

import torch
from mmdet.models.task_modules.assigners import AssignResult, BaseAssigner
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import ConfigType
from mmengine.structures import InstanceData
from torch import Tensor

from ...checks import check_float_shape
from ...errors import ConfigError, InputError
from .assignment import Match, solve_assignments


@TASK_UTILS.register_module()
class BatchHungarianAssigner(BaseAssigner):
    """Gives each object one query, and each query at most one object, at the least total cost.

    The assignment is that of "End-to-End Object Detection with Transformers" https://arxiv.org/abs/2005.12872. Costs
    are computed on the device of the predictions; those of all images and layers reach the host in one copy. It is also
    an assigner of one image, as mmdet's heads call it.

    Args:
        match_costs: one cost of mmdet's kind or several, which are added. Each has to be a function of pairs: the cost
            of a query and an object must not depend on the other queries and objects of the call.

    Raises:
        ConfigError: when there is no cost.

    Example:
        >>> import torch, stn_det.register
        >>> from mmdet.registry import TASK_UTILS
        >>> from mmengine.structures import InstanceData
        >>> costs = [dict(type='FocalLossCost', weight=2.0), dict(type='HausdorffCost', weight=5.0)]
        >>> assigner = TASK_UTILS.build(dict(type='BatchHungarianAssigner', match_costs=costs))
        >>> boxes = torch.tensor([[[10.0, 10, 8, 4, 0], [30.0, 30, 8, 4, 1], [50.0, 50, 8, 4, 0]]])
        >>> truth = InstanceData(bboxes=boxes[0, [2, 0]], labels=torch.tensor([0, 0]))
        >>> assigner.assign_batch(torch.zeros(1, 3, 1), boxes, [truth], [dict(img_shape=(64, 64))])
        [Match(queries=tensor([0, 2]), objects=tensor([1, 0]))]
    """

    def __init__(self, match_costs: ConfigType | Sequence[ConfigType]) -> None:
        configs = [match_costs] if isinstance(match_costs, dict) else list(match_costs)
        if not configs:
            raise ConfigError('match_costs is empty; expected at least one cost, such as dict(type="HausdorffCost")')
        self.match_costs = [TASK_UTILS.build(config) for config in configs]

    def assign_batch(
        self, scores: Tensor, boxes: Tensor, truths: Sequence[InstanceData], img_metas: Sequence[dict]
    ) -> list[Match]:
        """Assigns the queries of several problems: images, or images by decoder layers.

        Layers are stacked by the caller, ``truths`` and ``img_metas`` repeated likewise. Problems that hold the same
        object of truth are compared with it in one go.

        Args:
            scores: ``(B, Q, C)`` logits of the classes.
            boxes: ``(B, Q, 5)`` (cx, cy, w, h, theta) in pixels of the network's input and radians, or whatever the
                costs take.
            truths: B with ``bboxes`` ``(G, 5)`` in the same frame and ``labels`` ``(G,)``.
            img_metas: B with ``img_shape`` (height, width).

        Returns:
            B matches on the device of the boxes, of min(Q, G) pairs.

        Raises:
            InputError: when shapes or lengths disagree.
        """
        return solve_assignments(self.cost_matrices(scores, boxes, truths, img_metas))

    @torch.no_grad()
    def cost_matrices(
        self, scores: Tensor, boxes: Tensor, truths: Sequence[InstanceData], img_metas: Sequence[dict]
    ) -> list[Tensor]:
        """Costs ``(Q, G)`` of each problem, float32 on the device; arguments as of :meth:`assign_batch`."""
        _check_batch(scores, boxes, truths, img_metas)
        alike: dict[tuple[int, int], list[int]] = {}
        for index, (truth, meta) in enumerate(zip(truths, img_metas)):
            alike.setdefault((id(truth), id(meta)), []).append(index)
        costs = [boxes.new_zeros(0, 0)] * len(truths)
        for indices in alike.values():
            predictions = InstanceData(
                scores=torch.cat([scores[i] for i in indices]), bboxes=torch.cat([boxes[i] for i in indices])
            )
            total = self.cost_matrix(predictions, truths[indices[0]], img_metas[indices[0]])
            for index, part in zip(indices, total.chunk(len(indices)) if len(total) else [total] * len(indices)):
                costs[index] = part
        return costs

    @torch.no_grad()
    def cost_matrix(self, predictions: InstanceData, truth: InstanceData, img_meta: dict | None) -> Tensor:
        """Sum of the costs ``(Q, G)`` of one image, float32, outside of autocast."""
        size = len(predictions), len(truth)
        boxes = get_box_tensor(predictions.bboxes)
        if 0 in size:
            return boxes.new_zeros(size, dtype=torch.float32)
        predictions = _in_float32(predictions)
        with torch.autocast(boxes.device.type, enabled=False):
            costs = (cost(predictions, truth, img_meta) for cost in self.match_costs)
            total = next(costs)
            for cost in costs:
                total = total + cost
        return total

    def assign(
        self, pred_instances: InstanceData, gt_instances: InstanceData, img_meta: dict | None = None, **kwargs
    ) -> AssignResult:
        """Assigns the queries of one image.

        Args:
            pred_instances: ``bboxes`` ``(Q, 5)`` and what else the costs read, such as ``scores`` ``(Q, C)``.
            gt_instances: ``bboxes`` ``(G, 5)`` in the same frame and ``labels`` ``(G,)``.
            img_meta: ``img_shape`` (height, width).
            **kwargs: of other assigners; not used.

        Returns:
            mmdet's result: ``gt_inds`` ``(Q,)`` is 0 for background and k + 1 for object k, ``labels`` ``(Q,)`` is -1
            for background.
        """
        (match,) = solve_assignments([self.cost_matrix(pred_instances, gt_instances, img_meta)])
        index = torch.zeros(len(pred_instances), dtype=torch.long, device=match.queries.device)
        labels = torch.full_like(index, -1)
        index[match.queries] = match.objects + 1
        labels[match.queries] = gt_instances.labels[match.objects]
        return AssignResult(len(gt_instances), index, None, labels=labels)


def _check_batch(scores: Tensor, boxes: Tensor, truths: Sequence[InstanceData], img_metas: Sequence[dict]) -> None:
    check_float_shape('boxes', boxes, ('B', 'Q', 'D'))
    check_float_shape('scores', scores, (*boxes.shape[:2], 'C'))
    for name, given in (('truths', truths), ('img_metas', img_metas)):
        if len(given) != boxes.shape[0]:
            raise InputError(
                f'{name} has length {len(given)}, expected {boxes.shape[0]}, one for each entry of boxes '
                f'{tuple(boxes.shape)}; repeat it for stacked decoder layers'
            )


def _in_float32(predictions: InstanceData) -> InstanceData:
    """The same predictions, half precisions and doubles as float32, detached."""
    converted = InstanceData()
    for name, value in predictions.items():
        floating = isinstance(value, Tensor) and value.is_floating_point()
        converted.set_field(value.detach().float() if floating else value, name)
    return converted
