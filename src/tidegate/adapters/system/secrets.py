"""The system's source of randomness."""

from __future__ import annotations

import secrets


class SystemSecrets:
    """`Secrets` on the operating system's generator."""

    def token(self, length_bytes: int) -> str:
        """Return `length_bytes` random bytes as URL-safe text without padding."""
        assert length_bytes > 0, length_bytes
        return secrets.token_urlsafe(length_bytes)
