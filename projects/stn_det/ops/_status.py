"""Which implementation of the operators runs."""

from stn_det.ops._library import is_compiled

# Public operators, and the compiled operator behind each where it has another name.
OPERATORS = {
    'box_iou_quadri': '',
    'box_iou_rotated': '',
    'deform_conv2d': 'deform_im2col',
    'deform_conv_v3': 'ms_deform_attn',
    'deform_conv_v4': 'ms_deform_attn',
    'ms_deform_attn': '',
    'ms_deform_attn_fused': '',
    'nms': '',
    'nms_match': 'nms',
    'nms_quadri': '',
    'nms_rotated': '',
    'nms_rotated_mask': 'nms_rotated',
    'quadri_iou': '',
    'remap': '',
    'roi_align': '',
    'roi_align_rotated': '',
    'rotated_iou_giou': '',
    'sigmoid_focal_loss': '',
    'soft_nms': '',
    'warp_sample': '',
}
# Public functions without a kernel: parts in PyTorch, the same on every device.
COMPOSED = ('convex_giou',)


def status() -> dict[str, str]:
    """Implementation that each operator with a kernel runs on, by operator name.

    Returns:
        The devices for whose tensors it is compiled, ``'cpu'``, ``'cuda'`` or ``'cpu+cuda'``; on others it runs in
        plain PyTorch. ``'python'``: plain PyTorch everywhere.
    """
    return {name: '+'.join(_devices(behind or name)) or 'python' for name, behind in OPERATORS.items()}


def _devices(name: str) -> list[str]:
    return [device for device in ('cpu', 'cuda') if is_compiled(name, device)]
