"""Pictures of what a spatial transformer does to images while it learns."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmdet.registry import HOOKS
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from stn_det.errors import ConfigError
from stn_det.visualization import draw_transformer
from stn_det.visualization.files import save_image


@HOOKS.register_module()
class WarpPictureHook(Hook):
    """Draws, before training and after epochs, images and what the transformer makes of them.

    In ``warps/epoch_N.jpg`` of the work directory: in the upper row the first images of the validation set (of the
    training set where there is none), each turned by the given angles; below, what the transformer makes of them, also
    while it is frozen, with the grid of the image that went in.

    Args:
        num_images: Number of images.
        turns: Degrees, clockwise on screen, by which each image is turned before the transformer sees it.
        interval: Epochs from picture to picture.
        lines: Lines of the grid along each side.

    Raises:
        ConfigError: An argument makes no sense; or, when training starts, the model has no ``transformer``.
    """

    def __init__(self, num_images: int = 4, turns: Sequence[float] = (0.0,), interval: int = 1, lines: int = 7) -> None:
        if min(num_images, len(turns), interval) < 1 or lines < 2:
            raise ConfigError(
                f'WarpPictureHook: num_images is {num_images}, turns {turns}, interval {interval}, lines {lines}; '
                'expected an image, a turn and an epoch at least, and two lines'
            )
        self.num_images, self.turns, self.interval, self.lines = num_images, tuple(turns), interval, lines
        self.samples: list[dict[str, Any]] = []

    @master_only
    def before_train(self, runner: Runner) -> None:
        """Load the images, draw the first picture.

        Args:
            runner: the mmengine runner, about to train.
        """
        if not hasattr(_unwrapped(runner), 'transformer'):
            raise ConfigError(f'{type(_unwrapped(runner)).__name__} has no transformer; remove WarpPictureHook')
        loop = runner.val_loop or runner.train_loop
        dataset = loop.dataloader.dataset
        self.samples = [dataset[index] for index in range(min(self.num_images, len(dataset)))]
        if runner.epoch == 0:
            self._write(runner)

    @master_only
    def after_train_epoch(self, runner: Runner) -> None:
        """Draw.

        Args:
            runner: the runner.
        """
        if self.every_n_epochs(runner, self.interval):
            self._write(runner, runner.epoch + 1)

    def _write(self, runner: Runner, epoch: int = 0) -> None:
        path = Path(runner.work_dir) / 'warps' / f'epoch_{epoch}.jpg'
        save_image(path, draw_transformer(_unwrapped(runner), self.samples, self.turns, self.lines))


def _unwrapped(runner: Runner) -> Any:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
