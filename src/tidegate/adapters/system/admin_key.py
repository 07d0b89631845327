"""The admin key: given by the operator, or made once and kept in a file with mode 0600."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from tidegate.errors import StoreUnavailable

KEY_BYTES = 32


class AdminKey:
    """Compares keys in constant time, and notices when the file was rotated by another process.

    Args:
        given: The operator's own key; then there is no file.
    """

    def __init__(self, path: Path, *, given: str | None = None) -> None:
        self.path = path
        self.given = given is not None
        self._given = given
        self._digest = _digest(given or "")
        self._seen: tuple[int, int] | None = None

    def ensure(self) -> str | None:
        """Make the key file if there is none; return the new key, to be shown this once."""
        if self.given or self.path.exists():
            return None
        return self.rotate()

    def rotate(self) -> str:
        """Replace the key; the old one is refused from now on, by a running service too.

        Raises:
            StoreUnavailable: the file cannot be written.
        """
        key = f"tga_{secrets.token_urlsafe(KEY_BYTES)}"
        fresh = self.path.with_suffix(".new")
        try:
            fresh.unlink(missing_ok=True)
            handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(key + "\n")
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
        except OSError as error:
            reason = (error.strerror or "it cannot be written").lower()
            raise StoreUnavailable(f"the admin key file {self.path}: {reason}") from error
        return key

    def text(self) -> str:
        """Return the key itself, for those who call a service with it.

        Raises:
            StoreUnavailable: there is none yet, or it cannot be read.
        """
        if self._given is not None:
            return self._given
        try:
            return self.path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise StoreUnavailable(f"there is no admin key to read in {self.path}") from None

    def matches(self, key: str) -> bool:
        """Say whether this is the admin key."""
        if not self.given:
            self._look()
        return bool(self._digest) and hmac.compare_digest(self._digest, _digest(key))

    def _look(self) -> None:
        try:
            state = self.path.stat()
            seen = (state.st_mtime_ns, state.st_ino)
            if seen != self._seen:
                self._digest = _digest(self.path.read_text(encoding="utf-8").strip())
                self._seen = seen
        except (OSError, UnicodeDecodeError):
            # Without a readable key nobody is an admin.
            self._digest, self._seen = b"", None


def _digest(key: str) -> bytes:
    """Return what is compared. No key at all has no digest, and so matches nothing."""
    if not key:
        return b""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
