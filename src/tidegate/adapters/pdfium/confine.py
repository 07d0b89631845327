"""What a PDF worker gives up before it opens the first document.

A file that takes the worker over finds no privileges, no room for files, little memory, and no
secrets. Only the worker calls this: nothing here can be undone.

Source: prctl(2), setrlimit(2), credentials(7).
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import sys
import time

# linux/prctl.h.
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38

# Four are open; pdfium opens one font file at a time.
_FILES_MAX = 16


def confine(*, parent_pid: int, memory_bytes: int, uid: int) -> None:
    """Drop root for `uid`, set the limits, and die with the parent.

    Everything that is needed later must have been imported: user `uid` may be unable to read it.
    """
    _drop_root(uid)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_NOFILE, _FILES_MAX)
    _limit(resource.RLIMIT_AS, memory_bytes)
    if sys.platform == "linux":
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        # After the change of user, which clears it.
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        # The parent died before the signal was armed.
        raise SystemExit(0)


def limit_cpu(seconds: int) -> None:
    """Let this process use `seconds` more of CPU time, then kill it by SIGXCPU.

    Only the soft limit moves: it must be armed again, higher, for the next document.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 1 + seconds, hard))


def _drop_root(uid: int) -> None:
    if os.geteuid() != 0:
        return
    try:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        # A root without the right to change user, or one whose namespace has no such user, is
        # confined by whoever took those away. `PdfiumReader.uid` tells.
        if error.errno not in {errno.EPERM, errno.EINVAL}:
            raise


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    try:
        resource.setrlimit(kind, (value, value))
    except (ValueError, OSError):
        # macOS knows RLIMIT_AS and refuses to set it below what is mapped already.
        if sys.platform == "linux":
            raise


def _prctl(option: int, value: int) -> None:
    # prctl reads unsigned longs; ctypes would pass the upper half of an int undefined.
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (ctypes.c_ulong(each) for each in (value, 0, 0, 0))
    if libc.prctl(option, *arguments) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")
