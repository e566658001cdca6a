"""A run goes to the hub and comes back with the same bits and figures; what is not a run of ours leaves nothing here.

The hub is tests/hub_server.py, which the real library talks to over HTTP.
"""

import json
import os
import pickle
import re
import shutil
import sys

import pytest
import torch
import yaml
from huggingface_hub import ModelCard

from tests.conftest import ALONE, TINY, signals_kept
from tests.hub_server import TOKEN, USER, blob_id, serving
from tests.test_bad_input import assert_one_line
from tests.test_hub import command
from trm.config import Evaluation, check
from trm.evaluation.evaluate import evaluate
from trm.files import read_json, sha256
from trm.huggingface import RUN
from trm.tensors import read_tensors, write_tensors
from trm.training.loop import train

NAME = f"{USER}/tiny"
FILES = (*RUN, "evaluation.json")


@pytest.fixture
def hub(monkeypatch):
    with serving() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # the hub's other way, not HTTP
        yield hub


@pytest.fixture
def run(tmp_path, tiny_run):
    """A run to change."""
    return shutil.copytree(tiny_run, tmp_path / "run")


@pytest.fixture
def trm(monkeypatch, capfd):
    """Runs a command that has to succeed."""

    def call(*arguments):
        code, error = command(monkeypatch, capfd, *arguments)
        assert code == 0, error

    return call


@pytest.fixture
def pushed(hub, run, trm):
    trm("push", run, NAME)
    return hub.repositories[NAME]


@pytest.fixture
def refused(monkeypatch, capfd, tmp_path):
    """Runs a command that has to refuse with one line, and to leave the folder as it was."""

    def call(*arguments, words, status=2):
        before = sorted(tmp_path.rglob("*"))
        code, error = command(monkeypatch, capfd, *arguments)
        assert_one_line(error, words)
        assert code == status
        assert sorted(tmp_path.rglob("*")) == before

    return call


def change(repository, name, data):
    """Another content of a file, in a commit of its own."""
    repository.commit("main", repository.files() | {name: data})


def changed_yaml(repository, **sections):
    """config.yaml with other keys in some sections."""
    tree = yaml.safe_load(repository.files()["config.yaml"])
    for section, keys in sections.items():
        tree[section] = tree[section] | keys if isinstance(keys, dict) else keys
    return yaml.safe_dump(tree).encode()


def test_a_run_comes_back_as_it_was_pushed_and_scores_the_same(pushed, hub, run, tmp_path, tiny_data, trm):
    assert pushed.private
    assert pushed.files().keys() == {*FILES, "README.md"}
    for name in FILES:
        assert pushed.files()[name] == (run / name).read_bytes(), name

    again = tmp_path / "again"
    trm("import", f"hf:{NAME}", "--out", again)
    fetched = [request for request in hub.requests if "/resolve/" in request]
    assert all(f"/resolve/{pushed.branches['main']}/" in request for request in fetched)  # one commit, not a branch
    assert {path.name for path in again.iterdir()} == set(FILES)
    for name in FILES:
        if name != "provenance.json":
            assert (again / name).read_bytes() == (run / name).read_bytes(), name
    facts = read_json(again / "provenance.json")
    assert facts.pop("hub") == {
        **{"repository": NAME, "commit": pushed.branches["main"]},
        **{"files": {name: sha256(run / name) for name in FILES}},
    }
    assert facts == read_json(run / "provenance.json")
    evaluate(again, tiny_data, again, Evaluation(batch_size=20), ALONE)
    assert read_json(again / "evaluation.json") == read_json(run / "evaluation.json")


def test_an_imported_run_is_trained_on_from(pushed, run, tmp_path, tiny_data, trm):
    again = tmp_path / "again"
    trm("import", f"hf:{NAME}", "--out", again)
    outs = []
    for init in (run, again):
        experiment = check(TINY, "tiny", [f"training.init={init}"])
        outs.append(tmp_path / f"from-{init.name}")
        with signals_kept():
            assert train(experiment, tiny_data, outs[-1], None, 0, None, "cpu") == 0
    ours, theirs = (read_tensors(out / "model.safetensors")[0] for out in outs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_adapters_go_along(hub, run, tmp_path, tiny_data, trm, refused):
    lora = [f"training.{key}" for key in (f"init={run}", "trained=lora", "lora_rank=2", "lora_alpha=4", "max_steps=2")]
    out = tmp_path / "lora"
    with signals_kept():
        assert train(check(TINY, "tiny", lora), tiny_data, out, None, 0, None, "cpu") == 0
    trm("push", out, NAME)
    trm("import", f"hf:{NAME}", "--out", tmp_path / "again")
    for name in ("adapters.safetensors", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()
    write_tensors(out / "adapters.safetensors", {"A": torch.zeros(3, 5)}, {})
    refused("push", out, NAME, words=["adapters.safetensors", "rank 2"])


def test_the_card_has_the_head_that_the_hub_reads_and_all_figures(pushed, run, hub):
    card = ModelCard(pushed.files()["README.md"].decode())
    assert card.data.library_name == "trm"
    assert set(card.data.tags) >= {"trm", "sudoku"}
    scores, facts = read_json(run / "evaluation.json"), read_json(run / "provenance.json")
    told = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert told == {name: figure["value"] for name, figure in scores["figures"].items()}
    for name, figure in scores["figures"].items():
        low, high = (f"{100 * figure[end]:.1f}" for end in ("low", "high"))
        assert re.search(rf"\| {name} \| [\d.]+ % \({low} to {high}, n = {figure['count']:,}\) \|", card.text)
    assert card.text.count(facts["data"]["content_sha256"]) == 2  # trained and scored on
    for what in (f"{facts['parameters']:,} weights", facts["device"], f"trm import hf:{NAME} --out run"):
        assert what in card.text
    assert "POST /api/validate-yaml" in hub.requests


def test_public_and_licensed_only_when_asked(hub, run, trm, refused):
    trm("push", run, NAME, "--public", "--license", "mit")
    repository = hub.repositories[NAME]
    assert not repository.private
    assert ModelCard(repository.files()["README.md"].decode()).data.license == "mit"
    refused("push", run, NAME, words=[NAME, "public", "--public"])  # nothing goes to a public one by mistake
    trm("push", run, f"{USER}/other")
    refused("push", run, f"{USER}/other", "--public", words="private")
    refused("push", run, NAME, "--public", "--license", "free", words="license")


def test_a_revision_is_a_branch_or_a_commit(pushed, run, trm, tmp_path):
    first = pushed.branches["main"]
    (run / "evaluation.json").unlink()
    trm("push", run, NAME, "--revision", "seed-1")
    assert pushed.branches["main"] == first
    assert f"hf:{NAME}@seed-1" in pushed.files("seed-1")["README.md"].decode()
    assert "evaluation.json" not in pushed.files("seed-1")  # which the branch began with
    trm("push", run, NAME)
    for revision, figures in ((f"@{first}", True), ("@seed-1", False), ("", False)):
        out = tmp_path / f"out{revision}"
        trm("import", f"hf:{NAME}{revision}", "--out", out)
        assert (out / "evaluation.json").exists() == figures


def test_no_path_of_this_machine_goes_out_with_the_configuration(hub, run, trm, tmp_path):
    experiment = check(
        yaml.safe_load((run / "config.yaml").read_text()),
        "config",
        ["dataset.raw=/home/someone/raw", "training.init=/home/someone/runs/seed-3"],
    )
    (run / "config.yaml").write_text(yaml.safe_dump(experiment.model_dump(mode="json")))
    trm("push", run, NAME)
    assert b"/home" not in hub.repositories[NAME].files()["config.yaml"]
    trm("import", f"hf:{NAME}", "--out", tmp_path / "again")
    again = yaml.safe_load((tmp_path / "again" / "config.yaml").read_text())
    assert (again["dataset"]["raw"], again["training"]["init"]) == (None, "seed-3")


def test_a_run_that_is_not_whole_or_not_its_own_is_not_pushed(hub, run, refused):
    scores = read_json(run / "evaluation.json")
    for key, value in (("seed", 7), ("weights", scores["weights"] | {"step": 5})):
        (run / "evaluation.json").write_text(json.dumps(scores | {key: value}))
        refused("push", run, NAME, words=[f"{run}/evaluation.json", "other weights"])
    (run / "metrics.jsonl").unlink()
    refused("push", run, NAME, words=[str(run), "metrics.jsonl"])
    assert hub.requests == []


def test_what_is_not_there_is_said_in_one_line(hub, pushed, refused, run, monkeypatch, tmp_path):
    out = tmp_path / "out"
    refused("import", f"hf:{USER}/nothing", "--out", out, words=[f"hf:{USER}/nothing", "no such repository"])
    refused("import", f"hf:{NAME}@nothing", "--out", out, words=[f"hf:{NAME}@nothing", "no such revision"])
    refused("import", "hf:a/b/c", "--out", out, words="hf:a/b/c")
    refused("import", f"hf:{NAME}", "--out", run, words="is there already")
    refused("import", f"hf:{NAME}", "--out", out, "--set", "training.lr=1", words="--set")
    for name in RUN:
        pushed.branches["main"] = pushed.commit(
            "main", {other: data for other, data in pushed.files().items() if other != name}
        )
        refused("import", f"hf:{NAME}", "--out", out, words=[f"hf:{NAME}", f"no file {name}"])
        change(pushed, name, (run / name).read_bytes())
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    refused("import", f"hf:{NAME}", "--out", out, words="HF_TOKEN")
    refused("push", run, NAME, words="401", status=1)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # where nobody answers
    refused("import", f"hf:{NAME}", "--out", out, words=f"hf:{NAME}", status=1)


@pytest.mark.parametrize("name", ["model.safetensors", "config.yaml", "metrics.jsonl"])
@pytest.mark.parametrize("how", ["truncated", "altered"])
def test_a_file_that_is_not_what_the_repository_lists_is_refused(name, how, hub, pushed, refused, tmp_path):
    data = pushed.files()[name]
    hub.altered[name] = data[:-3] if how == "truncated" else data[:-1] + bytes([data[-1] ^ 1])
    refused("import", f"hf:{NAME}", "--out", tmp_path / "out", words=[name, "hash"])


def test_names_and_sizes_of_a_listing_are_not_trusted(hub, pushed, tmp_path, trm, refused):
    escape = {"rfilename": "../escape", "size": 1, "blobId": blob_id(b"x")}
    hub.listed = [escape, {**escape, "rfilename": "model.pt"}, {**escape, "rfilename": "/tmp/absolute"}]
    trm("import", f"hf:{NAME}", "--out", tmp_path / "again")
    assert {path.name for path in (tmp_path / "again").iterdir()} == set(FILES)
    assert not any("escape" in request or "model.pt" in request for request in hub.requests)
    for name, size in (("metrics.jsonl", 10**9), ("model.safetensors", 10**12)):
        hub.listed = [{"rfilename": name, "size": size, "blobId": "0" * 40}]
        before = len(hub.requests)
        refused("import", f"hf:{NAME}", "--out", tmp_path / "out", words=[name, f"{size} bytes"])
        assert not any("resolve" in request for request in hub.requests[before:])


def test_without_the_library_it_says_what_to_install(run, refused, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for asked in (["push", run, NAME], ["import", f"hf:{NAME}", "--out", tmp_path / "out"]):
        refused(*asked, words=["huggingface_hub is not installed", "pip install 'trm[huggingface]'"])


class Evil:
    """A pickle that would make a folder."""

    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def test_what_is_no_run_of_ours_is_refused(pushed, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = dict(pushed.files())
    facts = json.loads(files["provenance.json"])
    weights = dict(read_tensors(tmp_path / "run" / "model.safetensors")[0])
    first = next(iter(weights))

    def tensors(**changed):
        write_tensors(tmp_path / "other.safetensors", weights | changed, {})
        data = (tmp_path / "other.safetensors").read_bytes()
        (tmp_path / "other.safetensors").unlink()
        return data

    cases = [
        ("config.yaml", changed_yaml(pushed, model={"hiden_size": 16}), "did you mean hidden_size"),
        ("config.yaml", changed_yaml(pushed, dataset={"raw": "/etc"}), "is a path of a machine"),
        ("config.yaml", changed_yaml(pushed, training={"init": "../../run"}), "is a path of a machine"),
        ("config.yaml", changed_yaml(pushed, name="../../run"), "name"),
        ("config.yaml", changed_yaml(pushed, dataset={"puzzle": "os"}), "unknown"),
        ("config.yaml", b"!!python/object/apply:os.mkdir [made]", "not valid YAML"),
        ("config.yaml", changed_yaml(pushed, model={"hidden_size": 32}), "shape"),
        ("config.yaml", changed_yaml(pushed, model={"L_layers": 10**9}), "layers"),
        ("config.yaml", changed_yaml(pushed, dataset={"size": 9}), "shape"),
        ("provenance.json", json.dumps(facts | {"seed": -1}).encode(), "seed"),
        ("provenance.json", json.dumps(facts | {"data": {"name": "x\ny"}}).encode(), "data.name"),
        ("provenance.json", b"[]", "expected a dict"),
        ("metrics.jsonl", b'{"step": 1}\n[]\n', "line 2"),
        ("evaluation.json", b'{"figures": {}}', "evaluation.json"),
        ("model.safetensors", pickle.dumps(Evil()), "not a whole safetensors file"),
        ("model.safetensors", tensors(**{first: weights[first] * float("nan")}), "not finite"),
        ("model.safetensors", tensors(**{"puzzle_emb.weights": torch.zeros(7, 16)}), "7 puzzle embeddings"),
        ("model.safetensors", tensors(more=torch.zeros(2)), "more"),
    ]
    for name, data, words in cases:
        change(pushed, name, data)
        refused("import", f"hf:{NAME}", "--out", tmp_path / "out", words=[f"hf:{NAME}/", words])
        change(pushed, name, files[name])
