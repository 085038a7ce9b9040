"""What is known of the camera, for transformers that learn a pose from it."""

from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from stn_det.errors import ConfigError, InputError

FIELDS = ('gsd', 'off_nadir', 'tilt_azimuth', 'north')


@TRANSFORMS.register_module()
class SetCamera(BaseTransform):
    """Writes ``camera`` into a sample: the geometry of the view, as :class:`MetadataSignal` reads it.

    Values come from the image's own annotations where those have them (``fields`` names the entries of the sample), and
    else are the same for all images of the dataset.

    Args:
        gsd: Metres per pixel across the line of sight.
        off_nadir: Degrees between the line of sight and the vertical.
        tilt_azimuth: Direction of the line of sight in the image, degrees clockwise from up.
        north: Direction of north in the image, likewise.
        fields: Name of an entry of the sample for any of the above, for example ``dict(off_nadir='perspective')``.

    Raises:
        ConfigError: If nothing is set, or ``fields`` names something else.
    """

    def __init__(
        self,
        gsd: float | None = None,
        off_nadir: float | None = None,
        tilt_azimuth: float | None = None,
        north: float | None = None,
        fields: dict[str, str] | None = None,
    ) -> None:
        values = dict(gsd=gsd, off_nadir=off_nadir, tilt_azimuth=tilt_azimuth, north=north)
        self.values = {name: float(value) for name, value in values.items() if value is not None}
        self.fields = dict(fields or {})
        unknown = sorted(set(self.fields) - set(FIELDS))
        if unknown or not (self.values or self.fields):
            raise ConfigError(
                f'SetCamera: values are {self.values} and fields {self.fields}, expected at least one of '
                f'{", ".join(FIELDS)}, and no other'
            )

    def transform(self, results: dict) -> dict:
        """Set ``camera``.

        Raises:
            InputError: If an entry that ``fields`` names is missing or no number.
        """
        camera = dict(self.values)
        for name, entry in self.fields.items():
            try:
                camera[name] = float(results[entry])
            except (KeyError, TypeError, ValueError):
                raise InputError(
                    f'{results.get("img_path", "a sample")}: {name} is read from {entry!r}, which is '
                    f'{results.get(entry)!r}; expected a number'
                ) from None
        results['camera'] = camera
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.values}, fields={self.fields})'
