"""The compiled extractor and the stores it runs in: the only file that knows wasmtime.

The module is compiled once per process. Every sandbox then loads that machine code into an engine
of its own, because an epoch belongs to an engine: one call can be interrupted and no other is.
Every page gets a fresh store, so that nothing of one tenant's page is left for the next.

Source: wasmtime, "Config" (epoch_interruption, max_wasm_stack), "Store" (limiter).
"""

from __future__ import annotations

import threading
from functools import cache
from importlib import resources

import wasmtime

from tidegate.adapters.wasmtime.epochs import DEADLINES, OPERATION, Call
from tidegate.adapters.wasmtime.layout import RESULT, RawPage, read_records
from tidegate.errors import DocumentUnreadable, WorkerCrashed, WorkTimeout

# The extractor does not recurse; this leaves room even on threads with the smallest usual stack.
STACK_MAX_BYTES = 128 * 1024

_compiling = threading.Lock()


def shipped_code() -> bytes:
    """Return the extractor's WebAssembly module as it was installed."""
    return resources.files(__package__).joinpath("extract.wasm").read_bytes()


def _engine() -> wasmtime.Engine:
    config = wasmtime.Config()
    config.epoch_interruption = True
    config.max_wasm_stack = STACK_MAX_BYTES
    # Compilation on several threads would leave them behind for the life of the process.
    config.parallel_compilation = False
    return wasmtime.Engine(config)


@cache
def _machine_code(code: bytes) -> bytes:
    return bytes(wasmtime.Module(_engine(), code).serialize())


class Sandbox:
    """One engine that runs one page at a time, each in a store of its own."""

    def __init__(self, code: bytes, *, memory_max_bytes: int) -> None:
        with _compiling:
            machine_code = _machine_code(code)
        self._engine = _engine()
        self._module = wasmtime.Module.deserialize(self._engine, machine_code)
        self._memory_max_bytes = memory_max_bytes
        self.memory_bytes = 0
        self.memory_peak_bytes = 0

    def run(self, document: list[bytes], call: Call) -> RawPage:
        """Extract one page, given as chunks of UTF-8. Blocks; the interpreter lock is released.

        Raises:
            WorkTimeout: the call's time was over.
            DocumentUnreadable: the memory does not suffice.
            WorkerCrashed: the call was stopped, or the instance trapped or spoke nonsense.
        """
        store = wasmtime.Store(self._engine)
        try:
            store.set_limits(memory_size=self._memory_max_bytes, instances=1, memories=1, tables=1)
            store.set_epoch_deadline(1)
            with DEADLINES.watch(call, self._engine):
                return self._run_in(store, document)
        except wasmtime.Trap as trap:
            if trap.trap_code != wasmtime.TrapCode.INTERRUPT:
                raise WorkerCrashed(f"the extractor trapped: {trap.trap_code}") from trap
            call.check()
            # Only a deadline interrupts what was not stopped, whatever a clock rounds.
            raise WorkTimeout(OPERATION, call.timeout_us) from trap
        except wasmtime.WasmtimeError as error:
            raise WorkerCrashed(f"the extractor cannot run: {error}") from error
        finally:
            store.close()

    def _run_in(self, store: wasmtime.Store, document: list[bytes]) -> RawPage:
        exports = wasmtime.Instance(store, self._module, []).exports(store)
        memory, reserve, extract = (exports[name] for name in ("memory", "reserve", "extract"))
        assert isinstance(memory, wasmtime.Memory)
        assert isinstance(reserve, wasmtime.Func)
        assert isinstance(extract, wasmtime.Func)
        size = sum(map(len, document))
        at = self._address(size < self._memory_max_bytes and reserve(store, size))
        self._measure(memory, store)
        for chunk in document:
            self._write(memory, store, chunk, at)
            at += len(chunk)
        result = self._address(extract(store))
        self._measure(memory, store)
        where = RESULT.unpack(self._read(memory, store, result, RESULT.size))
        text = self._read(memory, store, where[0], where[1])
        data = self._read(memory, store, where[2], where[3])
        return RawPage(text=text, records=read_records(data, text_size=len(text)))

    def _address(self, value: object) -> int:
        if not value:
            mib = self._memory_max_bytes // 2**20
            raise DocumentUnreadable(
                f"the page needs more than the {mib} MiB of memory it may have"
            )
        assert isinstance(value, int)
        return value & 0xFFFF_FFFF

    def _measure(self, memory: wasmtime.Memory, store: wasmtime.Store) -> None:
        self.memory_bytes = memory.data_len(store)
        self.memory_peak_bytes = max(self.memory_peak_bytes, self.memory_bytes)

    @staticmethod
    def _write(memory: wasmtime.Memory, store: wasmtime.Store, chunk: bytes, at: int) -> None:
        try:
            memory.write(store, bytearray(chunk), at)
        except IndexError as error:
            raise WorkerCrashed("the extractor asked for its input outside its memory") from error

    @staticmethod
    def _read(memory: wasmtime.Memory, store: wasmtime.Store, at: int, size: int) -> bytes:
        if at + size > memory.data_len(store):
            raise WorkerCrashed("the extractor points outside its memory")
        return bytes(memory.read(store, at, at + size))
