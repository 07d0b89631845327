"""The command line. Subcommands are imported when they are called, so that `--help` is quick."""

from __future__ import annotations

import importlib
import sys
from typing import Any, NoReturn

try:
    import click
except ImportError:
    sys.exit("tidegate: the command needs an optional part: pip install 'tidegate[cli]'")

from tidegate.entrypoints.cli.output import mute, open_standard_streams, say
from tidegate.errors import InvalidRequest, TidegateError

COMMANDS = {
    "serve": ("tidegate.entrypoints.cli.serve", "serve"),
    "tenant": ("tidegate.entrypoints.cli.tenant", "tenant"),
    "admin-key": ("tidegate.entrypoints.cli.admin_key", "admin_key"),
    "limits": ("tidegate.entrypoints.cli.limits", "limits"),
    "replay": ("tidegate.entrypoints.cli.replay", "replay"),
    "doctor": ("tidegate.entrypoints.cli.doctor", "doctor"),
}
SUMMARIES = {
    "serve": "Serve render, extract, PDF and claims over HTTP.",
    "tenant": "Create, list, suspend, resume and delete tenants.",
    "admin-key": "Show where the admin key is, or replace it.",
    "limits": "Look at limits of a running service, and correct them.",
    "replay": "Tell who would have been refused under another policy.",
    "doctor": "Tell what this machine has, and what it can enforce.",
}


class _LazyGroup(click.Group):
    """A group whose commands are imported when they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the commands in the order they are shown."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Show summaries without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tidegate")
def cli() -> None:
    """Tidegate: one gate between tenants and everything scarce."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command; what goes wrong on purpose is one sentence and a status, no traceback."""
    open_standard_streams()
    try:
        cli.main(arguments, prog_name="tidegate", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except TidegateError as error:
        # 2 is what click says to wrong options, too: another try needs another command line.
        _fail(str(error), 2 if isinstance(error, InvalidRequest) else 1)
    except ModuleNotFoundError as error:
        extra = _EXTRA_OF.get(str(error.name).split(".")[0])
        if extra is None:
            raise
        _fail(f"this needs an optional part: pip install 'tidegate[{extra}]'", 1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        mute(1)
        _fail(f"{where}{error.strerror or error}", 1)


def _fail(sentence: str, status: int) -> NoReturn:
    say(f"tidegate: {sentence}", err=True)
    sys.exit(status)


_EXTRA_OF: dict[Any, str] = {
    "fastapi": "server",
    "fastapi_swagger": "server",
    "h11": "server",
    "httpx": "server",
    "pydantic": "server",
    "starlette": "server",
    "structlog": "server",
    "uvicorn": "server",
    "yaml": "server",
}
