"""The folder of one launcher: start scripts, process ids, profiles, the driver's temporary files.

One process owns it, by a file lock that dies with the process. Whatever a killed predecessor left
is wiped when the next one starts. Only the profiles belong to the browsers' own users.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path

from tidegate.errors import BrowserUnavailable


class WorkDir:
    """One locked folder, empty when it was acquired."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None

    @property
    def profiles(self) -> Path:
        """Where the profile folders go: a folder that other users may enter."""
        return self.path / "profiles"

    def acquire(self) -> None:
        """Lock the folder, wipe it and lay it out anew. Does nothing when it is held already.

        Raises:
            BrowserUnavailable: another process holds it, or it cannot be written.
        """
        if self._lock is not None:
            return
        try:
            self._acquire()
        except BlockingIOError:
            raise BrowserUnavailable(f"another process uses {self.path}") from None
        except OSError as error:
            raise BrowserUnavailable(f"the browser's folder is unusable: {error}") from error

    def release(self) -> None:
        """Wipe the folder and let it go. Idempotent."""
        if self._lock is None:
            return
        self._wipe()
        os.close(self._lock)
        self._lock = None

    def write_script(self, name: str, text: str) -> Path:
        """Write a start script that only we may read, change or run."""
        path = self.path / name
        path.unlink(missing_ok=True)
        path.touch(mode=0o700)
        path.write_text(text, encoding="utf-8")
        # An installer or the umask may have taken the executable bit.
        path.chmod(0o700)
        return path

    def _acquire(self) -> None:
        # Browsers run as other users and pass through here to their profiles: enter, not list.
        self.path.mkdir(mode=0o711, parents=True, exist_ok=True)
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._wipe()
            self._make_profiles()
        except BaseException:
            os.close(lock)
            raise
        self._lock = lock

    def _make_profiles(self) -> None:
        if os.geteuid() != 0 or _all_may_enter(self.path):
            self.profiles.mkdir(mode=0o711)
            return
        # A closed folder above us (a private data folder) would lock the browser's user out.
        elsewhere = Path(tempfile.mkdtemp(prefix="tidegate-profiles-"))
        elsewhere.chmod(0o711)
        self.profiles.symlink_to(elsewhere)

    def _wipe(self) -> None:
        if self.profiles.is_symlink():
            shutil.rmtree(self.profiles.readlink(), ignore_errors=True)
        for entry in self.path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            elif entry.name != "lock":
                entry.unlink(missing_ok=True)


def _all_may_enter(path: Path) -> bool:
    resolved = path.resolve()
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (resolved, *resolved.parents))
