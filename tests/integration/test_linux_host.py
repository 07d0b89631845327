"""Our own process tree, measured by the kernel."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tidegate.adapters.linux.host import LinuxHost, descendants

pytestmark = pytest.mark.needs("linux_proc")
MIB = 2**20
# Takes the memory at the first line it reads, gives it back at the second.
HOLDER = """
import sys
print("up", flush=True)
for line in sys.stdin:
    held = b"x" * (200 << 20) if line == "take\\n" else None
    print("done", flush=True)
"""


def start(code: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-ISc", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line)
    process.stdin.flush()
    assert process.stdout.readline() == "done\n"


def tree_mib(host: LinuxHost) -> float:
    measured = host.tree_memory_bytes()
    assert measured is not None
    return measured / MIB


def test_what_a_child_holds_is_counted() -> None:
    host = LinuxHost()
    with start(HOLDER) as child:
        before = tree_mib(host)
        tell(child, "take\n")
        held = tree_mib(host)
        tell(child, "free\n")
        freed = tree_mib(host)
        child.kill()
    assert 195 < held - before < 210
    assert abs(freed - before) < 5


def test_grandchildren_are_found_and_strangers_are_not() -> None:
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-ISc', 'input()'], stdin=subprocess.PIPE)\n"
        "print('up', flush=True)\nprint(child.pid, flush=True)\ninput()\nchild.communicate(b'\\n')"
    )
    with start(code) as child:
        assert child.stdout is not None
        grandchild = int(child.stdout.readline())
        assert descendants(child.pid) == [grandchild]
        found = descendants(os.getpid())
        assert {child.pid, grandchild} <= set(found)
        assert found.index(child.pid) < found.index(grandchild)
        assert os.getpid() not in found
        assert os.getppid() not in found
        child.communicate("\n")
    assert descendants(child.pid) == []


def test_where_pss_is_secret_the_resident_size_counts(tmp_path: Path) -> None:
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    for pid, parent, statm, rollup in (
        (1, 0, "9 5 1", "Rss: 40 kB\nPss: 12 kB\n"),
        (2, 1, "9 7 1", None),
        (3, 2, None, None),
        (4, 9, "9 100 1", "Pss: 4000 kB\n"),
    ):
        folder = tmp_path / str(pid)
        folder.mkdir()
        (folder / "stat").write_text(f"{pid} (an (odd) name) S {parent} 1 1 0\n")
        for name, text in (("statm", statm), ("smaps_rollup", rollup)):
            if text is not None:
                (folder / name).write_text(text)
    (tmp_path / "5").mkdir()
    (tmp_path / "self").mkdir()
    assert descendants(1, tmp_path) == [2, 3]
    assert LinuxHost(pid=1, proc=tmp_path).tree_memory_bytes() == 12 * 1024 + 7 * page_bytes


def test_without_proc_nothing_is_known(tmp_path: Path) -> None:
    assert LinuxHost(proc=tmp_path / "none").tree_memory_bytes() is None
    assert descendants(1, tmp_path / "none") == []


def test_processes_of_another_user_count_and_forty_are_quick() -> None:
    user = 65_534 if os.geteuid() == 0 else None
    children = [subprocess.Popen(["/bin/sleep", "60"], user=user) for _ in range(40)]
    try:
        host, best_s = LinuxHost(), 9.0
        for _ in range(5):
            started = time.perf_counter()
            measured = host.tree_memory_bytes()
            best_s = min(best_s, time.perf_counter() - started)
        alone = LinuxHost(pid=children[0].pid).tree_memory_bytes()
        assert measured is not None
        assert alone is not None
        assert alone > 0
        assert best_s < 0.2
    finally:
        for child in children:
            child.kill()
        for child in children:
            child.wait()


@pytest.mark.parametrize("rounds", [50])
def test_processes_that_vanish_do_no_harm(rounds: int) -> None:
    host = LinuxHost()
    for _ in range(rounds):
        with subprocess.Popen(["/bin/true"]):
            assert tree_mib(host) > 1
