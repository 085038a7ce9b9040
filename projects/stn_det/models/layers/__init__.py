"""Parts that necks and heads share."""

from .local_frames import LocalFrames, decode_frames, frame_offsets

__all__ = ['LocalFrames', 'decode_frames', 'frame_offsets']
