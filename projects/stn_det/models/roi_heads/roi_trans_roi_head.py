"""The second stage of RoI Transformer: horizontal regions are turned, then read again along the object."""

from collections.abc import Sequence

import torch
from mmdet.models.roi_heads import CascadeRoIHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.models.utils import empty_instances, unpack_gt_instances
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox2roi
from mmdet.utils import ConfigType, InstanceList, OptConfigType, OptMultiConfig
from mmengine.model import ModuleList
from torch import Tensor

from ...checks import compute_dtype
from ...errors import ConfigError
from .sampling import sample_regions


@MODELS.register_module()
class RoITransRoIHead(CascadeRoIHead):
    """The head of "Learning RoI Transformer for Detecting Oriented Objects in Aerial Images"
    https://arxiv.org/abs/1812.00155.

    Stage 0 looks at horizontal regions and predicts how to turn them: a spatial transformer of regions, supervised by
    the truth. Each later stage reads the turned region, ``RotatedSingleRoIExtractor``, and refines it. As in mmdet's
    ``CascadeRoIHead`` every stage classifies, and at test the logits of all stages are averaged.

    Args:
        num_stages: 1 + the number of refinements, at least 2.
        stage_loss_weights: of each stage; the last one repeats.
        bbox_roi_extractor: configs of the extractors of stage 0 and the later ones; the last one repeats.
        bbox_head: configs of the heads, likewise.
        share_refinement_weights: let all refinements be one head, instead of a head each: the boxes are then iterated
            on, and the number of stages may differ at test.
        end_to_end: let the losses of a stage reach the boxes of the stage before, by way of where its features are read
            and of its targets. In the paper, and by default, each stage takes its regions as given.
        heading: config of a ``RoIHeading`` for the oriented stages, or None. It needs coders with ``proj_xy=True``,
            since a turned region has turned axes, and for four turns with ``edge_swap=True``. Where the truth has
            ``headings``, radians in the frame of the input, they teach it.
        train_cfg: of each stage ``assigner`` and ``sampler``; the last one repeats.
        test_cfg: ``score_thr``, ``nms=dict(type='nms_rotated', iou_threshold)``, ``max_per_img``.
        init_cfg: weight initialisation.

    Raises:
        ConfigError: for less than two stages, more configs than stages, or coders that a heading does not go with.
    """

    def __init__(
        self,
        bbox_roi_extractor: list[ConfigType],
        bbox_head: list[ConfigType],
        num_stages: int = 2,
        stage_loss_weights: Sequence[float] = (1.0, 1.0),
        share_refinement_weights: bool = False,
        end_to_end: bool = False,
        heading: OptConfigType = None,
        train_cfg: list[ConfigType] | None = None,
        test_cfg: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        if num_stages < 2:
            raise ConfigError(f'num_stages is {num_stages}; expected at least 2: one that turns and one that refines')
        self.share_refinement_weights = share_refinement_weights
        self.end_to_end = end_to_end
        super().__init__(
            num_stages,
            _for_stages('stage_loss_weights', stage_loss_weights, num_stages),
            _for_stages('bbox_roi_extractor', bbox_roi_extractor, num_stages),
            _for_stages('bbox_head', bbox_head, num_stages),
            train_cfg=None if train_cfg is None else _for_stages('train_cfg', train_cfg, num_stages),
            test_cfg=test_cfg,
            init_cfg=init_cfg,
        )
        self.heading = None if heading is None else MODELS.build(heading)
        self._check_coders()

    def _check_coders(self) -> None:
        if self.heading is None:
            return
        for head in self.bbox_head[1:]:
            along, swaps = (getattr(head.bbox_coder, name, False) for name in ('proj_xy', 'edge_swap'))
            if not along or (self.heading.num_turns == 4 and not swaps):
                raise ConfigError(
                    f'a heading of {self.heading.num_turns} turns needs coders of the oriented stages with '
                    f'proj_xy=True and, for 4 turns, edge_swap=True; got proj_xy={along}, edge_swap={swaps}'
                )

    def init_bbox_head(self, bbox_roi_extractor: list[ConfigType], bbox_head: list[ConfigType]) -> None:
        """Builds the modules of the stages; shared refinements have one extractor and one head.

        Args:
            bbox_roi_extractor: config of the extractor of each stage.
            bbox_head: config of the head of each stage.
        """
        built = 2 if self.share_refinement_weights else self.num_stages
        self.bbox_roi_extractor = ModuleList(MODELS.build(config) for config in bbox_roi_extractor[:built])
        self.bbox_head = ModuleList(MODELS.build(config) for config in bbox_head[:built])

    def init_assigner_sampler(self) -> None:
        """Builds the assigner and the sampler of each stage."""
        stages = self.train_cfg or []
        self.bbox_assigner = [TASK_UTILS.build(cfg['assigner']) for cfg in stages]
        self.bbox_sampler = [TASK_UTILS.build(cfg['sampler'], default_args=dict(context=self)) for cfg in stages]

    def _module(self, stage: int) -> int:
        """Which of the built modules a stage uses."""
        return min(stage, len(self.bbox_head) - 1)

    def _bbox_forward(self, stage: int, x: tuple[Tensor, ...], rois: Tensor) -> dict[str, Tensor]:
        """Predictions of a stage for regions ``(R, 5)`` or ``(R, 6)``, and the regions that they are relative to."""
        extractor, head = self.bbox_roi_extractor[self._module(stage)], self.bbox_head[self._module(stage)]
        levels = x[: extractor.num_inputs]
        if stage == 0:
            # mmdet's extractor casts regions to the type of the maps, and bfloat16 cannot tell pixel 512 from 513
            with torch.autocast(rois.device.type, enabled=False):
                features = extractor([level.to(compute_dtype(level)) for level in levels], rois)
        else:
            features = extractor(levels, rois)
        results = dict(regions=rois)
        if stage > 0 and self.heading is not None:
            features, rois, results['heading_scores'] = self.heading(features, rois)
        scores, codes = head(features)
        return dict(results, rois=rois, cls_score=scores, bbox_pred=codes, bbox_feats=features)

    def bbox_loss(self, stage: int, x: tuple[Tensor, ...], sampling_results: list[SamplingResult]) -> dict:
        """Predictions and losses of a stage.

        Args:
            stage: number of the stage, from 0.
            x: one ``(N, C, H_l, W_l)`` map a level.
            sampling_results: of each image.

        Returns:
            What ``_bbox_forward`` returns, with ``loss_bbox``, the loss terms by name, and ``bbox_targets``, the labels
            ``(R,)`` of the regions.
        """
        rois = bbox2roi([sample.priors for sample in sampling_results])
        results = self._bbox_forward(stage, x, rois)
        head = self.bbox_head[self._module(stage)]
        parts = (results['cls_score'], results['bbox_pred'], results['rois'], sampling_results)
        results.update(head.loss_and_target(*parts))
        known = [sample.pos_gt_headings for sample in sampling_results if hasattr(sample, 'pos_gt_headings')]
        if 'heading_scores' in results and len(known) == len(sampling_results):
            positive = results['bbox_targets'] < head.num_classes
            found = results['heading_scores'][positive], results['regions'][positive]
            results['loss_bbox']['loss_heading'] = self.heading.loss(*found, torch.cat(known))
        return results

    def loss(
        self, x: tuple[Tensor, ...], rpn_results_list: InstanceList, batch_data_samples: SampleList
    ) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            x: one ``(N, C, H_l, W_l)`` map a level.
            rpn_results_list: N instances with horizontal proposals ``bboxes`` ``(R, 4)`` in pixels of the input.
            batch_data_samples: N samples with ``gt_instances`` and, if there are any, ``ignored_instances``.

        Returns:
            ``s0.loss_cls``, ``s0.loss_bbox`` and so on for each stage, weighted.
        """
        truths, ignores, _ = unpack_gt_instances(batch_data_samples)
        regions = [proposals.bboxes for proposals in rpn_results_list]
        losses = {}
        for stage in range(self.num_stages):
            tools = self.bbox_assigner[stage], self.bbox_sampler[stage]
            samples = [sample_regions(*tools, *parts) for parts in zip(regions, truths, ignores)]
            results = self.bbox_loss(stage, x, samples)
            for name, value in results['loss_bbox'].items():
                losses[f's{stage}.{name}'] = value * self.stage_loss_weights[stage]
            if stage + 1 < self.num_stages:
                regions = self._next_regions(stage, results, samples)
        return losses

    def _next_regions(self, stage: int, results: dict, samples: list[SamplingResult]) -> list[Tensor]:
        """Regions ``(R, 5)`` of each image for the stage after this one: its boxes, those of added truth left out."""
        refined = self._refined(stage, results, results['bbox_targets'])
        if not self.end_to_end:
            refined = refined.detach()
        kept = []
        for sample, boxes in zip(samples, refined.split([sample.priors.shape[0] for sample in samples])):
            added = torch.zeros(boxes.shape[0], dtype=torch.bool, device=boxes.device)
            added[: sample.pos_is_gt.shape[0]] = sample.pos_is_gt.bool()
            kept.append(boxes[~added, 1:])
        return kept

    def _refined(self, stage: int, results: dict, labels: Tensor | None = None) -> Tensor:
        """Predicted boxes of a stage as regions ``(R, 6)``."""
        head = self.bbox_head[self._module(stage)]
        refined: Tensor = head.refine(results['rois'], results['cls_score'], results['bbox_pred'], labels)
        return refined

    def _through_stages(self, x: tuple[Tensor, ...], rois: Tensor, num_stages: int) -> tuple[Tensor, Tensor, Tensor]:
        """Mean logits of all stages, and codes of the last with the regions that they are relative to."""
        logits: list[Tensor] = []
        results: dict[str, Tensor] = {}
        for stage in range(num_stages):
            rois = self._refined(stage - 1, results) if stage else rois
            results = self._bbox_forward(stage, x, rois)
            logits.append(results['cls_score'].to(compute_dtype(rois)))
        return torch.stack(logits).mean(0), results['bbox_pred'], results['rois']

    def forward(
        self, x: tuple[Tensor, ...], rpn_results_list: InstanceList, batch_data_samples: SampleList | None = None
    ) -> tuple[Tensor, Tensor]:
        """Raw predictions.

        Args:
            x: one ``(N, C, H_l, W_l)`` map a level.
            rpn_results_list: N instances with horizontal proposals ``bboxes`` ``(R, 4)``.
            batch_data_samples: part of mmdet's interface, without effect.

        Returns:
            Mean logits ``(R, C + 1)`` of the stages and codes of the last one.
        """
        rois = bbox2roi([proposals.bboxes for proposals in rpn_results_list])
        return self._through_stages(x, rois, self.num_stages)[:2]

    def predict_bbox(
        self,
        x: tuple[Tensor, ...],
        batch_img_metas: list[dict],
        rpn_results_list: InstanceList,
        rcnn_test_cfg: ConfigType,
        rescale: bool = False,
    ) -> InstanceList:
        """Detections of a batch.

        Args:
            x: one ``(N, C, H_l, W_l)`` map a level.
            batch_img_metas: N meta dicts; ``scale_factor`` (x, y) is needed for ``rescale``.
            rpn_results_list: N instances with horizontal proposals ``bboxes`` ``(R, 4)``.
            rcnn_test_cfg: see the class; with shared refinements ``num_stages`` may ask for more or fewer of them.
            rescale: return boxes in the original image instead of the network input.

        Returns:
            N instances with ``bboxes`` ``(K, 5)`` le90 in pixels and radians, ``scores`` ``(K,)``, ``labels`` ``(K,)``.

        Raises:
            ConfigError: if stages are asked for that were not built.
        """
        num_stages = rcnn_test_cfg.get('num_stages', self.num_stages)
        if num_stages < 2 or (num_stages != self.num_stages and not self.share_refinement_weights):
            raise ConfigError(
                f'test_cfg.rcnn.num_stages is {num_stages}; expected the {self.num_stages} stages of the head, or at '
                f'least 2 where share_refinement_weights=True'
            )
        proposals = [result.bboxes for result in rpn_results_list]
        rois, last = bbox2roi(proposals), self.bbox_head[-1]
        if rois.shape[0] == 0:
            options = dict(task_type='bbox', box_type='rbox', num_classes=last.num_classes)
            return empty_instances(batch_img_metas, rois.device, **options)
        counts = [boxes.shape[0] for boxes in proposals]
        logits, codes, rois = (part.split(counts) for part in self._through_stages(x, rois, num_stages))
        return last.predict_by_feat(rois, logits, codes, batch_img_metas, rcnn_test_cfg, rescale)


def _for_stages(name: str, values: Sequence, num_stages: int) -> list:
    """One value a stage: the last one given repeats."""
    values = list(values)
    if not 1 <= len(values) <= num_stages:
        raise ConfigError(f'{name} has {len(values)} entries; expected 1 to {num_stages}, the number of stages')
    return values + values[-1:] * (num_stages - len(values))
