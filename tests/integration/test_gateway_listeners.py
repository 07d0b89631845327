"""`tidegate serve` with listeners for gateways: they come and go with it, or it says why not."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.serving import (
    TRACEBACK,
    environment,
    free_port,
    open_folder,
    running,
    tidegate,
    until,
    without_browser,
)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_they_answer_while_the_service_does_and_end_with_it(number: signal.Signals) -> None:
    envoy, haproxy = free_port(), free_port()
    sections = {
        "envoy": f"envoy: {{listen: '127.0.0.1:{envoy}'}}",
        "haproxy": f"haproxy: {{listen: '127.0.0.1:{haproxy}'}}",
    }
    with open_folder() as folder, running(folder, **without_browser(folder, **sections)) as service:
        until(lambda: listens(envoy) and listens(haproxy), "both listen")
        with socket.create_connection(("127.0.0.1", envoy)) as silent:
            assert service.end(number) == 0
            while silent.recv(1024):
                pass
        assert not listens(envoy)
        assert not listens(haproxy)
        assert TRACEBACK not in service.logged


@pytest.mark.parametrize("section", ["envoy", "haproxy"])
def test_an_address_that_is_taken_ends_the_start_with_a_sentence(section: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, open_folder() as folder:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = without_browser(folder, own=f"{section}: {{listen: '{address}'}}")
        done = tidegate("serve", "--port", "0", env=environment(folder, **settings))
    assert done.returncode == 1
    assert f"{section}.listen {address} cannot be had" in done.stderr
    assert "address already in use" in done.stderr
    assert TRACEBACK not in done.stderr


def test_without_its_library_envoy_is_told_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['hpack'] = None\n"
        "from tidegate.errors import ExtraMissing\n"
        "try:\n import tidegate.entrypoints.envoy.server\n"
        "except ExtraMissing as missing: print(missing)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.stdout == "this needs an optional part: pip install 'tidegate[envoy]'\n"
