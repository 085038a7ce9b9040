"""The module object that takes the place of ``mmcv._ext``."""

import importlib.util
from collections.abc import Callable, Mapping
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

import torch

from stn_det.errors import MissingOperatorError


class StandIn(ModuleType):
    """Serves the operators of a registry; every other public name is a function that says what is missing.

    mmcv checks with ``hasattr`` at import time that its extension has every function of every wrapper, so an operator
    that nobody provides must exist, and may fail only when it is called.
    """

    def __init__(self, name: str, operators: Mapping[str, Callable[..., Any]]) -> None:
        super().__init__(name, 'Operators of mmcv, supplied by stn_det.mmcv_bridge.')
        self.__dict__.update(operators)
        self.__spec__ = importlib.util.spec_from_loader(name, _StandInLoader(self), origin='stn_det.mmcv_bridge')

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        if name.startswith('_'):
            raise AttributeError(f'module {self.__name__!r} has no attribute {name!r}')
        return _missing(name)


class _StandInLoader(Loader):
    """Lets import tools that ask the module's spec for a loader see that ``mmcv._ext`` exists."""

    def __init__(self, module: StandIn) -> None:
        self._module = module

    def create_module(self, spec: ModuleSpec) -> StandIn:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run: the module was filled when it was made."""


def _missing(name: str) -> Callable[..., NoReturn]:
    def operator(*args: object, **kwargs: object) -> NoReturn:
        raise MissingOperatorError(
            f'the mmcv operator {name!r} is not available: this mmcv has no compiled operators and '
            f'stn_det.mmcv_bridge does not supply this one; install an mmcv compiled for torch {torch.__version__}, '
            f'or open an issue at stn-det that names the operator and the model which calls it'
        )

    operator.__name__ = operator.__qualname__ = name
    return operator
