"""Any detector behind a spatial transformer: images are brought into a common view, detections back."""

from typing import Any

import torch
from mmdet.models.detectors.base import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from mmengine.structures import InstanceData
from torch import Tensor

from ...errors import ConfigError
from ...geometry import scaling
from ...geometry.warp import MatrixWarp, Warp
from ..auxiliary import auxiliary_losses
from ..stn.gradient import scale_gradient
from ..stn.signals import View
from ..stn.truth import frame_of_warp, transform_truth
from ..warped_samples import warp_boxes
from .aligned_single_stage import AlignedSingleStageDetector


@MODELS.register_module()
class STNDetector(BaseDetector):
    """Wraps a detector of mmdet: warps its images, moves labels forward by the detached warp, predictions exactly back.

    The transformer acts on the image and not on features, whose channels a turn would mix ("Understanding when spatial
    transformer networks do not support invariance, and what to do about it", https://arxiv.org/abs/2004.11678). The
    figures ``stn_rotation`` (degrees), ``stn_scale``, ``stn_coverage`` and ``stn_lost`` (objects whose centre left the
    frame, a batch) are logged with the losses; :class:`stn_det.engine.hooks.WarpGuardHook` watches them.

    Args:
        detector: Config of the detector; its ``data_preprocessor`` is used if none is given here.
        transformer: Config of the :class:`SpatialTransformer`.
        signals: Configs of what teaches the pose, see :mod:`stn_det.models.stn.signals`.
        share_layers: Give the localiser this output of the detector's backbone, run on the thumbnail, instead of the
            thumbnail; None for its own branch. Its ``in_channels`` must be that output's.
        detection_gradient: Factor on what the loss of the detector teaches the transformer; 0 for nothing. Unscaled it
            is many times that of the signals, and drives parameters into their limits, where they stay.
        hbox_rule: How horizontal boxes are moved, see :meth:`Warp.transform_hboxes`.
        data_preprocessor: Config of the data preprocessor.
        init_cfg: Weight initialisation.

    Raises:
        ConfigError: If two data preprocessors are given, what is wrapped has no backbone to share, or the factor is
            negative.
    """

    def __init__(
        self,
        detector: ConfigType,
        transformer: ConfigType,
        signals: list[ConfigType] | None = None,
        share_layers: int | None = None,
        detection_gradient: float = 0.1,
        hbox_rule: str = 'ellipse',
        data_preprocessor: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        detector = dict(detector)
        inner = detector.pop('data_preprocessor', None)
        if inner is not None and data_preprocessor is not None and inner != data_preprocessor:
            raise ConfigError(
                'data_preprocessor is given for STNDetector and for the detector inside, with different values; '
                'expected one: leave out that of the detector'
            )
        super().__init__(data_preprocessor=inner if data_preprocessor is None else data_preprocessor, init_cfg=init_cfg)
        self.detector = MODELS.build(detector)
        with torch.random.fork_rng(devices=[]):  # the detector is started as it would be without a transformer
            self.transformer = MODELS.build(transformer)
        self.signals = torch.nn.ModuleList(MODELS.build(signal) for signal in signals or ())
        if share_layers is not None and not hasattr(self.detector, 'backbone'):
            raise ConfigError(
                f'share_layers is {share_layers}, but {type(self.detector).__name__} has no backbone; expected None'
            )
        if not detection_gradient >= 0:
            raise ConfigError(f'detection_gradient is {detection_gradient!r}, expected a factor of 0 or more')
        self.share_layers = share_layers
        self.detection_gradient = detection_gradient
        self.hbox_rule = hbox_rule

    @property
    def with_neck(self) -> bool:
        """Whether the detector inside has a neck."""
        return bool(self.detector.with_neck)

    def loss(self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample]) -> dict[str, Any]:
        """Losses of the detector in the common view, those of the signals, and figures of the warps.

        Args:
            batch_inputs: (N, C, H, W), normalised.
            batch_data_samples: N samples with truth in network-input pixels.

        Returns:
            Losses and figures by name.
        """
        transformed = self.transformer(batch_inputs, self.features)
        warp, images = transformed.warp.detach(), transformed.images
        moved, lost = self._moved_truth(batch_data_samples, warp)
        losses = self.detector.loss(scale_gradient(images, self.detection_gradient), moved)
        if not isinstance(self.detector, AlignedSingleStageDetector):  # which asks its parts itself
            losses.update(auxiliary_losses(self.detector, moved))
        if self.signals:
            pose = self._estimate(batch_inputs) if self.transformer.frozen else tuple(transformed)[1:4]
            view = View(batch_inputs, batch_data_samples, *pose, self._estimate, self.transformer.thumbnail)
            for signal in self.signals:
                losses.update(signal(view))
        losses.update(_figures(warp), stn_lost=lost)
        return dict(losses)

    def predict(
        self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample], rescale: bool = True
    ) -> list[DetDataSample]:
        """Detections in the frame of the images that came in.

        Args:
            batch_inputs: (N, C, H, W), normalised.
            batch_data_samples: N samples; ``pred_instances`` are set.
            rescale: Return boxes in the original image, by ``scale_factor``, instead of the network input.

        Returns:
            The samples. ``stn_matrix`` in their meta data is the warp's matrix (3, 3) in network-input pixels, where it
            has one.
        """
        transformed = self.transformer(batch_inputs, self.features)
        warp = transformed.warp.detach()
        views = [frame_of_warp(sample, warp) for sample in batch_data_samples]
        results = self.detector.predict(transformed.images, views, rescale=False)
        back = warp.inverse()
        for i, (sample, result) in enumerate(zip(batch_data_samples, results)):
            to_image = self._rescaled(back[i], sample) if rescale else back[i]
            sample.pred_instances = self._bring_back(result.pred_instances, to_image)
            if isinstance(warp, MatrixWarp):
                sample.set_metainfo(dict(stn_matrix=warp.dst_from_src[i].cpu().numpy()))
        return batch_data_samples

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """Features (N, C_l, H_l, W_l) of the detector in the common view."""
        return self.detector.extract_feat(self.transformer(batch_inputs, self.features).images)

    def _forward(self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample] | None = None) -> Any:
        return self.detector._forward(self.transformer(batch_inputs, self.features).images, batch_data_samples)

    @property
    def features(self) -> Any:
        """What the localiser is given in place of a thumbnail, a function of it; None for the thumbnail itself."""
        if self.share_layers is None:
            return None
        return lambda thumbnail: self.detector.backbone(thumbnail)[self.share_layers]

    def _moved_truth(self, samples: list[DetDataSample], warp: Warp) -> tuple[list[DetDataSample], Tensor]:
        """Samples in the common view, and how many objects left the frame; as they came while nothing is warped."""
        if self.transformer.frozen:
            return samples, torch.zeros((), device=warp.device)
        moved, lost = zip(*(transform_truth(sample, warp[i], self.hbox_rule) for i, sample in enumerate(samples)))
        return list(moved), torch.stack(lost).sum().float()

    def _estimate(self, images: Tensor) -> Any:
        return self.transformer.estimate(images, self.features)

    @staticmethod
    def _rescaled(back: Warp, sample: DetDataSample) -> Warp:
        """From the common view to the original image in one map, so that boxes are fitted once."""
        x, y = sample.metainfo['scale_factor']
        matrix = scaling(1 / x, 1 / y).to(back.device)[None]
        return MatrixWarp(matrix, back.dst_size) @ back

    def _bring_back(self, instances: InstanceData, to_image: Warp) -> InstanceData:
        """Instances whose boxes a warp of one map has moved; what lies behind a horizon is left out."""
        if 'masks' in instances:
            raise ConfigError('the detector predicts masks, which STNDetector does not bring back; expected boxes only')
        boxes = warp_boxes(get_box_tensor(instances.bboxes), to_image, self.hbox_rule)
        seen = boxes.isfinite().all(-1)
        instances = instances[seen]
        instances.bboxes = boxes[seen]
        return instances


def _figures(warp: Warp) -> dict[str, Tensor]:
    """Figures for the log: mean turn at the centre in degrees and mean scale, without sign; mean coverage."""
    center = warp.frame_points(1)
    linear = warp.local_matrices(center)[:, 0, :2, :2]
    turn = torch.atan2(linear[:, 1, 0] - linear[:, 0, 1], linear[:, 0, 0] + linear[:, 1, 1])
    return dict(
        stn_rotation=torch.rad2deg(turn).abs().mean().float(),
        stn_scale=(warp.log_det(1) / 2).exp().mean().float(),
        stn_coverage=warp.coverage().mean().float(),
    )
