from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from driftline.dataset.compact import decode_cached
from driftline.dataset.dataset import Answers, Captured, Decoded
from driftline.dataset.decode import decode
from driftline.errors import InputError
from driftline.schema import ID, SCORE, TIME
from driftline.windows import Window

Rows = Callable[..., list[dict[str, Any]]]
IDS = [f"94bc0000-0462-4bd1-92c9-{i:012}" for i in range(3)]
TIME_OF_JOB = "2026-03-01T09:10:00Z"


class Bucket:
    """A copy of the bucket `acme` and what a job wrote there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.capture = folder / "acme/capture"

    def put(self, key: str, text: str | bytes) -> Path:
        path = self.folder / "acme" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def manifest(self, side: str, content: Any, hour: str = "09", name: str | None = None) -> Path:
        text = content if isinstance(content, bytes) else json.dumps(content)
        return self.put(f"capture/{side}/2026/03/01/{hour}/{name or side + '-1'}.json", text)

    def job(self, given: str, answered: str, name: str = "a.csv") -> None:
        """One job over one file."""
        self.put(f"in/{name}", given)
        self.put(f"out/{name}.out", answered)
        self.manifest("input", [{"prefix": "s3://acme/in/"}, name])
        self.manifest("output", [{"prefix": "s3://acme/out/"}, name + ".out"])

    def take(self, part: str = "", **options: Any) -> Decoded:
        answers, window = options.pop("answers", None), options.pop("window", None)
        source = Captured((self.capture / part,), window=window, **options)
        return decode(source, self.folder / "decoded", answers=answers)


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return Bucket(tmp_path)


def letters(decoded: Decoded) -> list[tuple[str, int, str]]:
    assert decoded.dead_letters is not None
    told = [json.loads(line) for line in decoded.dead_letters.read_text().splitlines()]
    return [(Path(t["file"]).name, t["line"], t["reason"]) for t in told]


def test_line_n_of_the_output_answers_line_n_of_the_input(bucket: Bucket, rows: Rows) -> None:
    bucket.job("1,x\n2,y\n", "0.5\n0.25\n")
    assert rows(bucket.take(names=("p", "a", "b"))) == [{"p": 0.5, "a": 1, "b": "x"}, {"p": 0.25, "a": 2, "b": "y"}]
    assert rows(bucket.take(names=("a", "b"))) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    assert rows(bucket.take("input")) == [{"_c0": 1, "_c1": "x"}, {"_c0": 2, "_c1": "y"}]
    assert rows(bucket.take("output")) == [{"_c0": 0.5}, {"_c0": 0.25}]


def test_the_id_and_time_appended_to_csv_are_no_columns(bucket: Bucket, rows: Rows) -> None:
    bucket.job("1,x\n2,y\n", f"0.5,{IDS[0]},{TIME_OF_JOB}\n0.25,{IDS[1]},{TIME_OF_JOB}\n")
    found = rows(bucket.take(answers=Answers(score="0")), reserved=True)
    assert [(r[ID], r[TIME], r[SCORE], r["_c1"]) for r in found] == [
        (IDS[0], datetime(2026, 3, 1, 9, 10, tzinfo=UTC), 0.5, 1),
        (IDS[1], datetime(2026, 3, 1, 9, 10, tzinfo=UTC), 0.25, 2),
    ]
    assert bucket.take("output").table.columns == ("_c0",)


def test_an_input_joined_to_csv_answers_is_told_from_them(bucket: Bucket, rows: Rows) -> None:
    bucket.job("1,x\n2,y\n", f"1,x,0.5,{IDS[0]},{TIME_OF_JOB}\n2,y,0.25,{IDS[1]},{TIME_OF_JOB}\n")
    assert rows(bucket.take(names=("p", "a", "b"))) == [{"p": 0.5, "a": 1, "b": "x"}, {"p": 0.25, "a": 2, "b": "y"}]
    assert rows(bucket.take("output"))[0] == {"_c0": 1, "_c1": "x", "_c2": 0.5}


def test_answers_that_begin_like_one_input_by_chance_are_left_whole(bucket: Bucket, rows: Rows) -> None:
    bucket.job("1\n0\n", "1,0.9\n1,0.8\n")
    assert rows(bucket.take(names=("label", "p", "a"))) == [
        {"label": 1, "p": 0.9, "a": 1},
        {"label": 1, "p": 0.8, "a": 0},
    ]


@pytest.mark.parametrize("joined", [False, True])
def test_the_id_and_time_added_to_json_are_no_columns(bucket: Bucket, rows: Rows, joined: bool) -> None:
    marks = {"SageMakerInferenceId": IDS[0], "SageMakerInferenceTime": TIME_OF_JOB}
    answer = {"a": 1, "SageMakerOutput": {"p": 0.5}} if joined else {"p": 0.5}
    bucket.job('{"a": 1}\n', json.dumps(answer | marks) + "\n", "a.jsonl")
    (row,) = rows(bucket.take(answers=Answers(score="p")), reserved=True)
    assert (row[ID], row[SCORE], row["p"], row["a"]) == (IDS[0], 0.5, 0.5, 1)
    assert bucket.take().table.columns == ("p", "a")


def test_a_json_file_sent_as_one_request_is_one_record(bucket: Bucket, rows: Rows) -> None:
    answer = {"predictions": [{"p": 0.5}, {"p": 0.25}], "SageMakerInferenceId": IDS[0]}
    bucket.job(json.dumps({"instances": [{"a": 1}, {"a": 2}]}, indent=1), json.dumps(answer, indent=1), "a.json")
    found = bucket.take()
    assert rows(found) == [{"p": 0.5, "a": 1}, {"p": 0.25, "a": 2}]
    assert (found.intake.records, found.intake.dead) == (1, 0)


def test_a_prefix_may_be_the_whole_key_and_a_path_of_this_machine(bucket: Bucket, rows: Rows) -> None:
    bucket.put("in/all.csv.gz", gzip.compress(b"1\n2\n"))
    bucket.manifest("input", [{"prefix": "s3://acme/in/all.csv.gz"}, ""])
    bucket.manifest("output", [{"prefix": str(bucket.put("x/all.csv.gz.out", "0.5\n0.25\n"))}, ""])
    assert rows(bucket.take(names=("p", "a"))) == [{"p": 0.5, "a": 1}, {"p": 0.25, "a": 2}]
    bucket.manifest("output", [{"prefix": bucket.put("y y/all.csv.gz.out", "0.7\n0.8\n").as_uri()}, ""])
    assert [r["p"] for r in rows(bucket.take(names=("p", "a")))] == [0.7, 0.8]


def test_jobs_of_one_hour_are_told_apart_by_the_names_of_their_manifests(bucket: Bucket, rows: Rows) -> None:
    bucket.put("in/a.csv", "1\n")
    for job in ("one", "two"):
        bucket.put(f"out/{job}/a.csv.out", {"one": "0.1\n", "two": "0.2\n"}[job])
        bucket.manifest("input", [{"prefix": "s3://acme/in/"}, "a.csv"], name=job)
        bucket.manifest("output", [{"prefix": f"s3://acme/out/{job}/"}, "a.csv.out"], name=job)
    assert sorted(r["p"] for r in rows(bucket.take(names=("p", "a")))) == [0.1, 0.2]


def test_a_window_is_held_against_the_time_in_the_output_else_the_hour_of_the_job(bucket: Bucket) -> None:
    bucket.job("1\n2\n", f"0.5,{IDS[0]},2026-03-01T09:59:59Z\n0.25,{IDS[1]},2026-03-01T10:00:00Z\n")
    hour = Window(datetime(2026, 3, 1, 9, tzinfo=UTC), datetime(2026, 3, 1, 10, tzinfo=UTC))
    assert (bucket.take(window=hour).intake.rows, bucket.take(window=hour).intake.outside) == (1, 1)
    assert bucket.take("input", window=hour).intake.rows == 2


def test_lines_without_a_partner_are_dead_letters(bucket: Bucket, rows: Rows) -> None:
    bucket.job("1\n2\n\n4\n", "0.1\n\n0.3\n0.4\n0.5\n")
    found = bucket.take(names=("p", "a"))
    assert rows(found) == [{"p": 0.1, "a": 1}, {"p": 0.4, "a": 4}]
    output, given = (
        "there is no line of this number in the output file",
        "there is no line of this number in the input file",
    )
    assert sorted(letters(found)) == [("a.csv", 2, output), ("a.csv.out", 3, given), ("a.csv.out", 5, given)]
    assert (found.intake.records, found.intake.rows, found.intake.dead) == (5, 2, 3)


def test_lines_meet_however_the_blocks_of_their_files_fall(
    bucket: Bucket, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("driftline.dataset.lines.BLOCK", 64)
    bucket.job("".join(f"{i},{'x' * (i % 40)}\n" for i in range(300)), "".join(f"0.{i:03}\n" for i in range(300)))
    found = rows(bucket.take(names=("p", "a", "b")))
    assert [(r["p"], r["a"]) for r in found] == [(i / 1000, i) for i in range(300)]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'[{"prefix": "s3://acme/in/"}, "a.c', "the manifest is not valid JSON: "),
        (b"", "the manifest is not valid JSON: "),
        ([{"prefix": 5}, "a.csv"], "the manifest is not an array that begins with"),
        ([{"prefix": "s3://acme/in/"}], "the manifest names no file"),
        ([{"prefix": "s3://acme/in/"}, "a.csv", 7], "the manifest names 7, which is not a key"),
        ([{"prefix": "s3://acme/in/"}, None], "the manifest names None, which is not a key"),
    ],
)
def test_a_bad_manifest_is_a_dead_letter_and_the_others_are_followed(bucket: Bucket, content: Any, reason: str) -> None:
    bucket.put("in/a.csv", "1\n2\n")
    bucket.manifest("input", [{"prefix": "s3://acme/in/"}, "a.csv"])
    bucket.manifest("input", content, name="bad")
    found = bucket.take()
    ((file, line, why),) = letters(found)
    assert (file, line, why.startswith(reason)) == ("bad.json", 1, True)
    assert (found.intake.records, found.intake.rows) == (3, 2)


def test_a_file_that_is_not_there_is_a_dead_letter_of_its_manifest(bucket: Bucket) -> None:
    bucket.put("in/a.csv", "1\n")
    bucket.manifest("input", [{"prefix": "s3://acme/in/"}, "gone.csv", "a.csv", "../../secret.csv"])
    bucket.put("../secret.csv", "1\n")
    found = bucket.take()
    why = "the manifest names a file that is not there"
    assert letters(found) == [("input-1.json", 2, why), ("input-1.json", 4, why)]
    assert (found.intake.records, found.intake.rows) == (3, 1)


def test_a_source_none_of_whose_files_is_there_is_refused_with_what_to_do(bucket: Bucket) -> None:
    bucket.manifest("input", [{"prefix": "s3://acme/in/"}, "gone.csv"])
    with pytest.raises(
        InputError, match=r"names 's3://acme/in/gone.csv', which is not there.*copy the bucket to 'acme'"
    ):
        bucket.take()


def test_a_file_of_one_side_only_and_one_of_two_jobs_are_dead_letters(bucket: Bucket) -> None:
    bucket.job("1\n", "0.5\n")
    bucket.put("in/b.csv", "1\n")
    bucket.manifest("input", [{"prefix": "s3://acme/in/"}, "b.csv"], name="more")
    found = bucket.take()
    assert letters(found) == [("more.json", 2, "no manifest of this hour names its output")]
    assert found.intake.rows == 1
    bucket.manifest("input", [{"prefix": "s3://acme/in/"}, "a.csv"], name="again")
    found = bucket.take()
    assert found.intake.rows == 0
    assert sorted({(file, why.split(";")[0]) for file, _, why in letters(found)}) == [
        ("again.json", "several jobs of this hour name such a file"),
        ("input-1.json", "several jobs of this hour name such a file"),
        ("more.json", "no manifest of this hour names its output"),
        ("output-1.json", "several jobs of this hour name such a file"),
    ]


def test_what_is_wrong_with_the_data_is_told_with_its_file_and_line(bucket: Bucket) -> None:
    bucket.job("1,x\n2\n3,z\n", "0.5\n0.6\n0.7\n")
    assert letters(bucket.take()) == [("a.csv.out", 2, "endpointInput: 1 CSV fields where most records have 2")]
    bucket.put("in/a.csv", b"1,x\n\xff,y\n")
    found = bucket.take("input")
    assert letters(found) == [("a.csv", 2, "not valid UTF-8")]
    assert (found.intake.records, found.intake.rows) == (2, 1)


def test_an_array_that_lies_elsewhere_is_no_manifest(bucket: Bucket, tmp_path: Path) -> None:
    path = bucket.put("people.json", '[{"prefix": "Dr"}, {"prefix": "Ms"}]')
    found = decode(Captured((path,)), tmp_path / "out")
    assert found.intake.reasons == {"no captureData with the data of an endpointInput or endpointOutput": 2}


def test_changed_data_behind_the_same_manifest_is_decoded_anew(bucket: Bucket, tmp_path: Path) -> None:
    bucket.job("1\n", "0.5\n")
    source = Captured((bucket.capture,))
    assert decode_cached(tmp_path / "cache", source).table.rows == 1
    bucket.put("in/a.csv", "1\n2\n")
    bucket.put("out/a.csv.out", "0.5\n0.6\n")
    assert decode_cached(tmp_path / "cache", source).table.rows == 2


def test_a_preprocess_script_sees_both_sides(bucket: Bucket, tmp_path: Path, rows: Rows) -> None:
    bucket.job("1,x\n", f"0.5,{IDS[0]},{TIME_OF_JOB}\n")
    script = tmp_path / "script.py"
    script.write_text(
        "def preprocess_handler(record):\n"
        "    return {'in': record.endpoint_input.data, 'out': record.batch_transform_output.data,\n"
        "            'id': record.event_metadata.event_id}\n"
    )
    assert rows(bucket.take(preprocess=script)) == [{"in": "1,x", "out": 0.5, "id": IDS[0]}]
