"""Batches become captured records: every line once, spelled as it was, at its hour, under an id that stays."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftline.capture.record import Record, decode
from driftline.dataset import imported
from driftline.dataset.imported import Importer
from driftline.dataset.importing import Batch, Receipt, import_batch
from driftline.dataset.scored import Columns
from driftline.dataset.scored_files import Layout
from driftline.errors import InputError
from driftline.objects.directory import Directory
from driftline.windows import stamp, zone_of

AT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
NOW = datetime(2026, 3, 2, tzinfo=UTC)
SCORE = Columns(outputs=("score",))


class Home:
    """A store, and a folder for sources."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Directory(folder / "objects")

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, source: Path, columns: Columns = SCORE, **more: Any) -> Receipt:
        layout = Layout(more.pop("format", None), more.pop("header", None), columns)
        batch = Batch(source, layout=layout, at=more.pop("at", AT), **more)
        into = Importer(self.store, "shop", "blue", now=NOW)
        return import_batch(batch, into, self.folder / "dead.jsonl", ids=self.folder / "ids.csv")

    def records(self) -> list[Record]:
        found = [e.key for e in self.store.list("captured/shop/blue/") if e.key.endswith(".jsonl")]
        return [decode(line) for key in found for line in self.store.get(key).splitlines()]

    def dead(self) -> list[tuple[int, str]]:
        letters = (json.loads(line) for line in (self.folder / "dead.jsonl").read_text().splitlines())
        return [(letter["line"], letter["reason"]) for letter in letters]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def bodies(records: list[Record]) -> list[tuple[str | None, str | None]]:
    return [(r.input.data if r.input else None, r.output.data if r.output else None) for r in records]


def test_columns_of_csv_go_on_as_they_are_spelled(home: Home) -> None:
    source = home.write("scored.csv", 'id,age,name,score,at\nA,007,"Doe, J",0.50,2026-03-01T11:00:00+01:00\n')
    home.run(source, Columns("id", "at", outputs=("score",)))
    (record,) = home.records()
    assert bodies([record]) == [('007,"Doe, J"', "0.50")]
    assert (record.inference_id, stamp(record.inferred_at)) == ("A", "2026-03-01T10:00:00Z")
    assert (record.input and record.input.encoding, record.input and record.input.content_type) == ("CSV", "text/csv")


def test_inputs_that_are_named_come_in_their_order(home: Home) -> None:
    home.run(home.write("scored.csv", "a,b,c,score\n1,2,3,0.5\n"), Columns(inputs=("c", "a"), outputs=("score",)))
    assert bodies(home.records()) == [("3,1", "0.5")]


def test_csv_without_a_header_names_columns_by_position(home: Home) -> None:
    home.run(home.write("scored.csv", "x,1,2,0.5\n"), Columns(id="0", outputs=("3",)), header=False)
    assert bodies(home.records()) == [("1,2", "0.5")]


def test_values_of_json_lines_go_on_as_they_are_spelled(home: Home) -> None:
    source = home.write("scored.jsonl", '{"n": 1.50, "deep": {"a":[1]}, "score": 1e-7, "order": 17}\n')
    home.run(source, Columns(id="order", outputs=("score",)))
    (record,) = home.records()
    assert bodies([record]) == [('{"n":1.50,"deep":{"a":[1]}}', '{"score":1e-7}')]
    assert record.inference_id == "17"


def test_parquet_keeps_types_and_the_shortest_spelling(home: Home) -> None:
    table = pa.table(
        {
            "f": pa.array([0.1, None, float("nan")], pa.float32()),
            "at": pa.array([1_772_352_000 * 10**9] * 3, pa.timestamp("ns")),
            "score": [1, 2, 3],
        }
    )
    pq.write_table(table, home.folder / "scored.parquet")
    home.run(home.folder / "scored.parquet", Columns(time="at", outputs=("score",)), zone=zone_of("Europe/Berlin"))
    assert bodies(home.records()) == [
        ('{"f":0.1}', '{"score":1}'), ('{"f":null}', '{"score":2}'), ('{"f":null}', '{"score":3}'),
    ]  # fmt: skip
    assert {stamp(r.inferred_at) for r in home.records()} == {"2026-03-01T07:00:00Z"}


def test_without_a_column_of_answers_the_input_alone_is_kept(home: Home) -> None:
    home.run(home.write("asked.csv", "a,b\n1,2\n"), Columns())
    assert bodies(home.records()) == [("1,2", None)]


def test_line_n_answers_line_n(home: Home) -> None:
    source, answers = home.write("in.csv", "1,2\n3,4\n"), home.write("out.jsonl", '{"p":1}\n{"p":2}\n')
    home.run(source, Columns(), answers=answers)
    assert bodies(home.records()) == [("1,2", '{"p":1}'), ("3,4", '{"p":2}')]


def test_answers_with_other_ids_than_their_inputs_are_refused(home: Home) -> None:
    source = home.write("in.csv", "id,a\nx,1\ny,2\n")
    answers = home.write("out.csv", "id,score\nx,0.5\nz,0.6\n")
    receipt = home.run(source, Columns(id="id"), answers=answers, header=True)
    assert bodies(home.records()) == [("1", "0.5")]
    assert (receipt.bad, home.dead()) == (1, [(3, "the id of the input is 'y', that of the answer 'z'")])


def test_out_files_of_batch_transform_meet_their_inputs_and_keep_its_ids(home: Home) -> None:
    home.write("job/deep/a.csv", "1,2\n3,4\n5,6\n")
    ids = [f"00000000-0000-4000-8000-00000000000{n}" for n in range(3)]
    home.write("job/deep/a.csv.out", "".join(f"0.{n},{ids[n]},2026-03-01T07:15:00Z\n" for n in range(3)))
    home.write("job/b.csv", "7,8\n")
    receipt = home.run(home.folder / "job", Columns(), at=None)
    assert [(r.inference_id, stamp(r.inferred_at)) for r in home.records()] == [
        (i, "2026-03-01T07:15:00Z") for i in ids
    ]
    assert bodies(home.records()) == [("1,2", "0.0"), ("3,4", "0.1"), ("5,6", "0.2")]
    assert (receipt.records, home.dead()) == (3, [(1, "there is no file of its answers: b.csv.out or b.csv")])


def test_manifests_lead_to_the_data_of_a_job(home: Home) -> None:
    home.write("acme/in/a.csv", "1,2\n3,4\n")
    home.write("acme/out/a.csv.out", "0.1\n0.2\n")
    home.write("acme/log/input/2026/03/01/09/x.json", '[{"prefix": "s3://acme/in/"}, "a.csv"]')
    home.write("acme/log/output/2026/03/01/09/x.json", '[{"prefix": "s3://acme/out/"}, "a.csv.out"]')
    receipt = home.run(home.folder / "acme/log", Columns(), at=None)
    assert (receipt.kind, receipt.records) == ("manifests", 2)
    assert bodies(home.records()) == [("1,2", "0.1"), ("3,4", "0.2")]
    assert {stamp(r.inferred_at) for r in home.records()} == {"2026-03-01T09:00:00Z"}


SCHEMA = {
    "columns": [
        {"name": "a", "role": "feature", "type": "numerical"},
        {"name": "score", "role": "prediction", "type": "numerical"},
        {"name": "truth", "role": "target", "type": "numerical"},
    ]
}


def bento(*rows: tuple[float, str]) -> str:
    return "".join(
        f'{{"a": {a}, "score": {a / 10}, "truth": 1, "timestamp": "2026-03-01T10:00:00.5", "request_id": "{r}", '
        f'"trace_id": "9"}}\n'
        for a, r in rows
    )


def test_a_log_of_bentoml_has_features_predictions_and_labels_by_its_schema(home: Home) -> None:
    home.write("mon/schema/schema.1.log", json.dumps(SCHEMA) + "\n")
    home.write("mon/data/data.1.log.2026-02-28", bento((1.0, "7")))
    home.write("mon/data/data.1.log", bento((2.0, "8"), (3.0, "8"), (4.0, "9")))
    receipt = home.run(home.folder / "mon", Columns(), at=None, zone=zone_of("Europe/Berlin"))
    assert {r.inference_id: bodies([r])[0] for r in home.records()} == {
        "7": ('{"a":1.0}', '{"score":0.1}'),
        "8": ('[{"a":2.0},{"a":3.0}]', '[{"score":0.2},{"score":0.3}]'),
        "9": ('{"a":4.0}', '{"score":0.4}'),
    }
    assert {stamp(r.inferred_at) for r in home.records()} == {"2026-03-01T09:00:00Z"}
    assert (receipt.kind, receipt.records, receipt.labels) == ("bentoml", 3, 3)
    labels = home.store.get(next(home.store.list("labels/shop/")).key).decode()
    assert '{"groundTruthData":{"data":"[1,1]","encoding":"JSON"},"eventMetadata":{"eventId":"8"}' in labels


@pytest.mark.parametrize("part", [3, 10_000], ids=["in many parts", "in one part"])
def test_the_same_input_is_imported_once_and_what_grew_only_as_far_as_it_grew(
    home: Home, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imported, "_PART", part)
    monkeypatch.setattr(imported, "_FLUSH_BYTES", 700)
    lines = [f"{n},{n % 2}\n" for n in range(20)]
    counted: list[tuple[int, int]] = []
    for many in (7, 7, 20, 20):
        receipt = home.run(home.write("scored.csv", "a,score\n" + "".join(lines[:many])))
        counted.append((receipt.records, receipt.already))
    assert counted == [(7, 0), (0, 7), (13, 7), (0, 20)]
    assert sorted(int(i or "") for i, _ in bodies(home.records())) == list(range(20))
    assert len({r.inference_id for r in home.records()}) == 20


def test_an_import_that_was_broken_off_goes_on_without_doing_anything_twice(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imported, "_PART", 5)
    monkeypatch.setattr(imported, "_FLUSH_BYTES", 1000)
    source = home.write("scored.csv", "a,score\n" + "".join(f"{n},1\n" for n in range(40)))
    home.run(source)
    whole = {e.key for e in home.store.list("captured/")}
    ledgers = sorted(key for key in whole if "/_imports/" in key)
    assert len(ledgers) > 2
    for key in (ledgers[0], next(k for k in whole if k.endswith(".jsonl"))):  # stored, not noted; and noted, not stored
        home.store.delete(key)
        if key in ledgers:
            assert home.run(source).records > 0
            assert {e.key for e in home.store.list("captured/")} == whole


def test_an_id_that_the_line_brings_makes_the_name_of_the_file_not_matter(home: Home) -> None:
    text = "id,a,score\nx,1,0.5\n"
    assert home.run(home.write("one.csv", text), Columns("id", outputs=("score",))).records == 1
    assert home.run(home.write("two.csv", text), Columns("id", outputs=("score",))).already == 1


def test_equal_lines_are_requests_of_their_own(home: Home) -> None:
    for name in ("job/a.csv", "job/b.csv"):
        home.write(name, "a,score\n1,0.5\n1,0.5\n")
    home.run(home.folder / "job")
    home.run(home.folder / "job", at=AT.replace(day=2))
    assert len({r.event_id for r in home.records()}) == 8


def test_ids_that_were_made_are_told(home: Home) -> None:
    home.run(home.write("scored.csv", "a,score\n1,0.5\n"))
    (record,) = home.records()
    assert (home.folder / "ids.csv").read_text().splitlines() == ["file,line,id", f"scored.csv,2,{record.join_id}"]


@pytest.mark.parametrize(
    ("name", "text", "columns", "line", "reason"),
    [
        ("s.csv", "a,score\n1\n2,1\n", SCORE, 2, "there are 1 fields, but 2 columns"),
        ("s.csv", 'a,score\n"1\n2,1\n', SCORE, 2, "a quote is opened and never closed"),
        ("s.csv", "id,score\n,1\n2,1\n", Columns("id", outputs=("score",)), 2, "there is no id"),
        ("s.jsonl", '{"score":1\n{"score":1}\n', SCORE, 1, "not a JSON object: Input data was truncated"),
        ("s.jsonl", '{"a":1}\n{"score":1}\n', SCORE, 1, "there is no column 'score'"),
        (
            "s.jsonl", '{"score":true}\n{"score":1}\n', Columns("score"), 1,
            "the id in 'score' is True; it must be text or a whole number",
        ),
        (
            "s.csv", "at,score\nnoon,1\n2026-03-01,1\n", Columns(time="at", outputs=("score",)), 2,
            "the time is 'noon'; write it as 2026-03-01T09:14:07Z, or as seconds since 1970",
        ),
    ],
)  # fmt: skip
def test_a_bad_line_is_a_dead_letter_and_the_others_are_imported(
    home: Home, name: str, text: str, columns: Columns, line: int, reason: str
) -> None:
    receipt = home.run(home.write(name, text), columns)
    assert home.dead() == [(line, reason)]
    assert (receipt.records, receipt.bad, receipt.reasons) == (1, 1, {reason: 1})


def test_a_file_without_its_answers_is_told(home: Home) -> None:
    for name in ("in/a.csv", "in/b.csv", "out/a.csv.out", "out/c.csv"):
        home.write(name, "1\n")
    assert home.run(home.folder / "in", Columns(), answers=home.folder / "out").records == 1
    assert home.dead() == [
        (1, "there is no file of its answers: b.csv.out or b.csv"),
        (1, "there is no input file for these answers"),
    ]


@pytest.mark.parametrize(
    ("text", "more", "reason"),
    [
        ("a,b\n1,2\n", {}, "has no column 'score'; it has 'a', 'b'"),
        ("a,score,score\n1,2,3\n", {}, "has 2 columns 'score'; rename one"),
        ("a,score\n1,2\n", {"at": None}, "nothing says when the batch was scored"),
        ("a,score\n1,2\n", {"header": False}, "column 'score' is not a position"),
        ("a,score\n1,2\n", {"format": "parquet"}, "cannot be read as Parquet"),
    ],
)
def test_a_source_that_is_not_what_was_said_is_refused(
    home: Home, text: str, more: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InputError, match=reason.replace(".", r"\.")):
        home.run(home.write("scored.csv", text), **more)
    assert home.records() == []
