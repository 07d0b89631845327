"""`tidegate admin-key ...`: where the operator's key is, and how to replace it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from tidegate import bootstrap
from tidegate.entrypoints.cli.output import say


@click.group()
def admin_key() -> None:
    """Show where the admin key is, or replace it."""


@admin_key.command()
def path() -> None:
    """Print the file that holds the admin key."""
    settings = bootstrap.load_settings(os.environ, folder=Path.cwd())
    folder = bootstrap.data_folder(settings, os.environ)
    file = bootstrap.kept_admin_key(settings, folder).path
    click.echo(file)
    if not file.exists():
        say("It is not there yet: the first `tidegate serve` makes it.", err=True)


@admin_key.command()
def rotate() -> None:
    """Replace the admin key and print the new one. The old one is refused at once."""
    settings = bootstrap.load_settings(os.environ, folder=Path.cwd())
    folder = bootstrap.data_folder(settings, os.environ)
    click.echo(bootstrap.kept_admin_key(settings, folder).rotate())
