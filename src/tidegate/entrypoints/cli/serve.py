"""`tidegate serve`: the service, empty and safe, or with a demo to try it on."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from tidegate import bootstrap
from tidegate.bootstrap import Settings


@click.command()
@click.option("--demo", is_flag=True, help="Throwaway data, two tenants, and pages to try it on.")
@click.option("--host", help="Address to listen on; default 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; default 8080.")
def serve(demo: bool, host: str | None, port: int | None) -> None:
    """Serve until SIGTERM or Ctrl-C, then finish what is in flight."""
    environ = dict(os.environ)
    if host is not None:
        environ["TIDEGATE_HOST"] = host
    if port is not None:
        environ["TIDEGATE_PORT"] = str(port)
    settings = bootstrap.load_settings(environ, folder=Path.cwd())
    from tidegate.entrypoints import logs

    logs.configure()
    with ExitStack() as stack:
        if demo:
            environ["TIDEGATE_DATA_DIR"] = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="tidegate-demo-")
            )
            environ.pop("TIDEGATE_ADMIN_KEY", None)
            settings = bootstrap.load_settings(environ, folder=Path.cwd())
        stack.enter_context(_locked(settings, environ))
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve_demo(settings, environ) if demo else _serve(settings, environ))


async def _serve(settings: Settings, environ: dict[str, str]) -> None:
    """Serve what is in the data folder."""
    from tidegate.entrypoints.http import server
    from tidegate.facades.service import Service

    folder = bootstrap.data_folder(settings, environ)
    key = bootstrap.admin_key(settings, folder)
    listener = server.bind(settings)
    fresh = key.ensure()

    async def ready(service: Service, address: str) -> None:
        where = "in TIDEGATE_ADMIN_KEY" if key.given else f"in {key.path}"
        click.echo(f"Tidegate answers at {address}  (documentation: {address}/docs)")
        click.echo(f"The admin key is {where}{': ' + fresh if fresh else ''}")
        if not service.tenants.directory.tenants:
            click.echo("No tenants yet: tidegate tenant create NAME")

    await server.serve(settings, bootstrap.open_service(settings, folder), listener, ready)


async def _serve_demo(settings: Settings, environ: dict[str, str]) -> None:
    """Serve beside a site of pages to try it on, with two tenants."""
    from tidegate.entrypoints.cli import demo
    from tidegate.entrypoints.demo import DemoSite
    from tidegate.entrypoints.http import server

    folder = bootstrap.data_folder(settings, environ)
    listener = server.bind(settings)
    bootstrap.admin_key(settings, folder).ensure()
    site = DemoSite()
    await site.start()
    try:
        settings = demo.opened_for(settings, site.port)
        service = bootstrap.open_service(settings, folder)
        await server.serve(settings, service, listener, demo.Welcome(site, folder.path).say)
    finally:
        await site.stop()


@contextmanager
def _locked(settings: Settings, environ: dict[str, str]) -> Iterator[None]:
    folder = bootstrap.data_folder(settings, environ)
    folder.create()
    folder.lock()
    try:
        yield
    finally:
        folder.unlock()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
