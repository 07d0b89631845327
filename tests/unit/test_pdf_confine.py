"""What a worker gives up, where the system does not behave as usual.

The usual case is seen in tests/integration/test_pdf_reader.py, on a real worker.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import time

import pytest

from tidegate.adapters.pdfium import confine, process

pytestmark = pytest.mark.needs("linux_proc")
PARENT = 4711


class System:
    """The calls that `confine` makes, in order, none of them obeyed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.refusal: OSError | None = None
        self.prctl_result = 0
        self.hard = resource.RLIM_INFINITY
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(os, "getppid", lambda: PARENT)
        for name in ("setgroups", "setresgid", "setresuid"):
            monkeypatch.setattr(os, name, lambda *each, name=name: self.change_user(name, *each))
        monkeypatch.setattr(resource, "getrlimit", lambda _: (self.hard, self.hard))
        monkeypatch.setattr(resource, "setrlimit", lambda *each: self.calls.append(each))
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: self)

    def change_user(self, *call: object) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.calls.append(call)

    def prctl(self, option: int, *values: ctypes.c_ulong) -> int:
        self.calls.append(("prctl", option, *(each.value for each in values)))
        return self.prctl_result

    def confine(self, *, parent_pid: int = PARENT) -> None:
        confine.confine(parent_pid=parent_pid, memory_bytes=1_000, uid=70_100)


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    return System(monkeypatch)


def test_groups_go_before_the_user_and_the_death_signal_is_armed_after(system: System) -> None:
    system.confine()
    assert system.calls == [
        ("setgroups", []),
        ("setresgid", 70_100, 70_100, 70_100),
        ("setresuid", 70_100, 70_100, 70_100),
        (resource.RLIMIT_CORE, (0, 0)),
        (resource.RLIMIT_FSIZE, (0, 0)),
        (resource.RLIMIT_NOFILE, (16, 16)),
        (resource.RLIMIT_AS, (1_000, 1_000)),
        ("prctl", 38, 1, 0, 0, 0),
        ("prctl", 1, 9, 0, 0, 0),
    ]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EINVAL])
def test_a_root_without_that_right_or_user_is_limited_all_the_same(
    system: System, number: int
) -> None:
    system.refusal = OSError(number, os.strerror(number))
    system.confine()
    assert [call[0] for call in system.calls[-2:]] == ["prctl", "prctl"]
    assert len(system.calls) == 6


def test_other_failures_end_the_worker(system: System) -> None:
    system.refusal = OSError(errno.EAGAIN, "too many processes")
    with pytest.raises(OSError, match="too many"):
        system.confine()
    system.refusal, system.prctl_result = None, -1
    with pytest.raises(OSError, match="prctl 38"):
        system.confine()


def test_a_lower_limit_of_the_parent_stays(system: System) -> None:
    system.hard = 10
    system.confine()
    assert (resource.RLIMIT_AS, (10, 10)) in system.calls
    assert (resource.RLIMIT_NOFILE, (10, 10)) in system.calls


def test_an_orphan_ends_at_once(system: System) -> None:
    with pytest.raises(SystemExit):
        system.confine(parent_pid=PARENT + 1)


def test_cpu_time_counts_from_what_is_used(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "process_time", lambda: 41.9)
    confine.limit_cpu(10)
    assert system.calls == [(resource.RLIMIT_CPU, (52, resource.RLIM_INFINITY))]


def test_memory_of_a_process_that_is_not_there() -> None:
    # Above the largest process id that Linux gives.
    assert process.memory_bytes(2**22 + 1) is None
    assert (process.memory_bytes(os.getpid()) or 0) > 2**20
