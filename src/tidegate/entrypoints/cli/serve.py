"""`tidegate serve`: the service, empty and safe, or with a demo to try it on."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from tidegate import bootstrap
from tidegate.bootstrap import Settings
from tidegate.entrypoints.cli.output import say
from tidegate.entrypoints.ending import Ending
from tidegate.entrypoints.gateways import listen_for_gateways
from tidegate.entrypoints.http import listener as listening


@click.command()
@click.option("--demo", is_flag=True, help="Throwaway data, two tenants, and pages to try it on.")
@click.option("--host", help="Address to listen on; default 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; default 8080.")
def serve(demo: bool, host: str | None, port: int | None) -> None:
    """Serve until SIGTERM or Ctrl-C, then finish what is in flight."""
    # Until the event loop listens to signals, this one unwinds like Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    environ = dict(os.environ)
    if host is not None:
        environ["TIDEGATE_HOST"] = host
    if port is not None:
        environ["TIDEGATE_PORT"] = str(port)
    with ExitStack() as stack:
        if demo:
            environ["TIDEGATE_DATA_DIR"] = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="tidegate-demo-")
            )
            environ.pop("TIDEGATE_ADMIN_KEY", None)
        settings = bootstrap.load_settings(environ, folder=Path.cwd())
        stack.enter_context(_locked(settings, environ))
        listener = stack.enter_context(listening.bind(settings))
        factory = _load()
        work = _serve_demo if demo else _serve
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(_until_told(work(settings, environ, listener)))


Work = Callable[[Ending], Awaitable[None]]


async def _until_told(work: Work) -> None:
    ending = Ending()
    with ending.watch():
        await work(ending)


def _serve(settings: Settings, environ: dict[str, str], listener: socket.socket) -> Work:
    """Return what serves the data folder as it is."""
    from tidegate.entrypoints.http import server
    from tidegate.facades.service import Service

    folder = bootstrap.data_folder(settings, environ)
    key = bootstrap.admin_key(settings, folder)

    async def ready(service: Service, address: str) -> None:
        where = "the one in TIDEGATE_ADMIN_KEY" if key.given else f"in {key.path}"
        say(f"Tidegate answers at {address}   documentation: {address}/docs")
        say(f"The admin key is {where}")
        if fresh:
            say(f"It was made just now and is shown this once: {fresh}")
        if not service.tenants.directory.tenants:
            say("There are no tenants yet: tidegate tenant create NAME")

    service = bootstrap.open_service(settings, folder)
    listen_for_gateways(service, settings)
    fresh = key.ensure()
    return lambda ending: server.serve(settings, service, listener, ready, ending)


def _serve_demo(settings: Settings, environ: dict[str, str], listener: socket.socket) -> Work:
    """Return what serves beside a site of pages to try it on, with two tenants."""
    from tidegate.entrypoints.cli import demo
    from tidegate.entrypoints.demo import DemoSite
    from tidegate.entrypoints.http import server

    folder = bootstrap.data_folder(settings, environ)
    bootstrap.admin_key(settings, folder).ensure()

    async def work(ending: Ending) -> None:
        site = DemoSite()
        await site.start()
        try:
            opened = demo.opened_for(settings, site.port)
            service = bootstrap.open_service(opened, folder)
            listen_for_gateways(service, opened)
            welcome = demo.Welcome(site, folder.path)
            await server.serve(opened, service, listener, welcome.say, ending)
        finally:
            await site.stop()

    return work


@contextmanager
def _locked(settings: Settings, environ: dict[str, str]) -> Iterator[None]:
    folder = bootstrap.data_folder(settings, environ)
    folder.create()
    folder.lock()
    try:
        yield
    finally:
        folder.unlock()


def _load() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Load what serving needs, set up the logs, and return what makes the event loop."""
    # A sixth of the start went into looking for garbage among modules, which are none.
    gc.disable()
    try:
        from tidegate.entrypoints import logs
        from tidegate.entrypoints.http import server as _server  # noqa: F401
    finally:
        gc.enable()
    gc.freeze()
    logs.configure()
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
