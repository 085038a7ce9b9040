"""Pictures of what queries of a detection transformer sample.

Letters: Q queries, G heads, L levels, K points of each head and level.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn

from .. import mmcv_bridge  # noqa: F401  mmdet, which the models import, needs it in place before
from ..errors import ConfigError, ImageError, InputError
from ..geometry import rbox_to_qbox
from ..models.layers import BoxState, RotatedDeformableAttention, record_sampling
from ..visualization.attention import QueryAttention, attention_sheet, draw_query_attention
from ..visualization.files import save_image
from .predictor import Predictor


@dataclass(frozen=True)
class LayerView:
    """What all queries sampled in one decoder layer, in pixels of the network's input.

    Attributes:
        points: (Q, G, L, K, 2) x and y.
        weights: (Q, G, L, K).
        references: (Q, 5) rboxes or (Q, 2) points that the layer looked from.
        boxes: (Q, 5) rboxes that it made of them.
        scores: (Q, classes) in [0, 1].
        layer: number of the layer.
    """

    points: Tensor
    weights: Tensor
    references: Tensor
    boxes: Tensor
    scores: Tensor
    layer: int


@dataclass(frozen=True)
class AttentionPicture:
    """A picture that was written."""

    path: Path
    """The file."""
    layer: int
    """Number of the decoder layer."""
    queries: tuple[int, ...]
    """Numbers of the queries, in the order of the picture."""
    captions: tuple[str, ...]
    """What is written above each: layer, query, class, score, largest weight."""


def draw_attention(
    config: str | Path | Config,
    checkpoint: str | Path,
    image: str | Path,
    out: str | Path = 'attention.png',
    *,
    layer: int = -1,
    queries: Sequence[int] | None = None,
    best: int = 1,
    score_thr: float = 0.0,
    color_by: str = 'weight',
    zoom: bool = False,
    cfg_options: Mapping[str, Any] | Sequence[str] | None = None,
    allow_new: bool = False,
    device: str | None = None,
) -> AttentionPicture:
    """Draw where queries look, and how much they attend to what they find, on an image.

    Args:
        config: of a detector whose decoder has :class:`~stn_det.models.RotatedDeformableAttention`.
        checkpoint: its weights.
        image: an image file.
        out: PNG or JPEG to write.
        layer: decoder layer, from 0; negative ones count from the last.
        queries: numbers of queries; None takes the ``best`` by score in this layer.
        best: so many queries, if ``queries`` is None.
        score_thr: leave out those of the best with a lower score.
        color_by: 'weight' or 'head', see :func:`~stn_det.visualization.draw_query_attention`.
        zoom: show the surroundings of each query alone, enlarged.
        cfg_options: overrides, see :func:`~stn_det.apis.load_config`.
        allow_new: let an override add a key.
        device: 'cpu', 'cuda', 'cuda:1'; None takes the first GPU, else the CPU.

    Returns:
        What was drawn, and where.

    Raises:
        ConfigError: when the config cannot be used, or its model has no such decoder.
        InputError: when checkpoint, layer or queries do not fit, or no query reaches the score.
        ImageError: when the image cannot be read.
    """
    predictor = Predictor(config, checkpoint, device=device, cfg_options=cfg_options, allow_new=allow_new)
    packed = predictor.pipeline({'img_path': str(image), 'img_id': 0})
    view = view_layer(predictor.model, packed, layer)
    chosen = choose_queries(view, queries, best, score_thr)
    pixels = _read(Path(image))
    scale = np.array(packed['data_samples'].metainfo.get('scale_factor', (1.0, 1.0)), dtype=np.float64)[:2]
    shown = [_in_image(view, query, scale, predictor.classes) for query in chosen]
    pictures = [draw_query_attention(pixels, query, color_by, zoom) for query in shown]
    path = save_image(out, attention_sheet(pictures))
    return AttentionPicture(path, view.layer, tuple(chosen), tuple(query.caption for query in shown))


@torch.inference_mode()
def view_layer(model: Any, packed: Mapping[str, Any], layer: int = -1) -> LayerView:
    """Run a detector on one image and keep what a decoder layer sampled.

    Args:
        model: in evaluation mode; with ``mode='tensor'`` it returns class logits (layers, 1, Q, classes) and states
            (layers, 1, Q, 5) of :class:`~stn_det.models.layers.BoxState`.
        packed: ``inputs`` and ``data_samples`` of one image, as the pipeline packs them.
        layer: decoder layer, from 0; negative ones count from the last.

    Raises:
        ConfigError: when no decoder layer has :class:`~stn_det.models.RotatedDeformableAttention`.
        InputError: when there is no such layer.
    """
    name, number = _attention_name(model, layer)
    batch = model.data_preprocessor(dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']]), False)
    sample = batch['data_samples'][0].metainfo
    references: list[Tensor] = []
    hook = model.get_submodule(name).register_forward_pre_hook(
        lambda _, args, kwargs: references.append(kwargs['reference_points']), with_kwargs=True
    )
    try:
        with record_sampling(model) as records:
            logits, states = model(batch['inputs'], batch['data_samples'], mode='tensor')
    finally:
        hook.remove()
    height, width = sample['batch_input_shape']
    size = states.new_tensor([width, height])
    sampled, reference = records[name][0], references[0][0, :, 0].float()
    to_pixels = torch.cat([size, size, torch.ones_like(size[:1])])  # the angle stays
    return LayerView(
        points=sampled.locations[0].float() * size,
        weights=sampled.weights[0].float(),
        references=reference * to_pixels[: reference.shape[1]],
        boxes=BoxState.boxes(states[number], [sample['img_shape']])[0],
        scores=logits[number, 0].float().sigmoid(),
        layer=number,
    )


def choose_queries(view: LayerView, queries: Sequence[int] | None, best: int, score_thr: float) -> list[int]:
    """Numbers of the queries to draw: those given, or the best.

    Raises:
        InputError: for a number out of range, fewer than one, or if none of the best reaches the score.
    """
    scores = view.scores.amax(1)
    if queries is not None:
        wrong = [query for query in queries if not 0 <= query < len(scores)]
        if wrong or not queries:
            raise InputError(f'queries are {list(queries)}; expected numbers from 0 to {len(scores) - 1}')
        return list(queries)
    if best < 1:
        raise InputError(f'best is {best}; expected 1 or more')
    order = scores.argsort(descending=True, stable=True)[:best]
    kept: list[int] = order[scores[order] >= score_thr].tolist()
    if not kept:
        raise InputError(
            f'no query of layer {view.layer} has a score of {score_thr}; the best has {scores.max():.3f}. Lower '
            f'score_thr, or name queries'
        )
    return kept


def _attention_name(model: nn.Module, layer: int) -> tuple[str, int]:
    """Name and number of the attention on the features in a decoder layer."""
    names = [
        name
        for name, part in model.named_modules()
        if isinstance(part, RotatedDeformableAttention) and 'decoder' in name.split('.')
    ]
    if not names:
        raise ConfigError(
            f'{type(model).__name__} has no RotatedDeformableAttention in a decoder; expected a detection transformer '
            f'such as RotatedDeformableDETR or RotatedDINO'
        )
    if not -len(names) <= layer < len(names):
        raise InputError(f'layer is {layer}; the decoder has layers 0 to {len(names) - 1}, negative from the last')
    return names[layer], layer % len(names)


def _in_image(view: LayerView, query: int, scale: np.ndarray, classes: Sequence[str]) -> QueryAttention:
    """What a query sampled, in pixels of the image before it was resized by ``scale`` (2,)."""

    def corners(box: Tensor) -> np.ndarray:
        quad = rbox_to_qbox(box[None].double().cpu())[0].numpy()
        return (quad.reshape(4, 2) / scale).reshape(8)

    reference = view.references[query]
    score, label = view.scores[query].max(0)
    weights = view.weights[query].cpu().numpy()
    return QueryAttention(
        points=view.points[query].double().cpu().numpy() / scale,
        weights=weights,
        reference=reference.double().cpu().numpy() / scale if len(reference) == 2 else corners(reference),
        box=corners(view.boxes[query]),
        caption=f'layer {view.layer}, query {query}: {classes[int(label)]} {float(score):.2f}, '
        f'largest weight {weights.max():.2f}',
    )


def _read(path: Path) -> np.ndarray:
    """The image (H, W, 3) RGB."""
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ImageError(f'image {path} cannot be read as it could a moment ago.')
    return np.ascontiguousarray(pixels[..., ::-1])
