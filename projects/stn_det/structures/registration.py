"""Registration of box types with mmdet, repeatable when a module is imported again."""

from collections.abc import Callable
from typing import TypeVar

from mmdet.structures.bbox import BaseBoxes, register_box
from mmdet.structures.bbox.box_type import box_types

from stn_det.errors import InputError

BoxClass = TypeVar('BoxClass', bound=type[BaseBoxes])


def register_own_box(name: str) -> Callable[[BoxClass], BoxClass]:
    """Register a box class under a name; a second import of the same module replaces its earlier class.

    Args:
        name: Name in mmdet's box registry, such as 'rbox'.

    Returns:
        Class decorator.

    Raises:
        InputError: If another package holds the name.
    """

    def register(box_class: BoxClass) -> BoxClass:
        known = box_types.get(name)
        own = (box_class.__module__, box_class.__qualname__)
        if known is not None and (known.__module__, known.__qualname__) != own:
            raise InputError(
                f'box type {name!r} is already registered with mmdet as {known.__module__}.{known.__qualname__}, '
                f'expected it to be free for {own[0]}.{own[1]}; import only one of the two packages in a process'
            )
        return register_box(name, box_class, force=known is not None)

    return register
