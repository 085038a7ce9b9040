"""The second stage of Oriented R-CNN."""

from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.utils import unpack_gt_instances
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.utils import InstanceList
from torch import Tensor

from .sampling import sample_regions


@MODELS.register_module()
class OrientedStandardRoIHead(StandardRoIHead):
    """Classifies and refines oriented proposals: the head of "Oriented R-CNN for Object Detection"
    https://arxiv.org/abs/2108.05699.

    mmdet's ``StandardRoIHead`` with ``RotatedSingleRoIExtractor`` and ``RotatedShared2FCBBoxHead``, without masks.
    Regions to ignore bear no loss where the assigner has an ``ignore_iof_thr``.

    Args:
        bbox_roi_extractor: config of the extractor.
        bbox_head: config of the head.
        train_cfg: ``assigner`` and ``sampler`` of oriented proposals.
        test_cfg: ``score_thr``, ``nms=dict(type='nms_rotated', iou_threshold)``, ``max_per_img``.
        init_cfg: weight initialisation.
    """

    def loss(
        self, x: tuple[Tensor, ...], rpn_results_list: InstanceList, batch_data_samples: SampleList
    ) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            x: one ``(N, C, H_l, W_l)`` map a level.
            rpn_results_list: N instances with proposals ``bboxes`` ``(R, 5)`` in pixels of the input.
            batch_data_samples: N samples with ``gt_instances`` and, if there are any, ``ignored_instances``.

        Returns:
            ``loss_cls`` and ``loss_bbox``.
        """
        truths, ignores, _ = unpack_gt_instances(batch_data_samples)
        samples = [
            sample_regions(self.bbox_assigner, self.bbox_sampler, proposals.bboxes, truth, ignore)
            for proposals, truth, ignore in zip(rpn_results_list, truths, ignores)
        ]
        losses: dict[str, Tensor] = self.bbox_loss(x, samples)['loss_bbox']
        return losses
