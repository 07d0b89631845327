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
        """Make the folder, readable by its owner alone. One that exists keeps its mode.

        Raises:
            StoreUnavailable: it cannot be made or written to.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError as error:
            raise StoreUnavailable(f"the data folder {self.path} is no folder") from error
        except OSError as error:
            raise self._unusable(error) from error
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise StoreUnavailable(f"the data folder {self.path} is not writable for this user")

    def lock(self) -> None:
        """Claim the folder for this process, until `unlock` or its end.

        Raises:
            StoreUnavailable: another process serves from it; naming its process id. Or the
                folder cannot be written to after all, as on a disk that is read-only or full.
        """
        assert self._lock is None, "locked once"
        try:
            handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
        except BlockingIOError as error:
            holder = os.read(handle, 32).decode(errors="replace").strip() or "unknown"
            os.close(handle)
            raise StoreUnavailable(
                f"the data folder {self.path} is in use by another tidegate (process {holder}); "
                "stop it, or name another folder in TIDEGATE_DATA_DIR"
            ) from error
        except OSError as error:
            os.close(handle)
            raise self._unusable(error) from error
        self._lock = handle

    def _unusable(self, error: OSError) -> StoreUnavailable:
        reason = (error.strerror or "it cannot be used").lower()
        return StoreUnavailable(f"the data folder {self.path}: {reason}")

    def unlock(self) -> None:
        """Let others use the folder. Idempotent."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
