"""Which server takes the writes, asked of those that know: sentinels, or the nodes of a cluster.

Written as questions and answers, so that both colours of a wire can ask them. A sentinel that was
away may name a server that is no primary any more, so the server is asked, too.

Source: https://valkey.io/topics/sentinel-clients/, https://valkey.io/commands/cluster-slots/
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from tidegate.adapters.redis.address import RedisAddress
from tidegate.adapters.redis.endpoint import Endpoint, Node
from tidegate.adapters.redis.reply import Arg, ServerError
from tidegate.errors import InvalidSetting, StoreUnavailable

Question = tuple[Endpoint, tuple[Arg, ...]]
Answer = Any
"""What the server replied, or the `StoreUnavailable` or `ServerError` that came instead."""
Search = Generator[Question, Answer, Endpoint]


def find_primary(address: RedisAddress, key: str) -> Search:
    """Ask until it is known where writes to the key go.

    Raises:
        StoreUnavailable: nobody knows just now.
        InvalidSetting: whoever could know has never heard of what the address names.
    """
    if address.mode == "sentinel":
        return _by_sentinels(address)
    if address.mode == "cluster":
        return _in_cluster(address, key)
    return _named(address)


def _named(address: RedisAddress) -> Search:
    yield from ()
    return address.endpoint()


def _by_sentinels(address: RedisAddress) -> Search:
    reasons: list[str] = []
    strangers = 0
    for sentinel in address.sentinels():
        answer = yield sentinel, ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.service)
        if isinstance(answer, Exception):
            reasons.append(str(answer))
            continue
        if answer is None:
            strangers += 1
            continue
        host, port = answer
        primary = address.endpoint(Node(host=host.decode(), port=int(port)))
        role = yield primary, ("ROLE",)
        if not isinstance(role, Exception) and role[0] == b"master":
            return primary
        reasons.append(f"{primary} is no primary")
    if strangers == len(address.sentinels()):
        raise InvalidSetting("store_url.service", address.service, "a name the sentinels know")
    raise StoreUnavailable(f"the store at {address}: {reasons[-1]}")


def _in_cluster(address: RedisAddress, key: str) -> Search:
    reason = ""
    for node in address.nodes:
        endpoint = address.endpoint(node)
        slot = yield endpoint, ("CLUSTER", "KEYSLOT", key)
        ranges = yield endpoint, ("CLUSTER", "SLOTS")
        failed = next((each for each in (slot, ranges) if isinstance(each, Exception)), None)
        if isinstance(failed, ServerError) and failed.kind == "ERR":
            raise InvalidSetting("store_url", str(endpoint), "a node of a cluster, or redis://")
        if failed is not None:
            reason = str(failed)
            continue
        for first, last, (host, port, *_), *_ in ranges:
            if first <= slot <= last:
                # An empty host is the one that was asked.
                return address.endpoint(Node(host=(host or b"").decode() or node.host, port=port))
        reason = "the slot of its keys has no server"
    raise StoreUnavailable(f"the store at {address}: {reason}")
