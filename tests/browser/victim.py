"""Somebody on this machine who must never hear from a page: an HTTP port, a TCP port, UDP ports."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Ear(asyncio.DatagramProtocol):
    """Counts the packets of one UDP port."""

    def __init__(self) -> None:
        self.packets = 0
        self.port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.packets += 1


class Victim:
    """Remembers each connection; `heard` names the ways by which something came through."""

    def __init__(self) -> None:
        self.connections = 0
        self._heard: set[str] = set()
        self._stun, self._quic = Ear(), Ear()

    async def __aenter__(self) -> Victim:
        loop = asyncio.get_running_loop()
        self._http = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._turn = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        for ear in (self._stun, self._quic):
            await loop.create_datagram_endpoint(lambda ear=ear: ear, ("127.0.0.1", 0))  # type: ignore[misc]
        self.http_port, self.turn_port = (
            server.sockets[0].getsockname()[1] for server in (self._http, self._turn)
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for ear in (self._stun, self._quic):
            ear.transport.close()
        for server in (self._http, self._turn):
            server.close()
            await server.wait_closed()

    @property
    def packets(self) -> int:
        return self._stun.packets + self._quic.packets

    @property
    def heard(self) -> set[str]:
        """The ways that reached it so far."""
        udp = {"webrtc_stun": self._stun, "webtransport": self._quic}
        return self._heard | {way for way, ear in udp.items() if ear.packets}

    def addressed(self, text: str, way: str) -> str:
        """Put the addresses that `way` shall try into a page's text."""
        return (
            text.replace("VICTIM", f"http://127.0.0.1:{self.http_port}/{way}")
            .replace("HOST", f"127.0.0.1:{self.http_port}/{way}")
            .replace("TURN", f"127.0.0.1:{self.turn_port}")
            .replace("STUN", f"127.0.0.1:{self._stun.port}")
            .replace("QUIC", f"127.0.0.1:{self._quic.port}")
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            line = await reader.readline()
            if path := line.decode("latin-1").partition("/")[2]:
                self._heard.add(path.split()[0].rstrip("?"))
            await reader.readuntil(b"\r\n\r\n")
            writer.write(
                b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\n"
                b"Content-Type: text/javascript\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._heard.add("webrtc_turn")
        writer.close()
