"""The last steps of a dense head: candidates of a level, the frame of the original image, suppression."""

from mmdet.models.utils import filter_scores_and_topk
from mmdet.utils import ConfigType
from mmengine.structures import InstanceData
from torch import Tensor

from ...errors import ConfigError
from ...geometry import canonicalize_rboxes
from ...ops import nms_rotated
from ...structures import RotatedBoxes


def check_test_cfg(cfg: ConfigType) -> None:
    """Refuse settings of suppression that :func:`oriented_results` would pass over without a word.

    Raises:
        ConfigError: If ``nms`` asks for anything but rotated suppression by a threshold.
    """
    nms = cfg.get('nms', {})
    unknown = set(nms) - {'type', 'iou_threshold'}
    if unknown or nms.get('type', 'nms_rotated') != 'nms_rotated':
        raise ConfigError(
            f"test_cfg.nms is {dict(nms)}; expected dict(type='nms_rotated', iou_threshold=...) and nothing else"
        )


def best_candidates(scores: Tensor, cfg: ConfigType) -> tuple[Tensor, Tensor, Tensor]:
    """The ``nms_pre`` best pairs of box and class of a level that reach ``score_thr``.

    Args:
        scores: ``(P, C)`` probabilities of the classes.
        cfg: ``test_cfg`` of the head.

    Returns:
        Scores, labels and rows of the candidates, each ``(K,)``.
    """
    kept = filter_scores_and_topk(scores, cfg.get('score_thr', 0.05), cfg.get('nms_pre', 1000))
    return kept[0], kept[1], kept[2]


def oriented_results(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    img_meta: dict,
    cfg: ConfigType,
    rescale: bool = False,
    with_nms: bool = True,
) -> InstanceData:
    """Detections of one image from the candidates of all levels.

    Args:
        boxes: ``(K, 5)`` boxes in pixels of the network's input and radians, in any form.
        scores: ``(K,)``.
        labels: ``(K,)`` int64.
        img_meta: metadata; ``scale_factor`` (x, y) is needed for ``rescale``.
        cfg: ``test_cfg`` of the head: ``nms=dict(iou_threshold)`` and ``max_per_img``.
        rescale: bring the boxes into the original image.
        with_nms: suppress duplicates, class by class, and keep the best ``max_per_img``.

    Returns:
        Instances with ``bboxes`` ``(D, 5)`` le90, ``scores`` ``(D,)`` and ``labels`` ``(D,)``.
    """
    boxes = canonicalize_rboxes(boxes)
    if rescale:
        scaled = RotatedBoxes(boxes)
        scaled.rescale_([1 / factor for factor in img_meta['scale_factor']])
        boxes = scaled.tensor
    if with_nms:
        order = nms_rotated(boxes, scores, cfg.get('nms', {}).get('iou_threshold', 0.1), labels=labels)
        order = order[: cfg.get('max_per_img', 2000)]
        boxes, scores, labels = boxes[order], scores[order], labels[order]
    return InstanceData(bboxes=boxes, scores=scores, labels=labels)
