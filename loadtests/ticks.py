"""A clock that ticks at a constant rate, to a fraction of a millisecond and without spinning: Linux's timerfd.

Event loops wait in whole milliseconds, which is as long as the answers that we measure.
"""

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable
from typing import Final

__all__ = ["Ticks"]

CLOCK_MONOTONIC: Final = 1  # what time.perf_counter() reads on Linux
TFD_NONBLOCK: Final = 0o4000
TFD_TIMER_ABSTIME: Final = 1
NANOSECONDS: Final = 1_000_000_000


class Ticks:
    """Calls `tick(intended)` at `first`, `first` + 1/rate, ... (timerfd_create(2)), and never leaves one out.

    Args:
        first: when it begins, on the performance counter.
        rate: ticks a second.
        tick: is told the moment that it was meant for.

    Raises:
        OSError: the kernel gives no timer.
    """

    def __init__(self, first: float, rate: float, tick: Callable[[float], None]) -> None:
        self._first, self._tick = first, tick
        self._number = 0
        self._interval_ns = round(NANOSECONDS / rate)
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | os.O_CLOEXEC)
        # struct itimerspec: interval, then the first expiry, each in seconds and nanoseconds.
        times_ns = (self._interval_ns, int(first * NANOSECONDS))
        setting = struct.pack("@4l", *(part for time_ns in times_ns for part in divmod(time_ns, NANOSECONDS)))
        if self._descriptor < 0 or libc.timerfd_settime(self._descriptor, TFD_TIMER_ABSTIME, setting, None) != 0:
            raise OSError(ctypes.get_errno(), "no timer (timerfd)")
        asyncio.get_running_loop().add_reader(self._descriptor, self._expired)

    def _expired(self) -> None:
        try:
            (times,) = struct.unpack("@Q", os.read(self._descriptor, 8))
        except BlockingIOError:
            return
        for _ in range(times):
            intended = self._first + self._number * self._interval_ns / NANOSECONDS
            self._number += 1
            self._tick(intended)

    def stop(self) -> None:
        """No tick after this one."""
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
