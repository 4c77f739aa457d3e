from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from driftline.dataset.duck import borrowed


def setting(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    return str(connection.sql("SELECT current_setting($name)", params={"name": name}).fetchall()[0][0])


def test_a_database_goes_to_the_next_one_who_asks_with_a_spill_folder_of_his_own(tmp_path: Path) -> None:
    with borrowed(tmp_path / "one") as first:
        pass
    with borrowed(tmp_path / "it's two") as second, borrowed(tmp_path / "three") as third:
        assert second is first
        assert third is not first
        assert setting(second, "temp_directory") == str(tmp_path / "it's two" / "spill")
        assert setting(second, "TimeZone") in ("UTC", "Etc/UTC")


def test_after_an_error_a_database_is_not_used_again(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="broken"), borrowed(tmp_path) as first:
        raise ValueError("broken")
    with borrowed(tmp_path) as second:
        assert second is not first


def test_a_database_that_spilled_is_not_used_again(tmp_path: Path) -> None:
    with borrowed(tmp_path / "one") as first:
        first.execute("SET memory_limit = '50MB'")
        first.execute("CREATE TEMP TABLE t AS SELECT range AS a, repeat('x', 50) || range AS b FROM range(2000000)")
    with borrowed(tmp_path / "two") as second:
        assert second is not first
