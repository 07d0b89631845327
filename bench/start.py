"""From `exec` to the first 200 on /readyz: `tidegate serve` on a fresh data folder.

The peer is the smallest FastAPI application on the same server, event loop and parser, started
the same way in the same round: what it takes is what the libraries take. Both run with compiled
byte code in place; the first round of each is left out.

Run: python bench/start.py [--rounds 20]
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PEER = """
import asyncio, sys, uvicorn, uvloop
from fastapi import FastAPI

app = FastAPI()

@app.get("/readyz")
async def readyz() -> dict[str, bool]:
    return {"ready": True}

config = uvicorn.Config(app, port=int(sys.argv[1]), http="httptools", log_config=None)
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(uvicorn.Server(config).serve())
"""
READY_MAX_S = 60.0
END_MAX_S = 40.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def ready(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=READY_MAX_S) as connection:
            connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def measure(command: Callable[[int], list[str]], environ: dict[str, str]) -> tuple[float, float]:
    """Return the seconds until it is ready, and those from SIGTERM to the end."""
    port = free_port()
    started_s = time.perf_counter()
    process = subprocess.Popen(
        command(port), env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not ready(port):
            if process.poll() is not None or time.perf_counter() > started_s + READY_MAX_S:
                raise SystemExit(f"{command(port)[:3]} did not become ready")
            time.sleep(0.002)
        ready_s = time.perf_counter() - started_s
        process.send_signal(signal.SIGTERM)
        process.wait(END_MAX_S)
        return ready_s, time.perf_counter() - started_s - ready_s
    finally:
        process.kill()
        process.wait()


def main(rounds: int) -> None:
    tidegate = str(Path(sys.executable).with_name("tidegate"))
    ours: list[tuple[float, float]] = []
    peers: list[tuple[float, float]] = []
    for number in range(rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            environ = {"PATH": os.environ["PATH"], "TIDEGATE_DATA_DIR": f"{folder}/data"}
            one = measure(
                lambda port: [tidegate, "serve", "--port", str(port)], {**environ, "HOME": folder}
            )
            shutil.rmtree(f"{folder}/data")
            other = measure(lambda port: [sys.executable, "-c", PEER, str(port)], environ)
        if number:
            ours.append(one)
            peers.append(other)
    print(f"seconds, medians of {rounds} rounds, least and most in brackets:")
    for label, times in (("tidegate serve", ours), ("bare FastAPI", peers)):
        print(f"  {label:15} ready {shown(times, 0)}   end {shown(times, 1)}")


def shown(times: list[tuple[float, float]], column: int) -> str:
    values = [row[column] for row in times]
    return f"{statistics.median(values):.3f} ({min(values):.3f}..{max(values):.3f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    main(parser.parse_args().rounds)
