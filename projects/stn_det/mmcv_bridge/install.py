"""Puts the stand-in in place, once per process, and remembers what was done."""

import sys
import warnings
from dataclasses import dataclass
from types import ModuleType

from .detect import EXTENSION, Probe, State, import_mmcv, probe
from .placeholders import rebind_placeholders
from .registry import OPERATORS
from .standin import StandIn


@dataclass(frozen=True)
class BridgeStatus:
    """Which operators mmcv uses in this process.

    Attributes:
        state: ``'inactive'`` (mmcv's own compiled operators), ``'active'`` (mmcv has none, ours are used) or
            ``'takeover'`` (mmcv's extension exists but is unusable, ours are used).
        reason: why, as a clause for people to read.
        mmcv_version: version of the mmcv package.
        extension_path: file of mmcv's own extension, or None.
        provided: names of the operators that the bridge supplies; empty when inactive.
    """

    state: State
    reason: str
    mmcv_version: str
    extension_path: str | None
    provided: tuple[str, ...]


_status: BridgeStatus | None = None


def install() -> BridgeStatus:
    """Install the bridge where it is needed; later calls change nothing.

    Raises:
        MissingDependencyError: mmcv is not installed.
    """
    global _status
    if _status is not None:
        return _status
    mmcv = import_mmcv()
    found = probe()
    if found.state != 'inactive':
        _put_in_place(mmcv, StandIn(EXTENSION, OPERATORS))
    if found.state == 'takeover':
        _warn(mmcv, found)
    provided = () if found.state == 'inactive' else tuple(sorted(OPERATORS))
    _status = BridgeStatus(found.state, found.reason, getattr(mmcv, '__version__', 'unknown'), found.path, provided)
    return _status


def status() -> BridgeStatus:
    """State of the bridge in this process."""
    return install()


def _put_in_place(mmcv: ModuleType, stand_in: StandIn) -> None:
    sys.modules[EXTENSION] = stand_in
    mmcv._ext = stand_in  # type: ignore[attr-defined]
    # Wrappers that were imported over some other, unusable extension hold it under this name.
    for name, module in list(sys.modules.items()):
        if name.startswith('mmcv.ops.') and hasattr(module, 'ext_module'):
            module.ext_module = stand_in  # type: ignore[attr-defined]
    rebind_placeholders()


def _warn(mmcv: ModuleType, found: Probe) -> None:
    warnings.warn(
        f'mmcv {getattr(mmcv, "__version__", "unknown")}: {found.reason}; file {found.path}. Its operators now come '
        f'from stn_det instead. To be rid of this message, rebuild mmcv for the installed torch, or install an mmcv '
        f'without compiled operators (mmcv-lite, or onedl-mmcv built from source with MMCV_WITH_OPS=0)',
        RuntimeWarning,
        stacklevel=3,
    )
