"""Queries that hold a spoilt object and must find it again, or must see that they hold none.

Letters: N images, G objects of one image, D denoising queries, Q matching queries, C channels. A group holds a positive
and a negative query for each of K slots, K being the number of objects of the image that has most.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ...errors import ConfigError
from .batch_truth import BatchTruth
from .box_state import BoxState
from .flat_levels import Frame


class Denoising(NamedTuple):
    """Denoising queries of a batch, which stand in front of the matching queries.

    In a group come first the K positive queries, number k made from object k of the image, then the K negative ones.
    Slots without an object hold an empty box and bear no loss.

    Attributes:
        content: (N, D, C).
        states: (N, D, 5), see :class:`BoxState`.
        groups: number of groups.
        slots: K.
        truth: the objects that were taken, at most K an image.
    """

    content: Tensor
    states: Tensor
    groups: int
    slots: int
    truth: BatchTruth

    def mask(self, num_matching: int) -> Tensor | None:
        """(D + Q, D + Q) bool, true where row i must not see column j; None without denoising queries.

        Each group sees itself and the matching queries; these see only one another.
        """
        if not self.states.shape[1]:
            return None
        device = self.states.device
        group = torch.arange(self.groups, device=device).repeat_interleave(2 * self.slots)
        group = torch.cat([group, torch.full((num_matching,), -1, device=device)])
        return (group[:, None] != group) & (group >= 0)


class ContrastiveDenoising(nn.Module):
    """Makes denoising queries from the truth, as in "DINO" https://arxiv.org/abs/2203.03605, for oriented boxes.

    Centres and sides are spoilt along the axes of the box itself. With a noise scale s, a centre moves by less than
    s / 2 of either side along that side, and a side grows or shrinks by less than s / 2 of itself; for negative queries
    all four by s / 2 to s. Angles are left alone unless asked: a small error of the angle takes an elongated box off
    its object, and is nothing for a square.

    Args:
        num_classes: foreground classes.
        embed_dims: C.
        num_dn_queries: how many positive queries a batch should have an image; sets the number of groups. An image with
            more objects than this trains on as many of them, chosen at random each time.
        max_groups: bound of the number of groups.
        label_noise_scale: twice the share of labels that are replaced by random ones.
        box_noise_scale: s, in [0, 1].
        angle_noise: largest error of the angle of a positive query in radians; up to twice as much for a negative one.

    Raises:
        ConfigError: when a number is out of range.
    """

    def __init__(
        self,
        num_classes: int,
        embed_dims: int,
        num_dn_queries: int = 100,
        max_groups: int = 30,
        label_noise_scale: float = 0.5,
        box_noise_scale: float = 1.0,
        angle_noise: float = 0.0,
    ) -> None:
        super().__init__()
        for name, count in (('num_dn_queries', num_dn_queries), ('max_groups', max_groups)):
            if count < 1:
                raise ConfigError(f'{name} is {count}; expected at least 1')
        for name, scale in (('label_noise_scale', label_noise_scale), ('box_noise_scale', box_noise_scale)):
            if not 0 <= scale <= 1:
                raise ConfigError(f'{name} is {scale}; expected a number in [0, 1]')
        if angle_noise < 0:
            raise ConfigError(f'angle_noise is {angle_noise}; expected radians, 0 or more')
        self.num_classes, self.num_dn_queries, self.max_groups = num_classes, num_dn_queries, max_groups
        self.label_noise_scale, self.box_noise_scale = label_noise_scale, box_noise_scale
        self.angle_noise = angle_noise
        self.label_embedding = nn.Embedding(num_classes, embed_dims)

    def forward(self, truth: BatchTruth, frame: Frame) -> Denoising:
        """Denoising queries of the objects of N images; none where no image has any."""
        truth = self.chosen(truth, frame)
        slots = max(truth.counts)
        groups = min(self.max_groups, max(1, self.num_dn_queries // max(1, slots)))
        boxes = pad_sequence([image.bboxes for image in truth.instances], batch_first=True)  # (N, K, 5)
        labels = pad_sequence([image.labels for image in truth.instances], batch_first=True)
        boxes = boxes[:, None, None].expand(-1, groups, 2, -1, -1)
        labels = labels[:, None, None].expand(-1, groups, 2, -1)
        with torch.autocast(boxes.device.type, enabled=False):
            states = BoxState.from_boxes(self.spoilt_boxes(boxes).flatten(1, 3), frame.img_shapes)
        states = torch.cat([states[..., :4].clamp(0, 1), states[..., 4:]], -1)
        content = self.label_embedding(self.spoilt_labels(labels).flatten(1))
        return Denoising(content, states, groups, slots, truth)

    def chosen(self, truth: BatchTruth, frame: Frame) -> BatchTruth:
        """The truth, of crowded images a random part."""
        if max(truth.counts) <= self.num_dn_queries:
            return truth
        instances = []
        for image in truth.instances:
            kept = torch.randperm(len(image), device=image.labels.device)[: self.num_dn_queries]
            instances.append(image[kept] if len(image) > self.num_dn_queries else image)
        return BatchTruth.of(instances, [dict(img_shape=size) for size in frame.sizes])

    def spoilt_boxes(self, boxes: Tensor) -> Tensor:
        """Boxes (N, groups, 2, K, 5) in pixels with noise, the first of each pair less than the second."""
        noise = self._noise(boxes)
        half = boxes[..., 2:4] / 2
        x, y = (noise[..., :2] * self.box_noise_scale * half).unbind(-1)
        cos, sin = boxes[..., 4].cos(), boxes[..., 4].sin()
        centres = boxes[..., :2] + torch.stack([cos * x - sin * y, sin * x + cos * y], -1)
        sides = (boxes[..., 2:4] + noise[..., 2:4] * self.box_noise_scale * half).clamp(min=0)
        angles = boxes[..., 4:] + noise[..., 4:] * self.angle_noise
        return torch.cat([centres, sides, angles], -1)

    @staticmethod
    def _noise(like: Tensor) -> Tensor:
        """Sizes in [0, 1) for the first of each pair and [1, 2) for the second, with either sign."""
        second = torch.arange(2, device=like.device, dtype=like.dtype)[:, None, None]
        sign = torch.randint_like(like, 2) * 2 - 1
        return (torch.rand_like(like) + second) * sign

    def spoilt_labels(self, labels: Tensor) -> Tensor:
        """Labels of which some are replaced by random ones, which may be the right ones by chance."""
        replaced = torch.rand(labels.shape, device=labels.device) < self.label_noise_scale / 2
        return torch.where(replaced, torch.randint_like(labels, self.num_classes), labels)
