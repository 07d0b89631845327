"""A cluster of three primaries with a replica each."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Self

from tests.servers.valkey import Valkey

PRIMARIES = 3
SLOTS = 16_384
NODE_TIMEOUT_MS = 1000
"""Short for a fast test, and still far above what a busy machine takes to answer."""


class Cluster:
    """Six nodes, the primaries first. A context manager that starts it and waits until it is whole.

    Every slot has a server and every replica is in step.
    """

    def __init__(self) -> None:
        self.nodes: list[Valkey] = []
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        """Where the cluster is, for a client: three of its nodes."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:PRIMARIES])
        return f"redis+cluster://{hosts}"

    def primaries(self) -> list[Valkey]:
        """Return the nodes that serve slots now, in the order of the slots."""
        return [owner for _, owner in self._ranges()]

    def owner(self, key: str) -> Valkey:
        """Return the primary that serves the key's slot now."""
        slot = self._slot(key)
        return next(owner for slots, owner in self._ranges() if slot in slots)

    def fail_over(self, key: str) -> tuple[Valkey, Valkey]:
        """Kill the primary of the key; return it and its successor, once writes are possible."""
        old = self.owner(key)
        old.kill()
        alive = [node for node in self.nodes if node.is_running]
        alive[0].wait_until(lambda: self.owner(key) is not old, "a new primary")
        for node in alive:
            node.wait_until(partial(_serves_all, node), "every slot served")
        return old, self.owner(key)

    def move_slot(self, key: str, to: Valkey) -> None:
        """Give the key's slot, which must be empty, to another primary; clients get MOVED."""
        slot, identifier = self._slot(key), to.ask("CLUSTER", "MYID")
        # The new owner first: it raises the epoch, by which the others believe it.
        for node in [to, *(other for other in self.primaries() if other is not to)]:
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", identifier)

    def flush(self) -> None:
        """Forget all data and scripts."""
        for node in set(self.primaries()):
            node.flush()

    def __enter__(self) -> Self:
        with self._stack:
            self._start()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _start(self) -> None:
        options = {
            "cluster-enabled": "yes",
            "cluster-config-file": "nodes.conf",
            "cluster-node-timeout": str(NODE_TIMEOUT_MS),
            # A replica may take over however long ago it last heard of its primary.
            "cluster-replica-validity-factor": "0",
            "repl-diskless-sync-delay": "0",
        }
        for _ in range(2 * PRIMARIES):
            self.nodes.append(self._stack.enter_context(Valkey(options=options)))
        for number, node in enumerate(self.nodes):
            # Different from the start, epochs need not be settled among the nodes.
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number < PRIMARIES:
                first, end = (n * SLOTS // PRIMARIES for n in (number, number + 1))
                node.ask("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
            node.ask("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        for node in self.nodes:
            node.wait_until(partial(_knows, node, len(self.nodes)), "knows the others")
        for primary, replica in zip(self.nodes, self.nodes[PRIMARIES:], strict=False):
            replica.ask("CLUSTER", "REPLICATE", primary.ask("CLUSTER", "MYID"))
        for node in self.nodes:
            node.wait_until(partial(_serves_all, node), "every slot served")
        for replica in self.nodes[PRIMARIES:]:
            replica.wait_until(replica.is_in_step, "in step")

    def _ranges(self) -> list[tuple[range, Valkey]]:
        by_port = {node.port: node for node in self.nodes}
        alive = next(node for node in self.nodes if node.is_running)
        return [
            (range(first, last + 1), by_port[port])
            for first, last, (_, port, *_), *_ in sorted(alive.ask("CLUSTER", "SLOTS"))
        ]

    def _slot(self, key: str) -> int:
        alive = next(node for node in self.nodes if node.is_running)
        return int(alive.ask("CLUSTER", "KEYSLOT", key))


def _knows(node: Valkey, nodes: int) -> bool:
    return f"cluster_known_nodes:{nodes}\r\n".encode() in node.ask("CLUSTER", "INFO")


def _serves_all(node: Valkey) -> bool:
    return b"cluster_state:ok" in node.ask("CLUSTER", "INFO")
