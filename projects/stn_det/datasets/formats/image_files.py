"""Image files: finding them, the size from the header, and whether a file is cut short."""

import struct
from collections.abc import Callable
from pathlib import Path

from stn_det.errors import DatasetError, ImageError

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.tif', '.tiff', '.bmp')
_EXIF_ORIENTATION = 274
_PNG_WITHOUT_ALPHA = (0, 2, 3)  # grey, RGB, palette
_TIFF_OFFSETS_AND_COUNTS = ((273, 279), (324, 325))  # strips, tiles


def index_images(folder: str, suffix: str | None = None) -> dict[str, str]:
    """List the images of a folder by name without suffix, sorted.

    Args:
        folder: Folder with the images; subfolders are not searched.
        suffix: Take only this suffix ('png' or '.png'); None takes all of ``IMAGE_SUFFIXES``.

    Returns:
        Path by stem.

    Raises:
        DatasetError: The folder is missing, or two images share a stem.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DatasetError(
            f'image folder {folder} does not exist. Check data_root and data_prefix=dict(img_path=...); '
            'the path is data_root joined with the prefix.'
        )
    wanted = IMAGE_SUFFIXES if suffix is None else ('.' + suffix.lower().lstrip('.'),)
    images: dict[str, str] = {}
    for path in sorted(root.iterdir()):
        if path.suffix.lower() not in wanted:
            continue
        if path.stem in images:
            raise DatasetError(
                f"{images[path.stem]} and {path} both match the label name '{path.stem}'. "
                "Remove one or choose a suffix with img_suffix='png'."
            )
        images[path.stem] = str(path)
    return images


def image_size(path: str) -> tuple[int, int]:
    """Return ``(width, height)`` in pixels from the header, as a decoder that follows the EXIF orientation sees it.

    Raises:
        ImageError: The file is missing, empty or no image.
    """
    from PIL import Image

    file = Path(path)
    if not file.is_file():
        raise ImageError(f'image {path} does not exist. Check data_root, data_prefix and the names in the annotation.')
    limit = Image.MAX_IMAGE_PIXELS
    try:
        # Only the header is read, so the guard against decompression bombs must not refuse a large scene.
        Image.MAX_IMAGE_PIXELS = None
        with Image.open(file) as image:
            width, height = image.size
            turned = image.format == 'JPEG' and image.getexif().get(_EXIF_ORIENTATION, 1) >= 5
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise ImageError(
            f'image {path} ({file.stat().st_size} bytes) has no readable header: {error}. '
            'Expected PNG, JPEG, TIFF or BMP. Copy or convert the file again, or remove it with its label.'
        ) from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    return (height, width) if turned else (width, height)


def is_plain(content: bytes) -> bool:
    """Tell from the header whether an image surely has 8 bits and one or three bands, as most JPEG and PNG files do."""
    if content.startswith(b'\xff\xd8'):
        return True
    if not content.startswith(b'\x89PNG') or len(content) < 26:
        return False
    depth, colour_type = content[24], content[25]
    before_pixels = content[: content.find(b'IDAT')]
    return depth <= 8 and colour_type in _PNG_WITHOUT_ALPHA and b'tRNS' not in before_pixels


def truncation_problem(content: bytes) -> str | None:
    """Say what is missing at the end of an encoded image, or return None.

    Decoders differ in what they do with a file cut short: some fill the rest with grey and say nothing.
    Only PNG, JPEG, BMP and TIFF are examined.
    """
    for magic, examine in _EXAMINERS.items():
        if content.startswith(magic):
            return examine(content)
    return None


def _examine_png(content: bytes) -> str | None:
    return None if b'IEND' in content[-64:] or content.rfind(b'IEND') > 0 else 'the closing IEND chunk is missing'


def _examine_jpeg(content: bytes) -> str | None:
    position = 2
    while position + 4 <= len(content) and content[position] == 0xFF and content[position + 1] != 0xDA:
        position += 2 + int.from_bytes(content[position + 2 : position + 4], 'big')
    # An embedded thumbnail ends with the same marker, so the search starts after the header segments.
    return None if content.rfind(b'\xff\xd9') >= position else 'the end-of-image marker is missing'


def _examine_bmp(content: bytes) -> str | None:
    declared = int.from_bytes(content[2:6], 'little')
    return f'the header declares {declared} bytes' if len(content) < declared else None


def _examine_tiff(content: bytes) -> str | None:
    """Look whether the first directory and the pixels that it points to lie within the file."""
    order = '<' if content.startswith(b'II') else '>'
    try:
        (directory,) = struct.unpack_from(order + 'I', content, 4)
        (count,) = struct.unpack_from(order + 'H', content, directory)
        entries = [struct.unpack_from(order + 'HHI', content, directory + 2 + 12 * i) for i in range(count)]
        where = {entry[0]: (entry[1], entry[2], directory + 10 + 12 * i) for i, entry in enumerate(entries)}
        ends = [
            offset + size
            for offsets, sizes in _TIFF_OFFSETS_AND_COUNTS
            if offsets in where and sizes in where
            for offset, size in zip(
                _tiff_integers(content, order, *where[offsets]), _tiff_integers(content, order, *where[sizes])
            )
        ]
    except struct.error:
        return 'its directory lies beyond the end'
    return f'the directory points to byte {max(ends)}' if ends and max(ends) > len(content) else None


def _tiff_integers(content: bytes, order: str, kind: int, count: int, position: int) -> tuple[int, ...]:
    """Values of one TIFF tag of 16-bit (kind 3) or 32-bit integers, which stand elsewhere if they need over 4 bytes."""
    code, size = ('H', 2) if kind == 3 else ('I', 4)
    if count * size > 4:
        (position,) = struct.unpack_from(order + 'I', content, position)
    return struct.unpack_from(f'{order}{count}{code}', content, position)


_EXAMINERS: dict[bytes, Callable[[bytes], str | None]] = {
    b'\x89PNG': _examine_png,
    b'\xff\xd8': _examine_jpeg,
    b'BM': _examine_bmp,
    b'II*\x00': _examine_tiff,
    b'MM\x00*': _examine_tiff,
}
