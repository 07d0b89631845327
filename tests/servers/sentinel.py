"""Three Valkeys, one of them the primary, and the three sentinels that watch over them.

Sentinels learn of replicas and of each other on timers of seconds; `SENTINEL DEBUG` shortens them,
so that the group is ready in one second instead of ten.
"""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import hiredis

from tests.servers.child import Child
from tests.servers.found import valkey_binary
from tests.servers.resp import ask
from tests.servers.valkey import Valkey

SERVICE = "tidegate"
QUORUM = 2
DOWN_AFTER_MS = 500
"""Short for a fast test, and still far above what a busy machine takes to answer."""
FAILOVER_MS = 3000
_FAST = ("info-period", 200, "publish-period", 200, "ask-period", 200)


class Sentinel(Child):
    """One sentinel. `primary_port`: of the server that is the primary at the start."""

    name = "sentinel"

    def __init__(self, primary_port: int) -> None:
        super().__init__()
        self._primary_port = primary_port

    def ask(self, *words: str | bytes | int) -> Any:
        """Return the answer to a command, over a connection of its own."""
        return ask(self.port, *words)

    def primary_port(self) -> int:
        """Return where this sentinel believes the primary to be."""
        _, port = self.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return int(port)

    def knows_everyone(self) -> bool:
        """Whether it has found both replicas and both other sentinels."""
        words = self.ask("SENTINEL", "MASTER", SERVICE)
        found = dict(zip(words[::2], words[1::2], strict=True))
        return (found[b"num-slaves"], found[b"num-other-sentinels"]) == (b"2", b"2")

    def command(self) -> list[str]:
        binary = valkey_binary()
        assert binary, "there is no Valkey here"
        config = self.folder / "sentinel.conf"
        if not config.exists():
            # It writes into the file what it learns, and finds it there when it is restarted.
            lines = [
                f"port {self.port}",
                "bind 127.0.0.1",
                f"dir {shlex.quote(str(self.folder))}",
                f"sentinel monitor {SERVICE} 127.0.0.1 {self._primary_port} {QUORUM}",
                f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}",
                f"sentinel failover-timeout {SERVICE} {FAILOVER_MS}",
            ]
            config.write_text("".join(f"{line}\n" for line in lines))
        return [binary, str(config), "--sentinel"]

    def is_ready(self) -> bool:
        try:
            server = self.ask("INFO", "server")
            if f"process_id:{self.pid}\r\n".encode() not in server:
                return False
            self.ask("SENTINEL", "DEBUG", *_FAST)
        except (OSError, hiredis.ReplyError):
            return False
        return True


class Sentinels:
    """The whole group. A context manager that starts it and waits until it could fail over."""

    def __init__(self) -> None:
        self.servers: list[Valkey] = []
        self.sentinels: list[Sentinel] = []
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        """Where the group is, for a client."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}"

    def primary(self) -> Valkey:
        """Return the server that most sentinels hold for the primary."""
        ports = [each.primary_port() for each in self.sentinels]
        port = max(set(ports), key=ports.count)
        return next(server for server in self.servers if server.port == port)

    def fail_over(self) -> tuple[Valkey, Valkey]:
        """Kill the primary; return it and its successor, once every sentinel knows."""
        old = self.primary()
        old.kill()
        self.sentinels[0].wait_until(
            lambda: (
                all(each.primary_port() != old.port for each in self.sentinels)
                and self.primary().is_primary()
            ),
            "a new primary",
        )
        return old, self.primary()

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
        fast = {"repl-diskless-sync-delay": "0"}
        primary = self._stack.enter_context(Valkey(options=fast))
        self.servers.append(primary)
        for _ in range(2):
            replica = Valkey(replica_of=primary.port, options=fast)
            self.servers.append(self._stack.enter_context(replica))
        for _ in range(3):
            self.sentinels.append(self._stack.enter_context(Sentinel(primary.port)))
        for sentinel in self.sentinels:
            sentinel.wait_until(sentinel.knows_everyone, "knows the others")
        for replica in self.servers[1:]:
            replica.wait_until(replica.is_in_step, "in step")
