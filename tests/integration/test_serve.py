"""`tidegate serve` as a process: what it leaves on the disk, says, refuses and logs."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.serving import (
    COMMAND,
    DEADLINE_S,
    TRACEBACK,
    Running,
    bearer,
    environment,
    find_key,
    free_port,
    running,
    tidegate,
    until,
    without_browser,
)

CLAIMABLE = """
limits:
  - {kind: capacity, resource: gpus, units: 1, claimable: true}
"""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path, **without_browser(tmp_path, limits=CLAIMABLE)) as service:
        yield service


def status(service: Running, header: dict[str, str]) -> int:
    return service.client.get("/admin/tenants", headers=header).status_code


def test_a_fresh_folder_starts_empty_and_safe(service: Running) -> None:
    printed = service.greeted("tidegate tenant create")
    key = find_key(printed)
    assert printed.count(key) == 1
    assert service.url in printed
    assert all(len(line) <= 100 for line in printed.splitlines())
    data = service.folder / "data"
    assert (data / "admin.key").read_text().strip() == key
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    files = [path for path in data.iterdir() if path.is_file()]
    assert {path.name for path in files} >= {"admin.key", "lock", "tidegate.db"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert service.client.get("/admin/tenants", headers=bearer(key)).json() == {"tenants": []}
    assert service.client.get("/admin/tenants").status_code == 401
    assert service.client.post("/v1/render", json={"url": "http://a/"}).status_code == 401
    assert service.end() == 0
    assert TRACEBACK not in service.logged
    with running(service.folder, **without_browser(service.folder)) as second:
        printed = second.greeted("tidegate tenant create")
        assert key not in printed
        assert str(data / "admin.key") in printed
        assert status(second, bearer(key)) == 200


def test_two_cannot_share_a_folder_or_a_port(service: Running, tmp_path: Path) -> None:
    pid = service.process.pid
    folder = tidegate("serve", "--port", "0", env=service.env)
    assert (folder.returncode, folder.stdout) == (1, "")
    assert f"in use by another tidegate (process {pid})" in folder.stderr
    (tmp_path / "other").mkdir()
    env = environment(tmp_path / "other")
    for demo in ([], ["--demo"]):
        port = tidegate("serve", "--port", str(service.port), *demo, env=env)
        assert (port.returncode, port.stdout) == (1, "")
        assert port.stderr.startswith(f"tidegate: port {service.port} on 127.0.0.1 cannot be had")
        assert "TIDEGATE_PORT" in port.stderr
        assert len(port.stderr.splitlines()) == 1
    assert list((tmp_path / "other" / "tmp").iterdir()) == []
    assert service.ready()


def test_a_killed_service_leaves_no_lock(tmp_path: Path) -> None:
    with running(tmp_path, **without_browser(tmp_path)) as killed:
        killed.process.kill()
        killed.process.wait(DEADLINE_S)
    with running(tmp_path, **without_browser(tmp_path)) as next_one:
        assert next_one.end() == 0


def test_the_admin_key_of_the_settings(tmp_path: Path) -> None:
    own = "an admin key of my own"
    settings = {**without_browser(tmp_path), "TIDEGATE_ADMIN_KEY": own}
    with running(tmp_path, **settings) as service:
        assert "TIDEGATE_ADMIN_KEY" in service.greeted("tidegate tenant create")
        assert own not in service.printed
        assert not (tmp_path / "data" / "admin.key").exists()
        assert status(service, bearer(own)) == 200
        assert status(service, bearer(own + "!")) == 401
        assert service.end() == 0
        assert own not in service.logged


def test_the_shell_works_on_a_running_service(service: Running) -> None:
    env = service.env
    old = service.admin()
    new = bearer(tidegate("admin-key", "rotate", env=env).stdout.strip())
    assert (status(service, old), status(service, new)) == (401, 200)
    key = find_key(tidegate("tenant", "create", "Acme", env=env).stdout)

    def answers(expected: int) -> None:
        url = "/v1/limits"
        until(
            lambda: service.client.get(url, headers=bearer(key)).status_code == expected,
            f"{expected} for the tenant's key",
        )

    answers(200)
    assert tidegate("tenant", "suspend", "acme", "--reason", "unpaid", env=env).returncode == 0
    answers(403)
    assert tidegate("tenant", "resume", "acme", env=env).returncode == 0
    answers(200)
    more = find_key(tidegate("tenant", "key", "acme", env=env).stdout)
    until(lambda: service.client.get("/v1/limits", headers=bearer(more)).status_code == 200, more)
    assert tidegate("tenant", "delete", "acme", "--yes", env=env).returncode == 0
    answers(401)


def test_log_lines_say_who_and_never_a_key(service: Running) -> None:
    header = service.tenant("acme")
    key = header["Authorization"].removeprefix("Bearer ")
    admin = find_key(service.printed)
    answer = service.client.get("/v1/limits", headers=header)
    service.client.get(f"/v1/{key}", headers=header)
    service.client.get(f"/{admin}")
    service.client.post("/v1/claims", headers=header, content=b'{"hold": {"' + key.encode())
    service.client.post("/v1/extract", headers=header, json={"url": f"http://{key}@127.0.0.1/"})
    assert service.end() == 0
    lines = [json.loads(line) for line in service.logged.splitlines()]
    assert not [line for line in lines if line["level"] not in ("info", "warning")]
    ours = next(line for line in lines if line.get("request_id") == answer.headers["x-request-id"])
    assert (ours["tenant"], ours["status"], ours["path"]) == ("acme", 200, "/v1/limits")
    assert {"event", "level", "logger", "timestamp", "method", "elapsed_s"} <= set(ours)
    assert len([line for line in lines if line["event"] == "request"]) >= 5
    assert key not in service.logged
    assert admin not in service.logged


def test_who_waits_is_refused_when_the_end_begins(service: Running) -> None:
    header = service.tenant()
    claim = {"hold": {"gpus": 1}, "lease_s": 60}
    assert service.client.post("/v1/claims", headers=header, json=claim).status_code == 201
    body = json.dumps({**claim, "timeout_s": 60}).encode()
    with socket.create_connection(("127.0.0.1", service.port), timeout=DEADLINE_S) as waiting:
        waiting.sendall(request("/v1/claims", header, body))
        until(lambda: b"tidegate_queue_depth 1" in metrics(service), "a claim that waits")
        started_s = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        answer = waiting.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"retry-after" in answer.lower()
    assert service.process.wait(DEADLINE_S) == 0
    # It takes half a second; the claim would have waited for 60.
    assert time.monotonic() - started_s < 20
    assert TRACEBACK not in service.logged


def test_a_second_signal_ends_at_once(service: Running) -> None:
    header = service.tenant()
    claim = {"hold": {"gpus": 1}, "lease_s": 60}
    assert service.client.post("/v1/claims", headers=header, json=claim).status_code == 201
    body = json.dumps({**claim, "timeout_s": 60}).encode()
    with (
        socket.create_connection(("127.0.0.1", service.port), timeout=DEADLINE_S) as waiting,
        socket.create_connection(("127.0.0.1", service.port), timeout=DEADLINE_S) as halfway,
    ):
        waiting.sendall(request("/v1/claims", header, body))
        halfway.sendall(request("/v1/claims", header, body)[:-10])
        until(lambda: b"tidegate_queue_depth 1" in metrics(service), "a claim that waits")
        service.process.send_signal(signal.SIGINT)
        assert waiting.makefile("rb").read().startswith(b"HTTP/1.1 503")
        assert service.process.poll() is None
        started_s = time.monotonic()
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(DEADLINE_S) == 0
    # It takes half a second; a body that is waited for would take the 25 s of shutdown_s.
    assert time.monotonic() - started_s < 10
    assert TRACEBACK not in service.logged


def test_shutdown_s_bounds_the_end(tmp_path: Path) -> None:
    sections = {"limits": CLAIMABLE, "end": "shutdown_s: 1\n"}
    with running(tmp_path, **without_browser(tmp_path, **sections)) as service:
        header = service.tenant()
        claim = {"hold": {"gpus": 1}, "lease_s": 60}
        assert service.client.post("/v1/claims", headers=header, json=claim).status_code == 201
        body = json.dumps({**claim, "timeout_s": 60}).encode()
        with socket.create_connection(("127.0.0.1", service.port), timeout=60) as waiting:
            waiting.sendall(request("/v1/claims", header, body))
            until(lambda: b"tidegate_queue_depth 1" in metrics(service), "a claim that waits")
            started_s = time.monotonic()
            assert service.end() == 0
            assert time.monotonic() - started_s < 15
            assert waiting.makefile("rb").read().startswith(b"HTTP/1.1 503")
        assert TRACEBACK not in service.logged


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full"])
def test_nobody_reads_what_it_says(tmp_path: Path, redirection: str) -> None:
    env = environment(tmp_path, **without_browser(tmp_path))
    port = free_port()
    process = subprocess.Popen(
        ["/bin/sh", "-c", f"exec {COMMAND} serve --port {port} {redirection}"],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        until(lambda: answers(port) or process.poll() is not None, "an answer")
        assert process.poll() is None, process.communicate()
        # The lock, the database and the key hold what they should, and no log lines.
        data = tmp_path / "data"
        assert (data / "lock").read_text() == f"{process.pid}\n"
        assert (data / "tidegate.db").read_bytes().startswith(b"SQLite format 3\0")
        assert len((data / "admin.key").read_text().splitlines()) == 1
        process.terminate()
        out, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, err
        assert TRACEBACK.encode() not in out + err
    finally:
        process.kill()
        process.communicate()


def test_a_reader_of_the_greeting_that_leaves(tmp_path: Path) -> None:
    env = environment(tmp_path, **without_browser(tmp_path))
    port, (reading, writing) = free_port(), os.pipe()
    os.close(reading)
    command = [COMMAND, "serve", "--port", str(port)]
    with (tmp_path / "err.txt").open("wb") as err:
        process = subprocess.Popen(command, env=env, stdout=writing, stderr=err)
    os.close(writing)
    try:
        until(lambda: answers(port) or process.poll() is not None, "an answer")
        assert process.poll() is None, (tmp_path / "err.txt").read_text()
        process.terminate()
        assert process.wait(DEADLINE_S) == 0
        assert TRACEBACK not in (tmp_path / "err.txt").read_text()
    finally:
        process.kill()
        process.wait()


def request(path: str, header: dict[str, str], body: bytes) -> bytes:
    fields = {
        **header,
        "Host": "test",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def metrics(service: Running) -> bytes:
    return service.client.get("/metrics").content


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as connection:
            connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False
