"""The `tidegate` command as a person meets it, without a service."""

from __future__ import annotations

import sqlite3
import stat
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.integration.serving import (
    DEADLINE_S,
    TRACEBACK,
    environment,
    find_key,
    tidegate,
)

HEAVY = ("fastapi", "starlette", "uvicorn", "pydantic", "playwright", "wasmtime", "httpx", "yaml")


def modes(folder: Path) -> dict[str, int]:
    """The permission bits of a folder and the files in it."""
    paths = [folder, *(path for path in folder.iterdir() if path.is_file())]
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in paths}


def test_help_is_short_and_quick(tmp_path: Path) -> None:
    env = environment(tmp_path)
    took_s = []
    for _ in range(3):
        started_s = time.perf_counter()
        help_ = tidegate("--help", env=env)
        took_s.append(time.perf_counter() - started_s)
    assert help_.returncode == 0
    assert all(name in help_.stdout for name in ("serve", "tenant", "admin-key", "--version"))
    # It takes 0.2 s; the deadline is for machines that do ten other things.
    assert statistics.median(took_s) < 2


@pytest.mark.parametrize("arguments", [["--help"], ["tenant", "--help"], ["serve", "--help"]])
def test_help_loads_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from tidegate.entrypoints.cli import main\n"
        f"try: main({arguments})\n"
        "except SystemExit: pass\n"
        f"print('loaded:', *sorted(set(sys.modules) & set({HEAVY})))\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    assert shown.stdout.splitlines()[-1] == "loaded:"


def test_version(tmp_path: Path) -> None:
    shown = tidegate("--version", env=environment(tmp_path))
    assert (shown.returncode, shown.stdout.split()[-1]) == (0, version("tidegate"))


@pytest.mark.parametrize(
    ("arguments", "settings", "status", "said"),
    [
        pytest.param(["frobnicate"], {}, 2, "No such command 'frobnicate'", id="command"),
        pytest.param(["serve", "--frob"], {}, 2, "--frob", id="option"),
        pytest.param(["serve", "--port", "70000"], {}, 2, "0<=x<=65535", id="port as option"),
        pytest.param(["serve"], {"TIDEGATE_PORT": "http"}, 2, "setting port:", id="port"),
        pytest.param(["serve"], {"TIDEGATE_HOST": "no.such.host.invalid"}, 2, "host", id="host"),
        pytest.param(["serve"], {"TIDEGATE_HOST": "192.0.2.1"}, 1, "192.0.2.1", id="not our host"),
        pytest.param(["serve"], {"TIDEGATE_PROT": "1"}, 2, "TIDEGATE_PROT", id="unknown setting"),
        pytest.param(["serve"], {"TIDEGATE_CONFIG": "/no/where"}, 2, "TIDEGATE_CONFIG", id="file"),
        pytest.param(
            ["serve"], {"TIDEGATE_STORE_URL": "redis://x:y@h"}, 2, "store_url", id="redis"
        ),
        pytest.param(
            ["serve", "--demo"],
            {"TIDEGATE_DATABASE_URL": "postgresql://x:y@h"},
            2,
            "database_url",
            id="postgresql",
        ),
        pytest.param(["serve"], {"TIDEGATE_ADMIN_KEY": "short"}, 2, "admin_key", id="short key"),
        pytest.param(
            ["serve"], {"TIDEGATE_EGRESS_ALLOW": "10.0.0.0/99"}, 2, "10.0.0.0/99", id="egress"
        ),
        pytest.param(["tenant", "create", "A", "--plan", "gold"], {}, 2, "gold", id="plan"),
        pytest.param(["tenant", "create", "A", "--quota", "x"], {}, 2, "NAME=N", id="quota"),
        pytest.param(
            ["tenant", "create", "A", "--quota", "x=1"], {}, 2, "quotas.x", id="quota name"
        ),
        pytest.param(["tenant", "create", "A", "--id", "A B"], {}, 2, "id=", id="tenant id"),
        pytest.param(["tenant", "suspend", "nobody"], {}, 1, "nobody", id="suspend nobody"),
        pytest.param(["tenant", "key", "nobody"], {}, 1, "nobody", id="key for nobody"),
        pytest.param(["tenant", "delete", "nobody", "--yes"], {}, 1, "nobody", id="delete nobody"),
        pytest.param(
            ["admin-key", "rotate"], {"TIDEGATE_ADMIN_KEY": "k" * 20}, 2, "admin_key", id="rotate"
        ),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    tmp_path: Path, arguments: list[str], settings: dict[str, str], status: int, said: str
) -> None:
    ended = tidegate(*arguments, env=environment(tmp_path, **settings))
    assert said in ended.stderr, ended.stderr
    assert ended.returncode == status, ended.stderr
    assert ended.stdout == ""
    assert TRACEBACK not in ended.stderr
    assert "x:y" not in ended.stderr, "a password was shown"
    sentence = [line for line in ended.stderr.splitlines() if line.startswith(("tidegate", "Err"))]
    assert len(sentence) == 1, ended.stderr


@pytest.mark.parametrize("command", [["serve"], ["tenant", "list"], ["admin-key", "rotate"]])
@pytest.mark.parametrize("place", ["file", "below a file", "dangling link", "not a disk"])
def test_a_data_folder_that_cannot_be_one(tmp_path: Path, command: list[str], place: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "at all")
    paths = {
        "file": tmp_path / "file",
        "below a file": tmp_path / "file" / "data",
        "dangling link": tmp_path / "link",
        "not a disk": Path("/proc/tidegate"),
    }
    env = environment(tmp_path, TIDEGATE_DATA_DIR=str(paths[place]))
    ended = tidegate(*command, env=env)
    assert ended.returncode == 1
    assert ended.stderr.startswith("tidegate: the data folder"), ended.stderr
    assert TRACEBACK not in ended.stderr
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("command", [["serve"], ["serve", "--demo"], ["tenant", "list"]])
def test_a_lock_that_cannot_be_opened(tmp_path: Path, command: list[str]) -> None:
    """The folder and the database are what a mistaken script may have made of them."""
    (tmp_path / "data" / "lock").mkdir(parents=True)
    (tmp_path / "data" / "tidegate.db").mkdir()
    env = environment(tmp_path, TIDEGATE_PORT="0", TIDEGATE_CONFIG=str(tmp_path / "none"))
    ended = tidegate(*command, env=env)
    assert ended.returncode in (1, 2)
    assert TRACEBACK not in ended.stderr


@pytest.mark.parametrize("command", [["serve"], ["tenant", "list"], ["tenant", "create", "Acme"]])
@pytest.mark.parametrize("damage", ["nonsense", "a foreign database", "a newer one", "cut off"])
def test_a_damaged_database(tmp_path: Path, command: list[str], damage: str) -> None:
    env = environment(tmp_path, TIDEGATE_PORT="0")
    assert tidegate("tenant", "create", "Before", env=env).returncode == 0
    path = tmp_path / "data" / "tidegate.db"
    if damage == "nonsense":
        path.write_bytes(b"this is no database, whatever its name says " * 200)
    elif damage == "cut off":
        path.write_bytes(path.read_bytes()[:5000])
    elif damage == "a newer one":
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA user_version = 999")
        connection.close()
    else:
        path.unlink()
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE tenants (something TEXT)")
        connection.close()
    ended = tidegate(*command, env=env)
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.startswith("tidegate: "), ended.stderr
    assert TRACEBACK not in ended.stderr


@pytest.mark.parametrize("missing", ["uvicorn", "structlog", "fastapi"])
def test_a_missing_part_is_named(tmp_path: Path, missing: str) -> None:
    program = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from tidegate.entrypoints.cli import main; main(['serve', '--port', '0'])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    said = "tidegate: this needs an optional part: pip install 'tidegate[server]'\n"
    assert ended.stderr == said


def test_the_life_of_a_tenant(tmp_path: Path) -> None:
    env = environment(tmp_path)
    assert "no tenants yet" in tidegate("tenant", "list", env=env).stderr
    created = tidegate(
        "tenant", "create", "Acme Corp", "--plan", "pro", "--quota", "sessions=7", env=env
    )
    assert created.returncode == 0, created.stderr
    first = find_key(created.stdout)
    assert modes(tmp_path / "data")["data"] == 0o700
    assert set(modes(tmp_path / "data").values()) == {0o700, 0o600}
    again = tidegate("tenant", "create", "Other", "--id", "acme-corp", env=env)
    assert (again.returncode, TRACEBACK in again.stderr) == (1, False)
    second = find_key(tidegate("tenant", "key", "acme-corp", env=env).stdout)
    assert second != first
    for command, status in (("suspend", "suspended"), ("resume", "active")):
        assert tidegate("tenant", command, "acme-corp", env=env).returncode == 0
        listed = tidegate("tenant", "list", env=env).stdout
        assert listed.split()[:3] == ["acme-corp", "professional", status]
    kept = tidegate("tenant", "delete", "acme-corp", env=env, stdin="n\n")
    assert kept.returncode == 130
    assert "acme-corp" in tidegate("tenant", "list", env=env).stdout
    assert tidegate("tenant", "delete", "acme-corp", "--yes", env=env).returncode == 0
    assert tidegate("tenant", "list", env=env).stdout == ""
    assert all(
        key not in path.read_bytes().decode("latin-1")
        for key in (first, second)
        for path in (tmp_path / "data").iterdir()
        if path.is_file()
    ), "a key is stored as it is"


def test_the_admin_key_file(tmp_path: Path) -> None:
    env = environment(tmp_path)
    shown = tidegate("admin-key", "path", env=env)
    path = Path(shown.stdout.strip())
    assert (path, path.exists()) == (tmp_path / "data" / "admin.key", False)
    assert "not there yet" in shown.stderr
    keys = [tidegate("admin-key", "rotate", env=env).stdout.strip() for _ in range(2)]
    assert path.read_text().strip() == keys[1] != keys[0]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert tidegate("admin-key", "path", env=env).stderr == ""
