"""What a query of a detection transformer holds of its box, and how a step changes it.

Letters: N images, Q queries, L levels; W and H the size of the image without padding, D = sqrt(W^2 + H^2) its diagonal,
all in pixels of the network's input.
"""

import math
from collections.abc import Sequence

import torch
from mmdet.models.layers import inverse_sigmoid
from torch import Tensor

from ...checks import compute_dtype
from ...errors import ConfigError, InputError
from ...geometry import normalize_angle

ANGLE_MODES = ('periodic', 'sigmoid')
Sizes = Sequence[tuple[int, ...]] | Tensor


class BoxState:
    """A box as fractions (cx / W, cy / H, w / D, h / D) and an angle that goes around.

    Sides are measured in diagonals: any box inside the image fits, and a box that turns keeps its w and h, also in an
    image that is not square. Centre and sides are refined behind a sigmoid, as in "Deformable DETR"
    https://arxiv.org/abs/2010.04159. The angle is refined on its circle instead: a step of at most ``max_step``, then
    back into [-pi/2, pi/2) by whole periods of pi, so there is no seam to stop at. Everything is computed in float32 at
    least, outside of autocast.

    Args:
        angle_mode: 'periodic' as above; 'sigmoid' treats theta / pi + 1/2 like the other four numbers, as many
            detectors do, and cannot cross the seam: for comparison.
        max_step: bound of a step of the angle in radians, in (0, pi]; or one for each decoder layer.

    Raises:
        ConfigError: for another mode, or a bound out of range.
    """

    def __init__(self, angle_mode: str = 'periodic', max_step: float | Sequence[float] = math.pi / 2) -> None:
        if angle_mode not in ANGLE_MODES:
            raise ConfigError(f'angle_mode is {angle_mode!r}; expected one of {ANGLE_MODES}')
        steps = tuple(max_step) if isinstance(max_step, Sequence) else (max_step,)
        if not steps or not all(0 < step <= math.pi for step in steps):
            raise ConfigError(f'max_step is {max_step}; expected radians in (0, pi], one or one for each decoder layer')
        self.angle_mode = angle_mode
        self.max_step = steps[0] if not isinstance(max_step, Sequence) else steps

    def step_of(self, layer: int | None) -> float:
        """Bound of the step of a decoder layer, radians; of None, which starts from no angle at all, pi / 2.

        Raises:
            ConfigError: when there are bounds for fewer layers.
        """
        if layer is None:
            return math.pi / 2
        if isinstance(self.max_step, float | int):
            return self.max_step
        if layer >= len(self.max_step):
            raise ConfigError(
                f'max_step has {len(self.max_step)} entries and decoder layer {layer} asks for its own; expected one '
                f'for each layer'
            )
        return self.max_step[layer]

    def refine(self, reference: Tensor, delta: Tensor, layer: int | None = None) -> Tensor:
        """The state after a step.

        Args:
            reference: (..., 5) states, or (..., 2) points (cx / W, cy / H), which stand for upright boxes of half a
                diagonal.
            delta: (..., 5) what a layer predicts, unbounded.
            layer: number of the decoder layer; None for proposals of an encoder.

        Returns:
            (..., 5) states, differentiable to both.
        """
        with torch.autocast(delta.device.type, enabled=False):
            dtype = compute_dtype(reference, delta)
            reference, delta = self.start(reference.to(dtype)), delta.to(dtype)
            box = (inverse_sigmoid(reference[..., :4]) + delta[..., :4]).sigmoid()
            return torch.cat([box, self._turned(reference[..., 4:], delta[..., 4:], layer)], -1)

    @staticmethod
    def start(reference: Tensor) -> Tensor:
        """States (..., 5) where they are states, or those of points (..., 2): half a diagonal each side, upright."""
        if reference.shape[-1] == 5:
            return reference
        if reference.shape[-1] != 2:
            raise InputError(
                f'reference has shape {tuple(reference.shape)}, expected (..., 5) states or (..., 2) points'
            )
        half = torch.full_like(reference, 0.5)
        return torch.cat([reference, half, torch.zeros_like(reference[..., :1])], -1)

    def _turned(self, theta: Tensor, delta: Tensor, layer: int | None) -> Tensor:
        if self.angle_mode == 'sigmoid':
            fraction = (inverse_sigmoid(theta / math.pi + 0.5) + delta).sigmoid()
            return (fraction - 0.5) * math.pi
        return normalize_angle(theta + self.step_of(layer) * delta.tanh())

    @staticmethod
    def boxes(reference: Tensor, img_shapes: Sizes) -> Tensor:
        """Boxes (..., N, Q, 5) in pixels and radians of states of the same shape.

        Args:
            reference: states of N images; dimensions in front, such as layers, are kept.
            img_shapes: N sizes (H, W) of the images without padding, or a tensor (N, 2) of them.
        """
        scale = _scale(reference, img_shapes)
        return torch.cat([reference[..., :4] * scale, reference[..., 4:]], -1)

    @staticmethod
    def from_boxes(boxes: Tensor, img_shapes: Sizes) -> Tensor:
        """States (..., N, Q, 5) of boxes of the same shape in pixels and radians: the inverse of :meth:`boxes`.

        A box outside of its image gives numbers outside of [0, 1].
        """
        scale = _scale(boxes, img_shapes)
        return torch.cat([boxes[..., :4] / scale, normalize_angle(boxes[..., 4:])], -1)

    @staticmethod
    def level_references(reference: Tensor, img_shapes: Sizes, batch_shape: tuple[int, int], num_levels: int) -> Tensor:
        """References (N, Q, L, 5 or 2) for :func:`stn_det.ops.ms_deform_attn_fused`, fractions of the padded input.

        The operator turns offsets in pixels of a level, and a level covers the padded input: centres become (cx W / Wb,
        cy H / Hb), sides (w D / Wb, h D / Hb), the same for all levels.

        Args:
            reference: (N, Q, 5) states or (N, Q, 2) points.
            img_shapes: N sizes (H, W) of the images without padding, or a tensor (N, 2) of them.
            batch_shape: size (Hb, Wb) of the padded input.
            num_levels: L.
        """
        height, width = batch_shape
        scale = _scale(reference, img_shapes) / reference.new_tensor([width, height, width, height])
        if reference.shape[-1] == 2:
            scaled = reference * scale[..., :2]
        else:
            scaled = torch.cat([reference[..., :4] * scale, reference[..., 4:]], -1)
        return scaled[:, :, None].expand(-1, -1, num_levels, -1)


def _scale(like: Tensor, img_shapes: Sizes) -> Tensor:
    """W, H, D, D of each image as (N, 1, 4), in dtype and on the device of states (..., N, Q, 5)."""
    if isinstance(img_shapes, Tensor):
        sizes = img_shapes.to(like)
    else:
        sizes = like.new_tensor([tuple(shape[:2]) for shape in img_shapes])
    if sizes.dim() != 2 or like.dim() < 3 or sizes.shape[0] != like.shape[-3]:
        raise InputError(
            f'img_shapes has shape {tuple(sizes.shape)} for states of shape {tuple(like.shape)}; expected one (H, W) '
            f'for each of the N images of (..., N, Q, 5)'
        )
    diagonal = sizes.norm(dim=1, keepdim=True)
    return torch.cat([sizes.flip(1), diagonal, diagonal], 1)[:, None]
