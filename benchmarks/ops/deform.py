"""Deformable convolution against mmcv's and torchvision's compiled operators, where they are installed.

The ordinary convolution of the same size is listed as a lower bound: it samples nothing.
"""

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ops.case import Case, Run, backward_of
from stn_det.ops import deform_conv2d
from stn_det.ops.reference.deform_conv2d import deform_conv2d_reference


def cases() -> Iterator[Case]:
    """256 to 256 channels, 64 x 64 pixels, 3 x 3, padding 1: version 1 and 2, one image and four."""
    for images in (1, 4):
        for version, name in ((2, 'modulated '), (1, '')):
            shape = f'{name}3 x 3, {images} x 256 x 64 x 64'
            leaves = _inputs(images)[: 3 + (version == 2)]
            functions = _implementations(version)
            expected = functions['stn_det'](*leaves)
            for peer, function in functions.items():
                error = (function(*leaves) - expected).abs().max().item()
                if error > 1e-3 and peer != 'F.conv2d':
                    raise RuntimeError(f'{peer} and stn_det disagree by {error} on {shape}')
            with torch.no_grad():
                forward: dict[str, Run] = {peer: partial(f, *leaves) for peer, f in functions.items()}
                yield Case('deform_conv2d', shape, 'forward', forward)
            backward = {
                peer: backward_of(f, leaves if peer != 'F.conv2d' else leaves[::2][:2]) for peer, f in functions.items()
            }
            yield Case('deform_conv2d', shape, 'backward', backward)


def _inputs(images: int) -> list[Tensor]:
    """Input, offsets of some pixels, weight and mask."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(images, 256, 64, 64, generator=generator)
    offset = 2 * torch.randn(images, 18, 64, 64, generator=generator)
    weight = torch.randn(256, 256, 3, 3, generator=generator) / 48
    return [x, offset, weight, torch.rand(images, 9, 64, 64, generator=generator)]


def _implementations(version: int) -> dict:
    """Functions of (input, offset, weight[, mask]); the first is ours."""

    def ours(x: Tensor, offset: Tensor, weight: Tensor, mask: Tensor | None = None) -> Tensor:
        return deform_conv2d(x, offset, weight, padding=1, mask=mask)

    def plain(x: Tensor, offset: Tensor, weight: Tensor, mask: Tensor | None = None) -> Tensor:
        maps = x.permute(0, 2, 3, 1).contiguous()
        output = deform_conv2d_reference(maps, offset, weight, mask, (1, 1), (1, 1), (1, 1), 1, 1)
        return output.permute(0, 3, 1, 2).contiguous()

    def ordinary(x: Tensor, *rest: Tensor) -> Tensor:
        return F.conv2d(x, rest[1] if len(rest) > 1 else rest[0], padding=1)

    functions = {'stn_det': ours}
    try:
        import mmcv
        import mmcv.ops
    except ImportError:
        pass
    else:

        def of_mmcv(x: Tensor, offset: Tensor, weight: Tensor, mask: Tensor | None = None) -> Tensor:
            if mask is None:
                return mmcv.ops.deform_conv2d(x, offset, weight, 1, 1)
            return mmcv.ops.modulated_deform_conv2d(x, offset, mask, weight, None, 1, 1)

        functions[f'mmcv {mmcv.__version__}'] = of_mmcv
    try:
        import torchvision
        from torchvision.ops import deform_conv2d as deform_conv2d_of_torchvision
    except ImportError:
        pass
    else:

        def of_torchvision(x: Tensor, offset: Tensor, weight: Tensor, mask: Tensor | None = None) -> Tensor:
            return deform_conv2d_of_torchvision(x, offset, weight, padding=1, mask=mask)

        functions[f'torchvision {torchvision.__version__}'] = of_torchvision
    return {**functions, 'stn_det, plain PyTorch': plain, 'F.conv2d': ordinary}
