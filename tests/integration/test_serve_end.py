"""The end of a service with browsers and workers: nothing of it is left, whatever ended it."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.serving import (
    DEADLINE_S,
    TRACEBACK,
    Running,
    alive,
    descendants,
    open_folder,
    running,
    until,
)
from tests.pdf_samples import says

pytestmark = pytest.mark.needs("chromium", "playwright", "pdfium", "wasmtime", "linux_proc")


def full(folder: Path) -> dict[str, str]:
    """Settings with browsers of users that no other service has, and a site of ours allowed."""
    path = folder / "config.yml"
    uid_base = 100_000 + 64 * (os.getpid() % 10_000)
    path.write_text(f"browser: {{uid_base: {uid_base}, timeout_s: 30}}\n", "utf-8")
    return {"TIDEGATE_CONFIG": str(path), "TIDEGATE_EGRESS_ALLOW": "127.0.0.1"}


@pytest.fixture
def service() -> Iterator[Running]:
    with open_folder() as folder, running(folder, **full(folder)) as service:
        for part in ("browsers", "pdf", "wasm"):
            until(lambda part=part: service.component(part) == "ok", part)  # type: ignore[misc]
        yield service


@pytest.fixture
def slow_site() -> Iterator[tuple[str, socket.socket]]:
    """A server that takes a request and answers when it is told to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE_S)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/", listener


def gone(service: Running, before: dict[int, str], within_s: float) -> None:
    """See that no process and no temporary file of the service is left."""
    kinds = " ".join(before.values())
    assert "--type=" in kinds
    assert "node" in kinds
    assert "pdfium.worker" in kinds
    until(lambda: not alive(before), f"all gone, not {alive(before)}", within_s)
    assert leftovers(service) == []


def leftovers(service: Running) -> list[str]:
    temporary = service.folder / "tmp"
    browser = service.folder / "data" / "browser"
    kept = [path for path in browser.iterdir() if path.name != "lock"]
    return [str(path) for path in (*temporary.iterdir(), *kept)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left(service: Running, number: signal.Signals) -> None:
    header = service.tenant()
    upload = {"file": ("a.pdf", says(b"anything"), "application/pdf")}
    read = service.client.post("/v1/pdf", headers=header, files=upload)
    assert read.status_code == 200, read.text
    before = descendants(service.process.pid)
    assert service.end(number) == 0
    gone(service, before, within_s=0.5)
    assert TRACEBACK not in service.logged


def test_a_slow_render_is_finished(service: Running, slow_site: tuple[str, socket.socket]) -> None:
    url, listener = slow_site
    header = service.tenant()
    before = descendants(service.process.pid)
    with ThreadPoolExecutor(1) as client:
        render = client.submit(
            service.client.post,
            "/v1/render",
            headers=header,
            json={"url": url, "format": "text", "timeout_s": 30},
        )
        connection, _ = listener.accept()
        service.process.send_signal(signal.SIGTERM)
        time.sleep(2)
        assert service.process.poll() is None
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\nworth waiting")
        answer = render.result(DEADLINE_S)
    assert (answer.status_code, answer.json()["content"]) == (200, "worth waiting")
    assert service.process.wait(DEADLINE_S) == 0
    gone(service, before, within_s=0.5)


def test_a_second_signal_ends_a_render(
    service: Running, slow_site: tuple[str, socket.socket]
) -> None:
    url, listener = slow_site
    header = service.tenant()
    before = descendants(service.process.pid)
    body = {"url": url, "format": "text", "timeout_s": 30}
    with ThreadPoolExecutor(1) as client:
        render = client.submit(service.client.post, "/v1/render", headers=header, json=body)
        connection, _ = listener.accept()
        with connection:
            service.process.send_signal(signal.SIGTERM)
            time.sleep(1)
            started_s = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            assert service.process.wait(DEADLINE_S) == 0
            # It takes one second; the render would take 30, shutdown_s 25.
            assert time.monotonic() - started_s < 12
        answer = render.result(DEADLINE_S)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    gone(service, before, within_s=0.5)
    assert TRACEBACK not in service.logged


def test_a_killed_service_takes_everything_along(
    service: Running, slow_site: tuple[str, socket.socket]
) -> None:
    url, listener = slow_site
    header = service.tenant()
    before = descendants(service.process.pid)
    with ThreadPoolExecutor(1) as client:
        body = {"url": url, "format": "text", "timeout_s": 30}
        client.submit(service.client.post, "/v1/render", headers=header, json=body)
        listener.accept()[0].close()
        service.process.kill()
        killed_s = time.monotonic()
        service.process.wait(DEADLINE_S)
        until(lambda: not alive(before), f"all gone, not {alive(before)}", within_s=20)
        print(f"all processes were gone after {time.monotonic() - killed_s:.2f} s")
    # The next one sweeps what the killed one could not.
    with running(service.folder, **full(service.folder)) as following:
        until(lambda: following.component("browsers") == "ok", "browsers")
        assert following.end() == 0
        assert leftovers(following) == []
