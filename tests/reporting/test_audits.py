"""The table of audits."""

import json

import pandas as pd
import pytest

from trm.files import BadInput, read_json
from trm.reporting.audits import audits_table, write_audits


def test_a_row_for_each_split_says_what_the_audit_found(results):
    audit, frame = read_json(results.data / "audit.json"), audits_table([results.data])
    assert frame["split"].tolist() == list(audit["splits"]) == ["train", "validation", "test"]
    for row in frame.to_dict("records"):
        split = audit["splits"][row["split"]]
        for key in ("examples", "puzzles", "groups", "twins_within", "contradictions", "several_answers"):
            assert row[key] == split[key]
        assert row["data"] == audit["content_sha256"]
    test = frame.iloc[-1]
    assert test["inputs_in_train"] == audit["twins_in_train"]["test"]["inputs"]
    assert pd.isna(frame["inputs_in_train"].iloc[0])
    assert frame["verdict"].iloc[0] == "trained on"


@pytest.mark.parametrize(
    ("twins", "leaks", "verdict"),
    [
        ({"groups": 20, "inputs": 0, "labels": 0}, ["inputs", "labels"], "clean"),
        ({"groups": 20, "inputs": 3, "labels": 5}, ["inputs"], "3 of 20 groups leak"),
        ({"groups": 20, "inputs": 0, "labels": 5}, ["inputs"], "clean"),  # two puzzles may share an answer
        ({"groups": 20, "inputs": 0, "labels": 5}, ["inputs", "labels"], "5 of 20 groups leak"),
    ],
)
def test_verdicts_follow_what_must_not_stand_in_train(results, tmp_path, twins, leaks, verdict):
    audit = read_json(results.data / "audit.json") | {"leaks": leaks}
    audit["twins_in_train"]["test"] = twins
    (tmp_path / "audit.json").write_text(json.dumps(audit))
    assert audits_table([tmp_path])["verdict"].iloc[-1] == verdict


def test_datasets_stand_in_order_of_names_and_give_the_same_files_each_time(results, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "audit.json").write_text(json.dumps(read_json(results.data / "audit.json") | {"dataset": "a_first"}))
    for folders, name in (([results.data, other], "one"), ([other, results.data], "two")):
        write_audits(audits_table(folders), tmp_path / f"{name}.csv")
    for suffix in ("csv", "md", "tex"):
        assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"two.{suffix}").read_bytes()
    assert (tmp_path / "one.md").read_text().splitlines()[2].startswith("| a_first | train | ")
    assert r"a\_first & train & " in (tmp_path / "one.tex").read_text()


def test_what_is_no_audit_is_told(results, tmp_path):
    audit = read_json(results.data / "audit.json")
    (tmp_path / "audit.json").write_text(json.dumps({key: audit[key] for key in audit if key != "splits"}))
    with pytest.raises(BadInput, match=r"audit.json: no key splits, expected what `trm audit` wrote"):
        audits_table([tmp_path])
