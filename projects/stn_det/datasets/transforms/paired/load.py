"""Loading of the second sensor's image."""

from collections.abc import Sequence

from mmdet.registry import TRANSFORMS

from stn_det.errors import InputError

from ..loading import LoadCheckedImage


@TRANSFORMS.register_module()
class LoadSecondImageFromFile(LoadCheckedImage):
    """Load ``second_img_path``, of any size, channels and depth, with the checks and options of ``LoadCheckedImage``.

    Args:
        to_float32: As for ``LoadCheckedImage``.
        color_type: As for ``LoadCheckedImage``: 'grayscale' for a thermal image, 'unchanged' for more than three bands
            or for values that shall not be spread over 0..255.
        imdecode_backend: As for ``LoadCheckedImage``.
        value_range: As for ``LoadCheckedImage``.
        extra_bands: As for ``LoadCheckedImage``.
        backend_args: As for ``LoadCheckedImage``.

    Raises:
        ConfigError: An argument is out of range.
        ImageError: The file cannot be used.
        InputError: The sample names no second image.
    """

    image_keys = ('second_img',)  # what it loads, for those that put a step behind the loading of images

    def __init__(
        self,
        to_float32: bool = False,
        color_type: str = 'color',
        imdecode_backend: str = 'cv2',
        value_range: Sequence[float] | None = None,
        extra_bands: str = 'error',
        backend_args: dict | None = None,
    ) -> None:
        super().__init__(
            to_float32=to_float32,
            color_type=color_type,
            imdecode_backend=imdecode_backend,
            value_range=value_range,
            extra_bands=extra_bands,
            check_size=False,
            backend_args=backend_args,
        )

    def transform(self, results: dict) -> dict:
        """Load ``second_img_path`` into ``second_img``, and set ``second_ori_shape`` to its ``(height, width)``."""
        path = results.get('second_img_path')
        if path is None:
            raise InputError(
                f'the sample of {results.get("img_path")} has no second_img_path. Set '
                'data_prefix=dict(img_path=..., second_img_path=...) of the dataset; this pipeline needs both sensors.'
            )
        loaded = super().transform(dict(img_path=path))
        results['second_img'] = loaded['img']
        results['second_ori_shape'] = loaded['ori_shape']
        return results
