"""How one browser is started: an empty environment, a user of its own, a folder of its own.

Chromium's sandbox confines renderers only; the network process keeps the rights of its user. So
as root every browser gets an unprivileged user that nothing else has, and in any case an empty
environment, for it would otherwise inherit the service's secrets. Every step execs the next: the
process id and the pipe that playwright listens on survive.
"""

from __future__ import annotations

import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from tidegate.adapters.chromium.workdir import WorkDir
from tidegate.errors import BrowserUnavailable

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Enough for the busiest page; the default of some systems is a million.
_OPEN_FILES_MAX = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Jail:
    """The place one browser lives in. `uid` is None where it keeps our own user."""

    slot: int
    uid: int | None
    script: Path
    pid_file: Path
    profile: Path

    def pid(self) -> int:
        """Process id of the browser's main process, once it was started.

        Raises:
            OSError, ValueError: it was not.
        """
        return int(self.pid_file.read_text(encoding="ascii"))

    def wipe(self) -> None:
        """Remove the profile and the scripts. The browser's processes must be gone."""
        shutil.rmtree(self.profile, ignore_errors=True)
        self.script.unlink(missing_ok=True)
        self.pid_file.unlink(missing_ok=True)


def build_jail(work: WorkDir, *, slot: int, uid: int | None, binary: Path) -> Jail:
    """Make the profile folder and the start script of one browser.

    Raises:
        BrowserUnavailable: we are root and cannot become anybody else.
    """
    jail = Jail(
        slot=slot,
        uid=uid,
        script=work.path / f"browser-{slot}.sh",
        pid_file=work.path / f"browser-{slot}.pid",
        profile=work.profiles.resolve() / str(slot),
    )
    jail.wipe()
    jail.profile.mkdir(mode=0o700)
    if jail.uid is not None:
        try:
            os.chown(jail.profile, jail.uid, jail.uid)
        except (OSError, OverflowError) as error:
            raise BrowserUnavailable(f"user {jail.uid} cannot be had: {error}") from error
    work.write_script(jail.script.name, start_script(jail, binary))
    return jail


def start_script(jail: Jail, binary: Path) -> str:
    """The text of the shell script that becomes the browser.

    Raises:
        BrowserUnavailable: `setpriv` is needed and not installed.
    """
    command = [*clean_environment(home=jail.profile), *_drop(jail.uid), str(binary)]
    return "\n".join(
        [
            "#!/bin/sh",
            f"echo $$ > {shlex.quote(str(jail.pid_file))}",
            "ulimit -c 0",
            f"ulimit -n {_OPEN_FILES_MAX} 2>/dev/null || :",
            # The last --user-data-dir wins: playwright's own belongs to us, not to the browser.
            f'exec {shlex.join(command)} "$@" {shlex.quote(f"--user-data-dir={jail.profile}")}',
            "",
        ]
    )


def clean_environment(*, home: Path) -> list[str]:
    """The command that starts another with nothing of our environment."""
    return [
        *("/usr/bin/env", "-i", f"PATH={SYSTEM_PATH}", f"HOME={home}", f"TMPDIR={home}"),
        "LANG=C.UTF-8",
    ]


def _drop(uid: int | None) -> list[str]:
    if uid is None:
        return []
    setpriv = shutil.which("setpriv", path=SYSTEM_PATH)
    if setpriv is None:
        raise BrowserUnavailable("setpriv (util-linux) is needed to start a browser as root")
    rights = ["--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]
    return [setpriv, f"--reuid={uid}", f"--regid={uid}", *rights]
