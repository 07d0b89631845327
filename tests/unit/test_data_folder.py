"""The data folder: private, one service at a time, and a sentence for whatever is in the way."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import NoReturn

import pytest

from tidegate.adapters.system.data_folder import DataFolder
from tidegate.errors import StoreUnavailable


def test_it_is_made_private(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "a" / "b")
    folder.create()
    folder.create()
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    folder.lock()
    assert stat.S_IMODE((folder.path / "lock").stat().st_mode) == 0o600
    folder.unlock()
    folder.unlock()


def test_a_folder_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    DataFolder(tmp_path).create()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o750


def test_one_at_a_time(tmp_path: Path) -> None:
    first, second = DataFolder(tmp_path), DataFolder(tmp_path)
    first.lock()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match=rf"in use .*process {os.getpid()}\b"):
            second.lock()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    first.unlock()
    second.lock()
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    second.unlock()


def fails(number: int) -> object:
    def fail(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("target", "number", "said"),
    [
        pytest.param((Path, "mkdir"), errno.EROFS, "read-only file system", id="mkdir"),
        pytest.param((os, "open"), errno.ENOSPC, "no space left on device", id="open"),
        pytest.param((fcntl, "flock"), errno.ENOLCK, "no locks available", id="flock"),
        pytest.param((os, "write"), errno.ENOSPC, "no space left on device", id="write"),
    ],
)
def test_what_the_system_refuses(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    target: tuple[object, str],
    number: int,
    said: str,
) -> None:
    folder = DataFolder(tmp_path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with monkeypatch.context() as patch:
        patch.setattr(*target, fails(number))
        with pytest.raises(StoreUnavailable, match=said):
            folder.create()
            folder.lock()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    folder.lock()
    folder.unlock()


def test_a_folder_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(StoreUnavailable, match="not writable"):
        DataFolder(tmp_path).create()


def test_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match="is no folder"):
        DataFolder(tmp_path / "file").create()
