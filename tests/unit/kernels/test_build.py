"""The package is whole without a compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import driftline
from driftline.kernels.numbers import compiled

ROOT = Path(driftline.__file__).parents[2]
PROFILED = """
import hashlib, sys
import numpy as np, pyarrow as pa
import driftline
from driftline.dataset.compiled import compiled as parsing
from driftline.kernels.numbers import compiled
from driftline.states.column import Column

random = np.random.default_rng(3)
numbers = random.normal(size=20_000) * 10.0 ** random.integers(-9, 9, 20_000)
texts = [f"{n:x}" for n in random.integers(0, 30_000, 20_000).tolist()]
batch = pa.record_batch({"n": numbers, "t": texts})
print(driftline.__file__, compiled(), parsing())
for name in batch.schema.names:
    print(hashlib.sha256(Column(name).of(batch).encode()).hexdigest())
"""


def test_what_is_built_without_a_compiler_gives_the_same_states(tmp_path: Path) -> None:
    source, built = tmp_path / "source", tmp_path / "built"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("*.so", "*.egg-info", "__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "setup.py", "--quiet", "build", "--build-lib", str(built)]
    done = subprocess.run(command, cwd=source, env={"CC": "false", "PATH": ""}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list(built.rglob("*.so"))
    ours, theirs = told(PROFILED, ROOT / "src"), told(PROFILED, built)
    assert theirs[0] == f"{built / 'driftline/__init__.py'} False False"
    assert compiled()
    assert ours[0] == f"{ROOT / 'src/driftline/__init__.py'} True True"
    assert ours[1:] == theirs[1:]
    assert len(ours) == 3


def told(script: str, path: Path) -> list[str]:
    """What the script prints where `path` is looked through first."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("form", [None, 0], ids=["from before there were forms", "of another form"])
@pytest.mark.parametrize(
    ("room", "name", "user"),
    [("kernels", "_native", "kernels.numbers"), ("dataset", "_captured", "dataset.compiled")],
    ids=["kernels", "parser"],
)
def test_a_module_that_was_compiled_from_other_sources_is_not_used(
    tmp_path: Path, room: str, name: str, user: str, form: int | None
) -> None:
    here = tmp_path / "driftline"
    shutil.copytree(ROOT / "src/driftline", here, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    (here / room / f"{name}.py").write_text("" if form is None else f"FORM = {form}\n")
    assert told(f"from driftline.{user} import compiled; print(compiled())", tmp_path) == ["False"]
