"""Repairs mmdet modules that were imported before the bridge.

onedl-mmdetection catches the ImportError of a missing ``mmcv.ops`` and defines functions and classes of the same name
that raise when they are used. Modules imported too early keep these, so they are replaced by the real wrappers, which
can be imported now.
"""

import importlib
import sys
from types import CodeType, ModuleType

_MARK = 'requires mmcv to be compiled with ops'


def rebind_placeholders() -> tuple[str, ...]:
    """Replace mmdet's raising placeholders by mmcv's wrappers; returns the names that were replaced."""
    early = [
        (module, name)
        for module_name, module in list(sys.modules.items())
        if module_name.split('.')[0] in ('mmdet', 'mmrotate') and isinstance(module, ModuleType)
        for name, value in list(vars(module).items())
        if getattr(value, '__module__', None) == module_name and _is_placeholder(value)
    ]
    if not early:
        return ()
    wrappers = [importlib.import_module('mmcv.ops'), importlib.import_module('mmcv.ops.merge_cells')]
    replaced = []
    for module, name in early:
        for source in wrappers:
            if hasattr(source, name.lstrip('_')):
                setattr(module, name, getattr(source, name.lstrip('_')))
                replaced.append(f'{module.__name__}.{name}')
                break
    return tuple(replaced)


def _is_placeholder(value: object) -> bool:
    function = value.__dict__.get('__init__') if isinstance(value, type) else value
    code = getattr(function, '__code__', None)
    return isinstance(code, CodeType) and any(isinstance(text, str) and _MARK in text for text in code.co_consts)
