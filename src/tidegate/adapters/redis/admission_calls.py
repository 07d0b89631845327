"""What a store of limits says to its server, and what the answers mean; for both colours of a wire.

All keys of one store have one hash tag, so that they lie in one slot: one batch is one step, also
on a cluster, which then serves each store from one of its nodes.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from tidegate.adapters.redis.address import RedisAddress
from tidegate.adapters.redis.bounds import Bounds
from tidegate.adapters.redis.endpoint import Endpoint
from tidegate.adapters.redis.failures import unavailable
from tidegate.adapters.redis.packing import pack_batch
from tidegate.adapters.redis.reply import Arg, ServerError
from tidegate.adapters.redis.script import SCRIPT, SHA
from tidegate.domain.batch import Batch, Reply
from tidegate.errors import InvalidSetting, TidegateError

CONNECT_TIMEOUT_MIN_US = 2_000_000
TIMEOUT_MAX_S = 60.0
LOAD: tuple[Arg, ...] = ("SCRIPT", "LOAD", SCRIPT)

_PROBE = Batch("", 0, 0, False, 0, (), (), ())
"""Of nobody, so it changes nothing but what every batch does; a server that answers can do all."""

_SENTENCES = {
    "READONLY": "it is a replica now, and takes no writes",
    "MOVED": "another node of the cluster serves its keys now",
    "ASK": "its keys are being moved to another node of the cluster",
    "TRYAGAIN": "its keys are being moved to another node of the cluster",
    "CLUSTERDOWN": "the cluster is down",
    "MASTERDOWN": "it is a replica without a primary",
    "LOADING": "it is still loading its data",
    "BUSY": "a script keeps it busy",
    "NOREPLICAS": "it has too few replicas to take writes",
    "MISCONF": "it cannot save its data, and so takes no writes",
    "OOM": "its memory is full (maxmemory), so it takes no writes",
}
_NEVER = {
    "NOAUTH": "a user and a password in store_url",
    "WRONGPASS": "a user and a password that the server knows",
    "NOPERM": "a user who may run scripts, and do all to keys and channels of tidegate:*",
}
# Servers before version 7 wrap the refusal of a command within a script.
_WITHIN = re.compile(r"user_script: ?[0-9]+: -?([A-Z]{3,}) ")

_decode = msgspec.msgpack.Decoder(Reply).decode


class AdmissionCalls:
    """The calls of one store."""

    def __init__(self, address: RedisAddress) -> None:
        self._address = address
        self.key = f"tidegate:ratelimit:v1:{{{address.name}}}:"
        """What all keys begin with."""

    def apply(self, batch: Batch) -> tuple[Arg, ...]:
        """Return the call that applies a batch, by a script that the server knows."""
        return ("EVALSHA", SHA, 1, self.key, *pack_batch(batch))

    def probe(self) -> tuple[Arg, ...]:
        """Return a call that shows whether the server can do what batches need."""
        return self.apply(_PROBE)

    def channel(self, member: str) -> str:
        """Return where the script calls a member that is woken."""
        return f"{self.key}woken:{member}"

    def reply(self, endpoint: Endpoint, data: Any) -> Reply:
        """Read what the script returned. Raises StoreUnavailable if it makes no sense."""
        try:
            reply = _decode(data)
        except (msgspec.MsgspecError, TypeError):
            raise unavailable(endpoint, "its script answers nonsense") from None
        if len(reply.woken) > 1:
            return msgspec.structs.replace(reply, woken=tuple(sorted(reply.woken)))
        return reply

    def check(self, endpoint: Endpoint, server: dict[str, str]) -> None:
        """Look at what a server said of itself.

        Raises:
            StoreUnavailable: it takes no writes now.
            InvalidSetting: it is no server of data.
        """
        if server.get("mode") == "sentinel":
            raise InvalidSetting("store_url", str(endpoint), "redis+sentinel://, for a sentinel")
        if server.get("role") != "master":
            raise unavailable(endpoint, _SENTENCES["READONLY"])

    def error(self, endpoint: Endpoint, error: ServerError) -> TidegateError:
        """Return what a refusal means: that the store cannot be had now, or not as it is set up."""
        within = _WITHIN.search(error.message)
        kind = within[1] if within else error.kind
        if kind == "MOVED" and self._address.mode == "standalone":
            return InvalidSetting("store_url", str(endpoint), "redis+cluster://, for a cluster")
        if kind in _NEVER:
            return InvalidSetting("store_url", str(endpoint), _NEVER[kind])
        if kind == "ERR" and "unknown command" in error.message.lower():
            wanted = "Valkey, or Redis from version 6, that runs scripts"
            return InvalidSetting("store_url", str(endpoint), wanted)
        if kind == "ERR" and "db index" in error.message.lower():
            return InvalidSetting("store_url.db", self._address.db, "a database of the server")
        return unavailable(endpoint, _SENTENCES.get(kind, str(error)))


def bounds_of(timeout_s: float) -> Bounds:
    """Return when a wire gives up. Raises InvalidSetting."""
    if not 0 < timeout_s <= TIMEOUT_MAX_S:
        raise InvalidSetting(
            "timeout_s", timeout_s, f"more than 0, up to {TIMEOUT_MAX_S:g} seconds"
        )
    timeout_us = max(1, round(timeout_s * 1e6))
    return Bounds(
        deadline_us=timeout_us, connect_timeout_us=max(timeout_us, CONNECT_TIMEOUT_MIN_US)
    )
