"""Where the points of deformable attention lie: three models, and points captured from a layer.

``init``: as Deformable DETR starts, K points on a ray of each head, 1 to K pixels long by their larger coordinate.
``init + 2 px``: the same and normal noise of two pixels, a model of a trained layer. ``reference + 2 px``: the noise
alone. ``anywhere``: uniform over the level, the worst for caches.

None of them is a trained layer. No capture comes with this repository, for it would take trained weights; to make one::

    with CapturePoints() as capture, torch.no_grad():
        model(images)  # any that runs stn_det's compiled attention, such as mmdet's deformable models with the bridge
    capture.save('points.pt', 0, 'Deformable DETR R50, encoder layer 1, one image of DOTA val')

and give the file to ``ops_cuda.py --points points.pt``.
"""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ops.attention import Sizes, locate

PATTERNS = ('init + 2 px', 'init', 'reference + 2 px', 'anywhere')
NOISE = 2.0  # pixels
KEYS = ('spatial_shapes', 'sampling_locations', 'attention_weights', 'source')


@dataclass(frozen=True)
class Shape:
    """Levels, queries (None: every position is one, as in an encoder), images, heads, channels a head, points."""

    name: str
    sizes: Sizes
    queries: int | None
    images: int
    heads: int = 8
    channels: int = 32
    points: int = 4

    @property
    def text(self) -> str:
        """Name, images, and what differs from 8 heads of 32 channels and 4 points."""
        parts = [self.name, f'N = {self.images}']
        if (self.heads, self.channels) != (8, 32):
            parts.append(f'{self.heads} heads of {self.channels}')
        if self.points != 4:
            parts.append(f'{self.points} points')
        return ', '.join(parts)


@dataclass(frozen=True)
class Queries:
    """References (N, Q, L, 2), offsets (N, Q, G, L, K, 2) in pixels and logits (N, Q, G, L * K), all float32."""

    sizes: Sizes
    references: Tensor
    offsets: Tensor
    logits: Tensor


def draw(shape: Shape, pattern: str, device: str) -> Queries:
    """Queries of a shape with points after a pattern, the same in each run on the same kind of device."""
    generator = torch.Generator(device).manual_seed(0)
    levels = len(shape.sizes)
    if shape.queries is None:
        centres = torch.cat([_centres(height, width, device) for height, width in shape.sizes])
        references = centres.expand(shape.images, -1, -1)
    else:
        references = torch.rand(shape.images, shape.queries, 2, generator=generator, device=device)
    references = references[:, :, None].expand(-1, -1, levels, -1).contiguous()
    queries = references.shape[1]
    size = (shape.images, queries, shape.heads, levels, shape.points, 2)
    if pattern == 'anywhere':
        pixels = torch.tensor(shape.sizes, device=device).flip(1).float()[:, None]
        places = torch.rand(size, generator=generator, device=device)
        offsets = (places - references[:, :, None, :, None]) * pixels
    else:
        offsets = torch.zeros(size, device=device)
        if pattern != 'reference + 2 px':
            offsets += _rays(shape.heads, shape.points, device)
        if pattern != 'init':
            offsets += NOISE * torch.randn(size, generator=generator, device=device)
    logits = torch.randn(*size[:3], levels * shape.points, generator=generator, device=device)
    return Queries(shape.sizes, references, offsets, logits)


def _centres(height: int, width: int, device: str) -> Tensor:
    """Centres (H * W, 2) of the pixels of a level, as (x, y) in fractions of it."""
    y, x = (torch.arange(height, device=device) + 0.5) / height, (torch.arange(width, device=device) + 0.5) / width
    return torch.stack(torch.meshgrid(x, y, indexing='xy'), -1).reshape(-1, 2)


def _rays(heads: int, points: int, device: str) -> Tensor:
    """(G, 1, K, 2): directions all round, the k-th point k pixels away by its larger coordinate."""
    angle = torch.arange(heads, device=device) * (2 * torch.pi / heads)
    ray = torch.stack([angle.cos(), angle.sin()], -1)
    ray = ray / ray.abs().amax(-1, keepdim=True)
    return ray[:, None, None] * torch.arange(1, points + 1, device=device).view(1, 1, -1, 1)


def load(path: Path, device: str) -> tuple[Queries, str]:
    """Captured points as queries whose references are (0, 0), and where they come from.

    Raises:
        ValueError: for a file that :class:`CapturePoints` did not write.
    """
    try:
        saved = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f'{path} is no file of tensors; see CapturePoints') from error
    if not isinstance(saved, dict) or not set(KEYS) <= set(saved):
        found = sorted(saved) if isinstance(saved, dict) else type(saved).__name__
        raise ValueError(f'{path} holds {found}, expected {", ".join(KEYS)}; see CapturePoints')
    places, weights = saved['sampling_locations'].float(), saved['attention_weights'].float()
    sizes = saved['spatial_shapes'].tolist()
    size = saved['spatial_shapes'].flip(1).float()[:, None]
    references = places.new_zeros(*places.shape[:2], len(sizes), 2)
    logits = weights.clamp(min=torch.finfo(torch.float32).tiny).log().flatten(3)
    return Queries(sizes, references, places * size, logits), saved['source']


class CapturePoints(TorchDispatchMode):
    """Notes where the points of every compiled attention of stn_det lie that runs below it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[dict[str, Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Note the arguments of an attention and run it."""
        if func is torch.ops.stn_det.ms_deform_attn.default:
            self._note(args[1], args[3], args[4])
        elif func is torch.ops.stn_det.ms_deform_attn_fused.default:
            _, shapes, _, references, offsets, logits = args
            self._note(shapes, locate(references, offsets, shapes), logits.softmax(-1).view(offsets.shape[:-1]))
        return func(*args, **(kwargs or {}))

    def _note(self, shapes: Tensor, places: Tensor, weights: Tensor) -> None:
        values = (part.detach().cpu() for part in (shapes, places, weights))
        self.calls.append(dict(zip(KEYS, values)))

    def save(self, path: Path | str, call: int, source: str) -> None:
        """Write one of the calls, counted from 0, and where it comes from: model, weights, layer, images."""
        if not 0 <= call < len(self.calls):
            raise ValueError(f'call {call} of {len(self.calls)} attentions that ran under the capture')
        torch.save({**self.calls[call], 'source': source}, path)
