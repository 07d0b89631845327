"""`tidegate tenant ...`: tenants of a data folder, also while a service runs on it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import click

from tidegate.bootstrap import data_folder, load_settings, open_tenants
from tidegate.domain.tenant import Tenant
from tidegate.entrypoints.cli.output import say
from tidegate.facades.tenants import Tenants

T = TypeVar("T")


@click.group()
def tenant() -> None:
    """Create, list, suspend, resume and delete tenants.

    Works on the data folder itself: a running service notices within a second.
    """


@tenant.command()
@click.argument("name")
@click.option("--id", "tenant_id", help="Its id; made from the name if left out.")
@click.option(
    "--plan",
    default="free",
    show_default=True,
    help="free, basic, professional (or pro), enterprise.",
)
@click.option(
    "--quota", "quotas", multiple=True, metavar="NAME=N", help="Replace one quota of the plan."
)
def create(name: str, tenant_id: str | None, plan: str, quotas: tuple[str, ...]) -> None:
    """Create a tenant called NAME and print its API key, this once."""
    changes = dict(_quota(text) for text in quotas)

    async def work(tenants: Tenants) -> tuple[Tenant, str]:
        return await tenants.create(
            name=name, tenant_id=tenant_id, plan=plan, quotas=changes, actor="shell"
        )

    created, key = _run(work)
    click.echo(f"tenant {created.id} on plan {created.plan}")
    click.echo(f"key    {key}")
    say("The key is shown this once: keep it.", err=True)


@tenant.command("list")
def list_() -> None:
    """List every tenant."""
    tenants = _run(lambda tenants: tenants.everyone())
    for each in tenants:
        click.echo(f"{each.id:<24} {each.plan:<14} {each.status:<10} {each.name}")
    if not tenants:
        say("no tenants yet: tidegate tenant create NAME", err=True)


@tenant.command()
@click.argument("tenant_id")
@click.option("--reason", default="", help="Why; kept with the tenant and in the audit log.")
def suspend(tenant_id: str, reason: str) -> None:
    """Refuse everything the tenant asks for, until it is resumed."""
    click.echo(
        f"{_run(lambda tenants: tenants.suspend(tenant_id, reason, actor='shell')).id} is suspended"
    )


@tenant.command()
@click.argument("tenant_id")
def resume(tenant_id: str) -> None:
    """Let a suspended tenant in again."""
    click.echo(f"{_run(lambda tenants: tenants.resume(tenant_id, actor='shell')).id} is active")


@tenant.command()
@click.argument("tenant_id")
@click.confirmation_option(prompt="This removes the tenant and its keys. Go on?")
def delete(tenant_id: str) -> None:
    """Remove a tenant and its keys. Its id is not given out again."""
    _run(lambda tenants: tenants.delete(tenant_id, actor="shell"))
    click.echo(f"{tenant_id} is gone")


@tenant.command()
@click.argument("tenant_id")
def key(tenant_id: str) -> None:
    """Add an API key to a tenant and print it, this once."""
    _, text = _run(lambda tenants: tenants.issue_key(tenant_id, actor="shell"))
    click.echo(text)


def _run(work: Callable[[Tenants], Awaitable[T]]) -> T:
    async def main() -> T:
        settings = load_settings(os.environ, folder=Path.cwd())
        async with open_tenants(settings, data_folder(settings, os.environ)) as tenants:
            return await work(tenants)

    return asyncio.run(main())


def _quota(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not number.isdigit():
        raise click.BadParameter(f"{text!r} is not NAME=N", param_hint="--quota")
    return name, int(number)
