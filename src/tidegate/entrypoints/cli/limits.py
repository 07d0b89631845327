"""`tidegate limits ...`: levels of limits of a running service, through its admin routes.

By http.client: no proxy of the environment and no redirect ever sees the admin key.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import click

from tidegate import bootstrap
from tidegate.errors import Unavailable

TIMEOUT_S = 30
_OPTIONS = [
    click.argument("name"),
    click.option("--tenant", help="The tenant, where the limit is per tenant."),
    click.option("--host", help="The host, where it is per host."),
    click.option("--user", help="The user, where it is per user."),
    click.option("--route", help="The route, where it is per route."),
    click.option(
        "--attribute", "attributes", multiple=True, metavar="NAME=VALUE", help="Any other."
    ),
    click.option("--address", help="http://host:port of the service; as the settings say if not."),
    click.option("--json", "as_json", is_flag=True, help="Print what the service answers."),
]


def _scoped(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.group()
def limits() -> None:
    """Look at limits of a running service, and correct them.

    The admin key is TIDEGATE_ADMIN_KEY, or the one in the data folder.
    """


@limits.command()
@_scoped
def peek(name: str, **where: Any) -> None:
    """Show how the limit NAME stands."""
    _print(_ask("GET", f"/admin/limits/{quote(name, safe='')}", where), where)


@limits.command()
@_scoped
def reset(name: str, **where: Any) -> None:
    """Let the limit NAME count as untouched."""
    _print(_ask("POST", f"/admin/limits/{quote(name, safe='')}/reset", where), where)


@limits.command()
@_scoped
def drain(name: str, **where: Any) -> None:
    """Let the limit NAME count as spent."""
    _print(_ask("POST", f"/admin/limits/{quote(name, safe='')}/drain", where), where)


@limits.command("set")
@_scoped
@click.argument("units", type=click.IntRange(min=0))
def set_(name: str, units: int, **where: Any) -> None:
    """Let UNITS of the limit NAME count as used."""
    path = f"/admin/limits/{quote(name, safe='')}/set"
    _print(_ask("POST", path, where, units=units), where)


def _print(answer: dict[str, Any], where: dict[str, Any]) -> None:
    if where["as_json"]:
        click.echo(json.dumps(answer))
        return
    at = f" of {' x '.join(answer['scope'])}" if answer["scope"] else ""
    if answer["units"] is None:
        click.echo(f"{answer['name']}{at}: lifted")
        return
    whole = "" if answer["reset_s"] is None else f", whole again in {answer['reset_s']:g} s"
    click.echo(f"{answer['name']}{at}: {answer['remaining']} of {answer['units']} left{whole}")


def _ask(method: str, path: str, where: dict[str, Any], **fields: int) -> dict[str, Any]:
    scope = {name: where[name] for name in ("tenant", "host", "user", "route") if where[name]}
    attributes = dict(_attribute(text) for text in where["attributes"])
    body = None
    if method == "GET":
        query = [*scope.items(), *(("attribute", text) for text in where["attributes"])]
        path = f"{path}?{urlencode(query)}"
    else:
        body = json.dumps({**scope, "attributes": attributes, **fields})
    settings = bootstrap.load_settings(os.environ, folder=Path.cwd())
    address = where["address"] or f"http://{_host(settings.host)}:{settings.port}"
    key = bootstrap.admin_key(settings, bootstrap.data_folder(settings, os.environ)).text()
    status, answer = _send(address, method, path, body, key)
    if status != 200:
        raise click.ClickException(str(answer.get("detail", f"the service answers {status}")))
    return answer


def _send(
    address: str, method: str, path: str, body: str | None, key: str
) -> tuple[int, dict[str, Any]]:
    parts = urlsplit(address)
    kinds = {"http": HTTPConnection, "https": HTTPSConnection}
    if parts.scheme not in kinds or not parts.hostname:
        raise click.BadParameter(f"{address!r} is not http://host:port", param_hint="--address")
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    connection = kinds[parts.scheme](parts.hostname, parts.port, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
    except (OSError, HTTPException, ValueError) as error:
        raise Unavailable(f"no service answers at {address}: {error}") from None
    finally:
        connection.close()
    return response.status, answer if isinstance(answer, dict) else {}


def _attribute(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--attribute")
    return name, value


def _host(listens_at: str) -> str:
    """Return where a service is reached that listens at this address."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listens_at, listens_at)  # noqa: S104
    return f"[{host}]" if ":" in host else host
