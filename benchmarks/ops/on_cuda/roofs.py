"""What a GPU can do at most, from what its driver says of it, and which part of that a measurement reached."""

import ctypes
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ops.on_cuda.counts import Work

BYTES_A_CLOCK = 128  # of a multiprocessor's shared memory and first-level cache, which have one path to registers
INSTRUCTIONS_A_CLOCK = 4  # of a multiprocessor, one a warp scheduler
SOURCES = {
    'memory': 'memory clock x bus width x 2 transfers a clock, as the driver gives them',
    'l1': f'{BYTES_A_CLOCK} bytes a clock and multiprocessor: 32 banks of 4 bytes (CUDA C++ Programming Guide)',
    'issue': f'{INSTRUCTIONS_A_CLOCK} warp schedulers a multiprocessor, an instruction a clock each (same guide)',
    'clock': 'the highest that the driver allows; each record has the clock that was read while it was measured',
}

# Numbers of cuDeviceGetAttribute.
_ATTRIBUTES = {'clock_khz': 13, 'memory_clock_khz': 36, 'bus_bits': 37, 'l2_bytes': 38}


@dataclass(frozen=True)
class Device:
    """What the driver says of a GPU; 0 where it says nothing."""

    name: str
    capability: tuple[int, int]
    multiprocessors: int
    clock_khz: int
    memory_clock_khz: int
    bus_bits: int
    l2_bytes: int


@dataclass(frozen=True)
class Roofs:
    """Most bytes and warp instructions a second; None: not known."""

    memory: float | None = None
    l1: float | None = None
    issue: float | None = None


def ask_device() -> Device:
    """The current GPU."""
    driver = ctypes.CDLL('libcuda.so.1')
    values = dict.fromkeys(_ATTRIBUTES, 0)
    for name, number in _ATTRIBUTES.items():
        value = ctypes.c_int(0)
        if driver.cuDeviceGetAttribute(ctypes.byref(value), number, torch.cuda.current_device()) == 0:
            values[name] = value.value
    properties = torch.cuda.get_device_properties()
    capability = (properties.major, properties.minor)
    return Device(properties.name, capability, properties.multi_processor_count, **values)


def roofs_of(device: Device | None) -> Roofs:
    """Roofs of a GPU of compute capability 7.0 or above, which all have the schedulers and banks assumed here."""
    if device is None:
        return Roofs()
    memory = 2e3 * device.memory_clock_khz * device.bus_bits / 8 or None
    clocks = 1e3 * device.clock_khz * device.multiprocessors
    if device.capability < (7, 0) or not clocks:
        return Roofs(memory)
    return Roofs(memory, BYTES_A_CLOCK * clocks, INSTRUCTIONS_A_CLOCK * clocks)


def fractions(work: Work, warm_us: float, cold_us: float | None, roofs: Roofs, copy: float | None) -> dict[str, Any]:
    """Parts of the roofs that a measurement reached; None where the work or the roof is not known.

    Memory goes by the time after other data had flushed the caches, for what lies in the second-level cache needs no
    traffic with memory; the others go by the time with warm caches.

    Args:
        work: of the pass.
        warm_us: time with warm caches.
        cold_us: time with flushed ones.
        roofs: of the GPU.
        copy: bytes a second that a large copy moved in the same run, those read and those written.
    """
    return {
        'of_memory': _part(work.bytes, cold_us, roofs.memory),
        'of_copy': _part(work.bytes, cold_us, copy),
        'of_l1': _part(work.gathered, warm_us, roofs.l1),
        'of_issue': _part(work.instructions, warm_us, roofs.issue),
    }


def _part(count: int | None, microseconds: float | None, rate: float | None) -> float | None:
    if count is None or not microseconds or not rate:
        return None
    return count / rate / (microseconds * 1e-6)


def describe(device: Device | None, roofs: Roofs) -> dict[str, Any]:
    """For the record: the device, its roofs a second and where each comes from."""
    return {'device': asdict(device) if device else None, 'roofs': {**asdict(roofs), 'sources': SOURCES}}
