"""Settings come from the environment alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftline.errors import InputError
from driftline.settings import Settings, read_settings


def test_everything_lies_in_the_home_unless_told_otherwise(tmp_path: Path) -> None:
    settings = read_settings({"DRIFTLINE_HOME": str(tmp_path)})
    assert settings == Settings(tmp_path, f"sqlite:///{tmp_path}/catalog.db", f"{tmp_path}/objects")


def test_catalog_and_objects_can_lie_elsewhere(tmp_path: Path) -> None:
    settings = read_settings({"DRIFTLINE_CATALOG": "postgresql+psycopg://db/x", "DRIFTLINE_OBJECTS": "s3://bucket/d"})
    assert (settings.catalog, settings.objects) == ("postgresql+psycopg://db/x", "s3://bucket/d")


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_settings({"DRIFTLINE_HOME": "", "DRIFTLINE_OBJECTS": ""}).home == tmp_path / ".driftline"


def test_a_path_is_not_a_database_url() -> None:
    with pytest.raises(InputError, match="sqlite:////path"):
        read_settings({"DRIFTLINE_CATALOG": "catalog.db"})


@pytest.mark.parametrize("variable", ["DRIFTLINE_HOME", "DRIFTLINE_OBJECTS"])
def test_a_folder_is_not_a_file_nor_of_nobody(tmp_path: Path, variable: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=f"{variable}=.* must be a folder"):
        read_settings({variable: str(tmp_path / "file")})
    with pytest.raises(InputError, match=f"{variable}=.* no meaning here"):
        read_settings({variable: "~nobody-of-this-name/data"})


def test_the_objects_are_found_wherever_a_process_moves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert read_settings({"DRIFTLINE_OBJECTS": "data"}).objects == str(tmp_path / "data")
    assert read_settings({"DRIFTLINE_OBJECTS": "~/data"}).objects == str(tmp_path / "data")
