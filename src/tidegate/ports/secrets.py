"""Unguessable identifiers."""

from __future__ import annotations

from typing import Protocol


class Secrets(Protocol):
    """A source of randomness that nobody can predict."""

    def token(self, length_bytes: int) -> str:
        """Return `length_bytes` random bytes as URL-safe text without padding."""
        ...
