"""The machine as Linux counts it, under /proc.

Files stay open and are read from their beginning each time, which costs half of opening them. Of
/proc/stat only the lines of CPUs are read: the line of interrupts is as long as there are of them.

Source: proc_stat(5), proc_meminfo(5), proc_pid_net(5); psi.rst of the kernel for /proc/pressure.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from tidegate.domain.machine import (
    RESOURCES,
    CpuTimes,
    MachineSample,
    MemoryReading,
    Pressure,
    Traffic,
)

_READ_BYTES = 16_384
_CPU_LINE_BYTES = 160
"""More than the longest line of one CPU in /proc/stat: ten numbers of at most 15 digits."""
_READ_MAX_BYTES = 4_194_304
_T = TypeVar("_T")


class LinuxMachine:
    """`Machine` over /proc. Not safe for threads: one sampler has one.

    Args:
        elapsed_us: A clock that never steps.
        proc: Where the kernel tells; another folder for tests.
    """

    def __init__(self, elapsed_us: Callable[[], int], *, proc: Path = Path("/proc")) -> None:
        self._elapsed_us, self._proc = elapsed_us, proc
        self._files: dict[str, int] = {}
        self._sizes: dict[str, int] = {"stat": _CPU_LINE_BYTES * (2 + (os.cpu_count() or 1))}

    def sample(self) -> MachineSample:
        """See `Machine.sample`."""
        unknown: dict[str, str] = {}
        cpus = self._read("stat", "cpu", cpu_times, unknown)
        memory = self._read("meminfo", "memory", memory_reading, unknown)
        network = self._read("net/dev", "network", traffic_by_interface, unknown)
        pressure = {}
        for resource in RESOURCES:
            name = f"pressure/{resource}"
            found = self._read(name, f"pressure.{resource}", pressure_reading, unknown)
            if found is not None:
                pressure[resource] = found
        return MachineSample(
            at_us=self._elapsed_us(),
            cpus=cpus,
            memory=memory,
            network=network,
            pressure=pressure,
            unknown=unknown,
        )

    def close(self) -> None:
        """See `Machine.close`."""
        files, self._files = self._files, {}
        for descriptor in files.values():
            os.close(descriptor)

    def _read(
        self, name: str, what: str, parse: Callable[[bytes], _T], unknown: dict[str, str]
    ) -> _T | None:
        """Read and parse one file; None, with the reason noted, if that is not possible."""
        try:
            return parse(self._bytes(name))
        except OSError as error:
            self._forget(name)
            unknown[what] = f"{self._proc / name}: {error.strerror or error}"
        except (ValueError, IndexError, KeyError):
            unknown[what] = f"{self._proc / name}: not understood"
        return None

    def _bytes(self, name: str) -> bytes:
        descriptor = self._files.get(name)
        if descriptor is None:
            descriptor = os.open(self._proc / name, os.O_RDONLY | os.O_CLOEXEC)
            self._files[name] = descriptor
        size = self._sizes.get(name, _READ_BYTES)
        data = os.pread(descriptor, size, 0)
        while len(data) == size and name != "stat" and size < _READ_MAX_BYTES:
            # So many interfaces: read enough the next time, too.
            size *= 2
            self._sizes[name] = size
            data = os.pread(descriptor, size, 0)
        return data

    def _forget(self, name: str) -> None:
        descriptor = self._files.pop(name, None)
        if descriptor is not None:
            os.close(descriptor)


def cpu_times(data: bytes) -> Mapping[int, CpuTimes]:
    """Read /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal, and guests.

    Guests are counted within user and nice already.

    Raises:
        ValueError: there is no CPU in it.
    """
    found = {}
    for line in data.split(b"\n")[1:]:
        if not line.startswith(b"cpu"):
            break
        words = line.split(None, 9)
        if len(words) < 9:
            # Cut off at the end of what was read.
            break
        ticks = [int(word) for word in words[1:9]]
        total = sum(ticks)
        found[int(words[0][3:])] = CpuTimes(total - ticks[3] - ticks[4], total)
    if not found:
        raise ValueError("no CPU")
    return found


def memory_reading(data: bytes) -> MemoryReading:
    """Read /proc/meminfo, whose `kB` are KiB."""
    return MemoryReading(
        total_bytes=_kib(data, b"MemTotal:") * 1024,
        available_bytes=_kib(data, b"MemAvailable:") * 1024,
        swap_total_bytes=_kib(data, b"SwapTotal:") * 1024,
        swap_free_bytes=_kib(data, b"SwapFree:") * 1024,
    )


def traffic_by_interface(data: bytes) -> Mapping[str, Traffic]:
    """Read /proc/net/dev: received bytes are the first number, sent ones the ninth."""
    found = {}
    for line in data.split(b"\n")[2:]:
        name, colon, numbers = line.partition(b":")
        if colon:
            words = numbers.split(None, 9)
            found[name.strip().decode()] = Traffic(int(words[0]), int(words[8]))
    return found


def pressure_reading(data: bytes) -> Pressure:
    """Read a file of /proc/pressure: a line `some avg10=... total=...`, then the same for `full`.

    Older kernels say nothing about `full` of CPUs.
    """
    words = data.split()
    full = words[5:] or [b"full", b"avg10=0", b"", b"", b"total=0"]
    return Pressure(
        some_percent=float(words[1][6:]),
        full_percent=float(full[1][6:]),
        some_total_us=int(words[4][6:]),
        full_total_us=int(full[4][6:]),
    )


def _kib(data: bytes, name: bytes) -> int:
    at = data.index(name) + len(name)
    return int(data[at : data.index(b" kB", at)])
