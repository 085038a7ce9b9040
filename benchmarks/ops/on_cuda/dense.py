"""Deformable convolution and warps of images on a GPU."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ops.on_cuda.attention import KINK, Peers
from ops.on_cuda.case import Case, Contender, differentiate
from ops.on_cuda.compiled import compiled
from ops.on_cuda.counts import Work, bytes_of, count_corners, product_operations, sampling_work
from ops.on_cuda.peers import Adapter, installed
from ops.warp import on_affine_grid, on_grid
from stn_det import ops
from stn_det.ops.reference.deform_conv2d import deform_conv2d_reference
from stn_det.ops.reference.remap import remap_reference
from stn_det.ops.reference.warp_sample import warp_sample_reference

ONE = (1, 1)


def convolution_case(images: int, channels: int, size: int, dtype: torch.dtype, device: str, peers: Peers) -> Case:
    """Version 2, 3 x 3, padding 1, as many channels out as in, offsets of two pixels; float32 offsets and masks."""
    generator = torch.Generator(device).manual_seed(0)
    image = torch.randn(images, channels, size, size, generator=generator, device=device).to(dtype)
    offset = 2 * torch.randn(images, 18, size, size, generator=generator, device=device)
    mask = torch.rand(images, 9, size, size, generator=generator, device=device)
    weight = (torch.randn(channels, channels, 3, 3, generator=generator, device=device) / (3 * channels**0.5)).to(dtype)
    grad = torch.randn(images, channels, size, size, generator=generator, device=device).to(dtype)
    leaves = {'image': image, 'offset': offset, 'mask': mask, 'weight': weight}
    narrow = {**leaves, 'offset': offset.to(dtype), 'mask': mask.to(dtype)}
    contenders = [Contender('stn_det', lambda x, o, m, w: ops.deform_conv2d(x, o, w, None, 1, 1, 1, m), leaves)]
    adapters: dict[str, Adapter] = {
        'mmcv, modulated_deform_conv2d': (lambda call: lambda x, o, m, w: call(x, o, m, w, None, 1, 1), narrow),
        'torchvision, deform_conv2d': (lambda call: lambda x, o, m, w: call(x, o, w, None, 1, 1, 1, m), narrow),
        'deformops, deform_conv2d': (lambda call: lambda x, o, m, w: call(x, o, w, None, ONE, ONE, ONE, m), leaves),
    }
    contenders += installed(peers, adapters)
    ordinary = Contender('F.conv2d, which samples nothing', _ordinary, {'image': image, 'weight': weight}, None)

    def exact(image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
        maps = image.permute(0, 2, 3, 1).contiguous()
        return deform_conv2d_reference(maps, offset, weight, mask, ONE, ONE, ONE, 1, 1).permute(0, 3, 1, 2)

    smooth = {'offset': (offset - offset.round()).abs() > KINK}
    work = convolution_work(image, offset, mask, weight)
    return Case([*contenders, ordinary], lambda: differentiate(exact, leaves, grad, smooth), work, grad)


def _ordinary(image: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(image, weight, padding=1)


def convolution_work(image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> dict[str, Work]:
    """Work of a 3 x 3 convolution with padding 1. Its products run on tensor cores, so instructions are not counted."""
    images, channels, height, width = image.shape
    steps = torch.arange(3, device=image.device) - 1
    rows = torch.arange(height, device=image.device).view(-1, 1) + steps.repeat_interleave(3).view(-1, 1, 1)
    columns = torch.arange(width, device=image.device) + steps.repeat(3).view(-1, 1, 1)
    y, x = rows + offset[:, 0::2], columns + offset[:, 1::2]
    corners = count_corners(x.flatten(1), y.flatten(1), height, width)
    others, output = bytes_of(offset, mask, weight), images * weight.shape[0] * height * width * image.element_size()
    grads = bytes_of(image, offset, mask, weight)
    sampling = sampling_work(corners, channels, image.element_size(), others, output, grads)
    product = product_operations(images, (height, width), weight.shape)
    shares = {'forward': 1, 'backward': 2, 'both': 3}  # backward: to the columns and to the weight
    return {
        name: Work(part.bytes, part.gathered, None, part.operations + shares[name] * product, part.reduced)
        for name, part in sampling.items()
    }


def warp_case(images: int, channels: int, size: int, dtype: torch.dtype, device: str, with_compiled: bool) -> Case:
    """An affine warp, bilinear, of squares; the peer makes a grid and samples in float32, as autocast does."""
    generator = torch.Generator(device).manual_seed(0)
    image = torch.randn(images, channels, size, size, generator=generator, device=device).to(dtype)
    grad = torch.randn(images, channels, size, size, generator=generator, device=device).to(dtype)
    turn = torch.tensor([[0.95, 0.2, 3.0], [-0.2, 0.95, 5.0]], device=device)
    leaves = {'image': image, 'matrix': turn.repeat(images, 1, 1)}

    def peer(image: Tensor, matrix: Tensor) -> Tensor:
        return on_affine_grid(image.float(), matrix, 'bilinear').to(image.dtype)

    def exact(image: Tensor, matrix: Tensor) -> Tensor:
        return warp_sample_reference(image, matrix, (size, size), 'bilinear', 'zeros', False)

    contenders = [
        Contender('stn_det', lambda x, m: ops.warp_sample(x, m, (size, size)), leaves),
        Contender('affine_grid, grid_sample', peer, leaves),
    ]
    if with_compiled:
        contenders.append(Contender('affine_grid, grid_sample, torch.compile', compiled(peer, image.device), leaves))
    return Case(contenders, lambda: differentiate(exact, leaves, grad), warp_work(image, leaves['matrix']), grad)


def warp_work(image: Tensor, matrix: Tensor) -> dict[str, Work]:
    """Work of an affine warp to an image of the same size."""
    return _resampling_work(image, matrix, _turned(image, matrix.double()) - 0.5)


def remap_case(images: int, channels: int, size: int, dtype: torch.dtype, device: str, with_compiled: bool) -> Case:
    """The turn of :func:`warp_case` with waves of 4 pixels, as a flow or a spline has them, by points."""
    generator = torch.Generator(device).manual_seed(0)
    image = torch.randn(images, channels, size, size, generator=generator, device=device).to(dtype)
    grad = torch.randn(images, channels, size, size, generator=generator, device=device).to(dtype)
    turn = torch.tensor([[[0.95, 0.2, 3.0], [-0.2, 0.95, 5.0]]], device=device)
    x, y = _turned(image, turn).unbind(1)
    waved = torch.stack([x + 4 * torch.sin(y / 20), y + 4 * torch.cos(x / 25)], -1)
    leaves = {'image': image, 'points': waved.view(1, size, size, 2).repeat(images, 1, 1, 1)}

    def peer(image: Tensor, points: Tensor) -> Tensor:
        return on_grid(image.float(), points, 'bilinear').to(image.dtype)

    def exact(image: Tensor, points: Tensor) -> Tensor:
        return remap_reference(image, points, 'bilinear', 'zeros')

    contenders = [Contender('stn_det', ops.remap, leaves), Contender('grid_sample', peer, leaves)]
    if with_compiled:
        contenders.append(Contender('grid_sample, torch.compile', compiled(peer, image.device), leaves))
    work = _resampling_work(image, leaves['points'], leaves['points'].double().flatten(1, 2).mT - 0.5)
    return Case(contenders, lambda: differentiate(exact, leaves, grad), work, grad)


def _turned(image: Tensor, matrix: Tensor) -> Tensor:
    """Source points (N, 2, H * W) of the centres of all pixels, by matrices (N, 2, 3)."""
    rows, columns = (torch.arange(length, device=image.device) + 0.5 for length in image.shape[2:])
    y, x = torch.meshgrid(rows.to(matrix.dtype), columns.to(matrix.dtype), indexing='ij')
    return matrix @ torch.stack([x, y, torch.ones_like(x)]).flatten(1)


def _resampling_work(image: Tensor, places: Tensor, indices: Tensor) -> dict[str, Work]:
    """Work of reading images at indices (N, 2, P), for as many pixels as they have.

    Args:
        image: The images.
        places: What says where: matrices or points.
        indices: x and y, 0 for the centre of the first pixel.
    """
    corners = count_corners(*indices.unbind(1), *image.shape[2:])
    return sampling_work(
        corners, image.shape[1], image.element_size(), bytes_of(places), bytes_of(image), bytes_of(image, places)
    )
