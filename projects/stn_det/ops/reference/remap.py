"""Images read at given points in plain PyTorch, on any device."""

import torch
from torch import Tensor

from stn_det.ops.reference.warp_sample import sample_points


def remap_reference(input: Tensor, points: Tensor, mode: str, padding_mode: str) -> Tensor:
    """:func:`stn_det.ops.remap` after its checks; points (N, h, w, 2), as many as images."""
    images, channels = input.shape[:2]
    out_size = points.shape[1], points.shape[2]
    if input.numel() == 0 or points.numel() == 0:
        nothing = input.flatten()[:0].sum() + points.flatten()[:0].sum()  # gives both a gradient
        return nothing.to(input.dtype).expand(images, channels, *out_size).clone()
    flat = points.double().reshape(-1, 2)
    valid = flat.isfinite().all(1)
    x, y = torch.where(valid[:, None], flat - 0.5, 0.0).unbind(1)
    image = torch.arange(images, device=input.device).repeat_interleave(out_size[0] * out_size[1])
    output = sample_points(input, image, x, y, valid, torch.ones_like(image), mode, padding_mode)
    return output.view(images, *out_size, channels).permute(0, 3, 1, 2).contiguous()
