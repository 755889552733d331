"""Cost: what a call takes of the machine."""

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, final

Result = TypeVar("Result")

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


@final
@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a call took."""

    cpu_s: float
    """Processor time of all threads of the process, in seconds."""
    wall_s: float
    """Time that passed, in seconds."""
    peak_mb: float
    """Most memory the process held, in megabytes (1e6 bytes)."""
    is_peak_own: bool
    """Whether the peak is that of the call; else it is that of the process so far."""


def measure(call: Callable[[], Result]) -> tuple[Result, Cost]:
    """Run a call and return its result and cost.

    The peak is that of the call on Linux, where the high-water mark can be reset, and includes what
    the process held before. Threads count, child processes do not.

    Example:
        >>> result, cost = measure(lambda: sum(range(1000)))
        >>> result, cost.cpu_s >= 0 and cost.peak_mb > 0
        (499500, True)
    """
    is_own = _reset_peak()
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - wall
    return result, Cost(cpu_s=cpu_s, wall_s=wall_s, peak_mb=_peak_mb(is_own), is_peak_own=is_own)


def _reset_peak() -> bool:
    """Reset the high-water mark of memory; return whether that worked."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def _peak_mb(is_own: bool) -> float:
    """Return the high-water mark of memory."""
    if is_own:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
