"""`tidegate admin-key ...`: where the operator's key is, and how to replace it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tidegate import bootstrap
from tidegate.errors import InvalidSetting

if TYPE_CHECKING:
    from tidegate.adapters.system.admin_key import AdminKey


@click.group()
def admin_key() -> None:
    """Show where the admin key is, or replace it."""


@admin_key.command()
def path() -> None:
    """Print the file that holds the admin key."""
    click.echo(_key().path)


@admin_key.command()
def rotate() -> None:
    """Replace the admin key and print the new one. The old one is refused at once."""
    click.echo(_key().rotate())


def _key() -> AdminKey:
    settings = bootstrap.load_settings(os.environ, folder=Path.cwd())
    folder = bootstrap.data_folder(settings, os.environ)
    key = bootstrap.admin_key(settings, folder)
    if key.given:
        raise InvalidSetting("admin_key", "(set)", "no key in the settings: it is rotated there")
    folder.create()
    return key
