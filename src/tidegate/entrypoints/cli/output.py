"""Printing when nobody may be reading: a closed pipe, a full disk, no standard output at all."""

from __future__ import annotations

import os

import click


def open_standard_streams() -> None:
    """Give closed standard streams to /dev/null, else the next file opened would take their place.

    A service started without them would write its log lines into its database.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is taken, which is this one.
            os.open(os.devnull, os.O_RDWR)


def say(text: str, *, err: bool = False) -> None:
    """Print what may go unread: the work goes on, or is done, where nobody reads."""
    try:
        click.echo(text, err=err)
    except OSError:
        mute(2 if err else 1)


def mute(descriptor: int) -> None:
    """Send what is still buffered for a stream that failed to nowhere, so that exit is silent."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
