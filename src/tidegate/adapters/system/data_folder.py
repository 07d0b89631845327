"""The folder that holds the database and the admin key, used by one service at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from tidegate.errors import StoreUnavailable


class DataFolder:
    """A private folder, locked by the kernel: a killed process leaves no stale lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def create(self) -> None:
        """Make the folder, readable by its owner alone.

        Raises:
            StoreUnavailable: it cannot be made or written to.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or "it cannot be made"
            raise StoreUnavailable(f"the data folder {self.path}: {reason}") from error
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise StoreUnavailable(f"the data folder {self.path} is not writable for this user")

    def lock(self) -> None:
        """Claim the folder for this process, until `unlock` or its end.

        Raises:
            StoreUnavailable: another process serves from it; naming its process id.
        """
        handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(handle, 32).decode(errors="replace").strip() or "unknown"
            os.close(handle)
            raise StoreUnavailable(
                f"the data folder {self.path} is in use by another tidegate (process {holder}); "
                "stop it, or name another folder in TIDEGATE_DATA_DIR"
            ) from error
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        self._lock = handle

    def unlock(self) -> None:
        """Let others use the folder. Idempotent."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
