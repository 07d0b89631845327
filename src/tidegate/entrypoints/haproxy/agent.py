"""One connection of HAProxy: greeting, questions in any order, answers as they come, farewell.

Each question is a task, so that one that takes long keeps nobody waiting. When the connection is
lost they are cancelled, and what they were granted and could not tell is given back.

Source: HAProxy, doc/SPOE.txt, section 3.2.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from tidegate.entrypoints.gateway_listener import GatewayConnection
from tidegate.entrypoints.haproxy import frames
from tidegate.entrypoints.haproxy.frames import Broken, Frame, Message, read_frame

VERSION = "2.0"
ASKED_MAX = 1_000
"""Questions of one connection at once; a peer that asks more is not read until some are done."""

Variables = dict[str, str | int]
Ask = Callable[[Sequence[Message]], Awaitable[Variables]]

_log = logging.getLogger(__name__)


class Agent(GatewayConnection):
    """Speaks for the service.

    Args:
        ask: Answers the messages of one frame with the variables to set; cancelled when the
            connection is lost.
        closed: Called once when the connection is gone.
    """

    def __init__(self, ask: Ask, closed: Callable[[GatewayConnection], None]) -> None:
        super().__init__(closed)
        self._ask = ask
        self._buffer = bytearray()
        self._frame_max_bytes = frames.FRAME_MAX_BYTES
        self._known = self._full = False
        self._tasks: set[asyncio.Task[None]] = set()

    def give_up(self) -> None:
        """Cancel every question."""
        for task in self._tasks:
            task.cancel()

    def resume_writing(self) -> None:
        """Go on, if there are not too many questions."""
        super().resume_writing()
        self._go_on()

    def end(self) -> None:
        """Take no new questions, and say farewell once those that were asked are answered."""
        self.ending = True
        self._leave_if_done()

    def data_received(self, data: bytes) -> None:
        """Take in what came, frame by frame."""
        self._buffer += data
        try:
            self._read()
        except Broken as broken:
            _log.warning("a connection of HAProxy ends: %s", broken)
            self._leave(broken.status)

    def _read(self) -> None:
        place = 0
        while len(self._buffer) - place >= frames.LENGTH_BYTES and self._may_go_on():
            start = place + frames.LENGTH_BYTES
            size = int.from_bytes(self._buffer[place:start], "big")
            if size > self._frame_max_bytes:
                raise Broken(frames.TOO_BIG)
            if len(self._buffer) < start + size:
                break
            place = start + size
            self._take(read_frame(bytes(self._buffer[start:place])))
        del self._buffer[:place]

    def _take(self, frame: Frame) -> None:
        if not self._known:
            if frame.kind != frames.HELLO:
                raise Broken(frames.INVALID)
            self._greet(frame)
        elif frame.kind == frames.NOTIFY:
            self._begin(frame)
        elif frame.kind == frames.DISCONNECT:
            self._leave(frames.NO_ERROR)
        elif frame.kind == frames.HELLO:
            raise Broken(frames.INVALID)
        # Frames of unknown kinds are passed over, as the protocol asks.

    def _greet(self, frame: Frame) -> None:
        said = frames.read_pairs(frame.payload)
        versions, size = said.get("supported-versions"), said.get("max-frame-size")
        if not isinstance(versions, str):
            raise Broken(frames.NO_VERSION)
        if VERSION not in [version.strip() for version in versions.split(",")]:
            raise Broken(frames.BAD_VERSION)
        if not isinstance(size, int):
            raise Broken(frames.NO_FRAME_SIZE)
        if size < frames.FRAME_MIN_BYTES:
            raise Broken(frames.BAD_FRAME_SIZE)
        if not isinstance(said.get("capabilities"), str):
            raise Broken(frames.NO_CAPABILITIES)
        self._known = True
        self.greeted()
        self._frame_max_bytes = min(size, frames.FRAME_MAX_BYTES)
        own: Variables = {
            "version": VERSION,
            "max-frame-size": self._frame_max_bytes,
            "capabilities": "pipelining",
        }
        self.write(frames.write_frame(frames.AGENT_HELLO, 0, 0, frames.write_pairs(own)))
        if said.get("healthcheck") is True:
            # A check of our health asks no more than this.
            self.close()

    def _begin(self, frame: Frame) -> None:
        task = self.loop.create_task(self._answer(frame, frames.read_messages(frame.payload)))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        if not self._may_go_on():
            self._full = True
            self.transport.pause_reading()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a bug: HAProxy was not answered as it should be", exc_info=error)
        self._go_on()
        self._leave_if_done()

    async def _answer(self, frame: Frame, messages: Sequence[Message]) -> None:
        variables = await self._ask(messages)
        answer = self._ack(frame, variables)
        while len(answer) - frames.LENGTH_BYTES > self._frame_max_bytes:
            # What decides is short; what explains can be done without.
            del variables[max(variables, key=lambda name: len(str(variables[name])))]
            answer = self._ack(frame, variables)
        self.write(answer)

    def _ack(self, frame: Frame, variables: Variables) -> bytes:
        payload = frames.write_variables(variables)
        return frames.write_frame(frames.ACK, frame.stream_id, frame.frame_id, payload)

    def _may_go_on(self) -> bool:
        return not self.ending and len(self._tasks) < ASKED_MAX

    def _go_on(self) -> None:
        if self._full and self._may_go_on() and not self.stuck:
            self._full = False
            self.transport.resume_reading()
            if self._buffer:
                self.data_received(b"")

    def _leave_if_done(self) -> None:
        if self.ending and not self._tasks:
            self._leave(frames.NO_ERROR)

    def _leave(self, status: int) -> None:
        if self.transport.is_closing():
            return
        said: Variables = {"status-code": status, "message": frames.REASONS[status]}
        self.write(frames.write_frame(frames.AGENT_DISCONNECT, 0, 0, frames.write_pairs(said)))
        self.close()
