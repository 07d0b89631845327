"""What the kernel counts, read from texts of it and from this machine."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from tidegate.adapters.linux.machine import LinuxMachine
from tidegate.domain.machine import (
    CpuTimes,
    MachineSample,
    MemoryReading,
    Pressure,
    Traffic,
    busy_percent,
    bytes_per_s,
)

TOLD = {
    "stat": """cpu  30 0 12 100 4 0 1 3 5 0
cpu0 10 0 2 50 1 0 1 1 5 0
cpu3 20 0 10 50 3 0 0 2 0 0
intr 30965883 0 0 0
ctxt 90792775
""",
    "meminfo": """MemTotal:       24684084 kB
MemFree:        23132656 kB
MemAvailable:   23460468 kB
SwapTotal:          1024 kB
SwapFree:              4 kB
""",
    "net/dev": """Inter-|   Receive                                     |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes packets errs drop
    lo: 54428769885 46236361    0    0    0     0          0         0 7 1    0    0    0 0 0 0
enp4s0:5 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0
""",
    "pressure/cpu": "some avg10=0.46 avg60=2.31 avg300=4.03 total=6154150189\n",
    "pressure/memory": """some avg10=1.50 avg60=0.00 avg300=0.00 total=20
full avg10=0.50 avg60=0.00 avg300=0.00 total=10
""",
}


def tell(proc: Path, **other: str) -> None:
    """Write down what a kernel tells; `other` by name without the folder."""
    for name, text in TOLD.items():
        (proc / name).parent.mkdir(parents=True, exist_ok=True)
        (proc / name).write_text(other.get(Path(name).name, text))


def sample_of(proc: Path) -> MachineSample:
    machine = LinuxMachine(lambda: 7, proc=proc)
    try:
        return machine.sample()
    finally:
        machine.close()
        machine.close()


def test_a_machine_is_read(tmp_path: Path) -> None:
    tell(tmp_path)
    seen = sample_of(tmp_path)
    assert seen.at_us == 7
    assert seen.cpus == {0: CpuTimes(14, 65), 3: CpuTimes(32, 85)}
    assert seen.memory == MemoryReading(
        total_bytes=24684084 * 1024,
        available_bytes=23460468 * 1024,
        swap_total_bytes=1 << 20,
        swap_free_bytes=4096,
    )
    assert seen.memory.used_bytes == (24684084 - 23460468) * 1024
    assert seen.network == {"lo": Traffic(54428769885, 7), "enp4s0": Traffic(5, 9)}
    assert seen.pressure["cpu"] == Pressure(
        some_percent=0.46, full_percent=0.0, some_total_us=6154150189, full_total_us=0
    )
    assert seen.pressure["memory"].full_percent == 0.5
    assert list(seen.unknown) == ["pressure.io"]
    assert "No such file" in seen.unknown["pressure.io"]


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("stat", "", "cpu"),
        ("stat", "cpu 1 2\nintr 3\n", "cpu"),
        ("stat", "cpu  1\ncpu0 a b c d e f g h i\n", "cpu"),
        ("meminfo", "MemTotal: 1 kB\n", "memory"),
        ("meminfo", "MemTotal: x kB\nMemAvailable: 1 kB\n", "memory"),
        ("dev", "a\nb\n lo: 1 2\n", "network"),
        ("cpu", "", "pressure.cpu"),
        ("cpu", "some avg10=x avg60=0 avg300=0 total=1\n", "pressure.cpu"),
    ],
)
def test_what_is_not_understood_is_unknown(tmp_path: Path, name: str, text: str, what: str) -> None:
    tell(tmp_path, **{name: text})
    assert "not understood" in sample_of(tmp_path).unknown[what]


def test_many_interfaces_are_all_read(tmp_path: Path) -> None:
    lines = [f"veth{number}: 1 0 0 0 0 0 0 0 2 0 0 0 0 0 0 0" for number in range(2_000)]
    tell(tmp_path, dev="a\nb\n" + "\n".join(lines) + "\n")
    network = sample_of(tmp_path).network
    assert network is not None
    assert len(network) == 2_000
    assert network["veth1999"] == Traffic(1, 2)


def test_what_two_samples_say() -> None:
    before = MachineSample(
        at_us=0,
        cpus={0: CpuTimes(10, 100), 1: CpuTimes(5, 50), 2: CpuTimes(1, 1)},
        network={"a": Traffic(100, 100), "b": Traffic(9, 9)},
    )
    after = MachineSample(
        at_us=500_000,
        cpus={0: CpuTimes(60, 200), 1: CpuTimes(5, 50), 3: CpuTimes(1, 1)},
        network={"a": Traffic(700, 500), "b": Traffic(0, 0)},
    )
    assert busy_percent(before, after) == {0: 50.0}
    assert busy_percent(before, MachineSample(at_us=1)) is None
    assert bytes_per_s(before, after, "a") == 2_000
    assert bytes_per_s(before, after, "b") is None
    assert bytes_per_s(before, before, "a") is None


def _spin(cpu: int) -> None:
    os.sched_setaffinity(0, {cpu})
    while True:
        pass


def test_a_busy_loop_is_seen_on_its_cpu() -> None:
    cpu = min(os.sched_getaffinity(0))
    machine = LinuxMachine(lambda: time.monotonic_ns() // 1000)
    spinning = multiprocessing.get_context("spawn").Process(target=_spin, args=(cpu,), daemon=True)
    spinning.start()
    try:
        deadline_s = time.monotonic() + 30
        seen = 0.0
        while seen < 90 and time.monotonic() < deadline_s:
            before = machine.sample()
            time.sleep(0.3)
            after = machine.sample()
            seen = (busy_percent(before, after) or {})[cpu]
        assert seen >= 90
        assert after.memory is not None
        assert 0 < after.memory.available_bytes <= after.memory.total_bytes
        assert after.network is not None
        assert "lo" in after.network
    finally:
        spinning.kill()
        spinning.join()
        machine.close()
