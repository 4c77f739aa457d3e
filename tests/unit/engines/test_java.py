"""Which Java Spark runs on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from driftline.engines.java import java_home
from driftline.errors import InputError


def java(home: Path, version: str) -> Path:
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "java").write_text("#!/bin/sh\n")
    (home / "bin" / "java").chmod(0o755)
    (home / "release").write_text(f'JAVA_VERSION="{version}"\n')
    return home


def test_java_home_comes_first(tmp_path: Path) -> None:
    named, on_path = java(tmp_path / "a", "17.0.1"), java(tmp_path / "b", "21")
    assert java_home({"JAVA_HOME": str(named), "PATH": str(on_path / "bin")}, tmp_path) == named


def test_else_the_java_on_the_path_is_taken(tmp_path: Path) -> None:
    home = java(tmp_path / "b", "21.0.2")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").symlink_to(home / "bin" / "java")
    assert java_home({"PATH": str(tmp_path / "bin")}, tmp_path) == home


def test_else_that_of_a_package_which_starts_as_spark_starts_it(tmp_path: Path) -> None:
    old = java(tmp_path / "old", "1.8.0_402")
    home = java_home({"PATH": str(old / "bin")}, tmp_path / "with space")
    options = ["--add-modules=jdk.incubator.vector", "-Dquoted=a b", "-XshowSettings:properties", "-version"]
    said = subprocess.run([home / "bin" / "java", *options], capture_output=True, text=True, check=True).stderr
    assert "quoted = a b" in said


@pytest.mark.parametrize(
    ("version", "message"),
    [("11.0.2", "holds Java 11, but"), ("1.8.0_402", "holds Java 8, but"), (None, "holds no Java")],
)
def test_a_java_home_that_spark_cannot_run_on_is_named(tmp_path: Path, version: str | None, message: str) -> None:
    home = tmp_path / "java" if version is None else java(tmp_path / "java", version)
    with pytest.raises(InputError, match=rf"{home}' {message}"):
        java_home({"JAVA_HOME": str(home)}, tmp_path)
