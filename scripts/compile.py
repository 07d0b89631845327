"""Compiles the hot modules with mypyc into src/tidegate/compiled, where a C compiler is there.

    compile.py            compiles them if what is there does not fit the Python files
    compile.py --check    only says whether there is something to do: exit status 1
    compile.py --into DIR compiles them for a wheel

All of them make one group, so that calls between them are calls in C. The Python files stay the
truth: `tidegate.forms` uses what is compiled only while it was made from them. Without a compiler
nothing is missing but speed; that is said, and is no failure.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import sysconfig
import tempfile
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src"
COMPILED = SRC / "tidegate" / "compiled"
LIST = "made-from.txt"
GROUP = "tidegate"
SHARED = f"{GROUP}__mypyc"
MODULES = [
    "tidegate.domain.admission",
    *(
        f"tidegate.adapters.memory.{name}"
        for name in (
            "admission_store",
            "cells",
            "claim_ids",
            "lease_table",
            "leases",
            "limiter",
            "rates",
            "rows",
            "settling",
            "state",
            "stock",
            "tables",
        )
    ),
]
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
# Names that nobody outside needs are not exported, so that calls within are not looked up.
LINUX_FLAGS = ["-fvisibility=hidden", "-fno-semantic-interposition", "-fno-plt"]


def source(module: str) -> Path:
    """Return the Python file of a module."""
    return SRC.joinpath(*module.split(".")).with_suffix(".py")


def made_from() -> str:
    """Return the list that `tidegate.forms` compares with the files it finds."""
    lines = [f"{name} {zlib.crc32(source(name).read_bytes())}" for name in MODULES]
    return "\n".join([*lines, SHARED, ""])


def fits(folder: Path) -> bool:
    """Return whether what is in the folder was made from today's files for this interpreter."""
    listing = folder / LIST
    files = [folder / f"{name}{SUFFIX}" for name in (*MODULES, SHARED)]
    return (
        listing.is_file()
        and listing.read_text("utf-8") == made_from()
        and all(file.is_file() for file in files)
    )


def lacking() -> str | None:
    """Return what is missing to compile anything, if something is."""
    command = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    if sys.platform != "win32" and shutil.which(command[0]) is None:
        return f"a C compiler ({command[0]})"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "the headers of Python (python3-dev)"
    return None


def build(target: Path, work: Path) -> None:
    """Compile all modules into a folder. Raises SystemExit with what is wrong."""
    from mypyc.build import mypycify  # type: ignore[import-untyped]
    from setuptools import Distribution

    # mypy names modules by their place below the current folder.
    os.chdir(SRC)
    options = ["--config-file=", "--strict", f"--cache-dir={work / 'mypy'}"]
    paths = [str(source(module).relative_to(SRC)) for module in MODULES]
    extensions = mypycify(
        [*options, *paths], group_name=GROUP, debug_level="0", target_dir=str(work / "c")
    )
    for extension in extensions:
        extension.extra_compile_args += LINUX_FLAGS if sys.platform == "linux" else []
    command = Distribution({"name": GROUP, "ext_modules": extensions}).get_command_obj("build_ext")
    command.build_lib, command.build_temp = str(work / "lib"), str(work / "o")
    command.ensure_finalized()
    command.run()
    for name in (*MODULES, SHARED):
        built = (work / "lib").joinpath(*name.split("."))
        shutil.copy2(f"{built}{SUFFIX}", target / f"{name}{SUFFIX}")
    (target / LIST).write_text(made_from(), "utf-8")


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--into", type=Path, default=COMPILED, metavar="DIR")
    given = parser.parse_args()
    missing = lacking()
    if given.check:
        raise SystemExit(missing is None and not fits(given.into))
    if missing is not None:
        shutil.rmtree(given.into, ignore_errors=True)
        print(f"Nothing is compiled, for want of {missing}; the Python files work as well, slower.")
        return
    if fits(given.into):
        return
    into = given.into.resolve()
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tidegate-compile-") as folder:
        ready = Path(folder, "ready")
        ready.mkdir()
        build(ready, Path(folder))
        shutil.rmtree(into, ignore_errors=True)
        shutil.copytree(ready, into)


if __name__ == "__main__":
    main()
