"""Numbers for browsers, and with them, as root, users that no other browser has.

When a browser ends, every process of its user is killed, so two services on one machine must
never share one. A name in the kernel's abstract socket space says that a user is taken; it goes
when the process that took it does, however that ends.
"""

from __future__ import annotations

import os
import socket

from tidegate.errors import BrowserUnavailable

# Far more than a machine has room for; a bound for the search, should all be taken.
_SLOTS_MAX = 256


class Slots:
    """Slots of one launcher. As root, slot `n` stands for the user `uid_base + n`."""

    def __init__(self, uid_base: int) -> None:
        self._uid_base = uid_base if os.geteuid() == 0 else None
        self._taken: dict[int, socket.socket | None] = {}

    def take(self) -> int:
        """Take the lowest free slot whose user nobody on this machine has.

        Raises:
            BrowserUnavailable: there is none.
        """
        for slot in range(_SLOTS_MAX):
            if slot in self._taken:
                continue
            uid = self.uid(slot)
            claim = None if uid is None else _claim(uid)
            if uid is None or claim is not None:
                self._taken[slot] = claim
                return slot
        raise BrowserUnavailable(f"no user is free from {self._uid_base} on")

    def give_back(self, slot: int) -> None:
        """Let others have the slot. Its browser's processes must be gone. Idempotent."""
        claim = self._taken.pop(slot, None)
        if claim is not None:
            claim.close()

    def uid(self, slot: int) -> int | None:
        """The user of a slot, or None where browsers run as ourselves."""
        return None if self._uid_base is None else self._uid_base + slot


def _claim(uid: int) -> socket.socket | None:
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0tidegate-browser-user-{uid}")
    except OSError:
        claim.close()
        return None
    return claim
