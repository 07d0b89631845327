"""The admin key: who is let in after which change of the file."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from tidegate.adapters.system.admin_key import AdminKey
from tidegate.errors import StoreUnavailable


def test_a_given_key_needs_no_file(tmp_path: Path) -> None:
    key = AdminKey(tmp_path / "admin.key", given="given by the operator")
    assert key.given
    assert key.ensure() is None
    assert list(tmp_path.iterdir()) == []
    assert key.matches("given by the operator")
    assert not key.matches("given by somebody")


def test_it_is_made_once_and_kept_private(tmp_path: Path) -> None:
    path = tmp_path / "admin.key"
    text = AdminKey(path).ensure()
    assert text is not None
    assert text.startswith("tga_")
    assert AdminKey(path).ensure() is None
    assert path.read_text() == f"{text}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_rotation_by_another_process_counts_at_once(tmp_path: Path) -> None:
    serving, shell = AdminKey(tmp_path / "admin.key"), AdminKey(tmp_path / "admin.key")
    keys = [serving.ensure()]
    for _ in range(20):
        keys.append(shell.rotate())
        assert [serving.matches(key or "") for key in keys[-2:]] == [False, True]
    assert len(set(keys)) == 21


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe\xfa" * 20])
@pytest.mark.parametrize("shown", ["", "\n", "x", "\udcff"])
def test_without_a_readable_key_nobody_is_admin(
    tmp_path: Path, content: bytes | None, shown: str
) -> None:
    path = tmp_path / "admin.key"
    key = AdminKey(path)
    text = key.ensure()
    assert text is not None
    assert key.matches(text)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert not key.matches(shown)
    assert not key.matches(text)


def test_a_leftover_of_a_crash_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "admin.new").write_text("half of a k")
    key = AdminKey(tmp_path / "admin.key")
    assert key.matches(key.rotate())
    assert [path.name for path in tmp_path.iterdir()] == ["admin.key"]


def test_a_file_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = AdminKey(tmp_path / "admin.key")
    before = key.rotate()
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fail(_: int) -> None:
        raise full

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(StoreUnavailable, match="no space left"):
            key.rotate()
    assert key.matches(before)
    with pytest.raises(StoreUnavailable, match="no such file"):
        AdminKey(tmp_path / "nowhere" / "admin.key").ensure()
