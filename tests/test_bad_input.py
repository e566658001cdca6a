"""Bad input: one line on stderr that says what, where and what was expected, status 2, and nothing half-written.

Every case runs the real command in this process and compares the files before and after.
"""

import copy
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml

from tests.conftest import TINY, signals_kept
from trm.cli import main
from trm.files import read_json
from trm.puzzles import Source, sudoku
from trm.tensors import read_tensors, write_tensors
from trm.training import checkpoints

DELETE = object()


@pytest.fixture(autouse=True)
def signals():
    """A trainer in this process listens to signals; afterwards pytest does again."""
    with signals_kept():
        yield


class Place:
    """A folder to run commands in: tiny.yaml, data and run are whole until a case changes them."""

    def __init__(self, folder, data, run, monkeypatch, capfd):
        self.folder, self.monkeypatch, self.capfd = folder, monkeypatch, capfd
        (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
        shutil.copytree(data, folder / "data")
        shutil.copytree(run, folder / "run")
        monkeypatch.chdir(folder)

    def files(self):
        return {
            str(path.relative_to(self.folder)): path.read_bytes() if path.is_file() else None
            for path in self.folder.rglob("*")
        }

    def run(self, *arguments):
        """Status and stderr of a command."""
        self.monkeypatch.setattr(sys, "argv", ["trm", *map(str, arguments)])
        self.capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        return caught.value.code or 0, self.capfd.readouterr().err

    def refuses(self, *arguments, words, status=2):
        """Run a command that must refuse its input, telling `words`, and leave everything as it was."""
        before = self.files()
        code, error = self.run(*arguments)
        assert_one_line(error, words)
        assert code == status
        assert self.files() == before


def assert_one_line(error, words):
    lines = error.splitlines()
    assert len(lines) == 1, error
    assert lines[0].startswith("trm: ")
    for word in [words] if isinstance(words, str) else words:
        assert word in lines[0]


@pytest.fixture
def place(tmp_path, tiny_data, tiny_run, monkeypatch, capfd):
    return Place(tmp_path, tiny_data, tiny_run, monkeypatch, capfd)


BUILD = ("build", "tiny.yaml", "--out", "out")
TRAIN = ("train", "tiny.yaml", "--data", "data", "--out", "out", "--device", "cpu")
EVALUATE = ("evaluate", "run", "--data", "data", "--out", "out", "--device", "cpu")


def test_what_the_cases_start_from_is_good(place):
    for command in (BUILD, TRAIN, EVALUATE, ("audit", "data", "--out", "audit.json")):
        assert place.run(*command)[0] == 0


# Experiment files


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("trainning", {}, ["tiny.yaml: trainning: unknown key, did you mean training?"]),
        ("batch", 1, ["tiny.yaml: batch: unknown key, expected one of name, description, dataset"]),
        ("dataset.num_augs", 1, ["tiny.yaml: dataset.num_augs: unknown key, did you mean num_aug?"]),
        ("dataset.walls", [0, 1], ["tiny.yaml: dataset.walls: unknown key", "blanks"]),
        ("model.hiden_size", 16, ["tiny.yaml: model.hiden_size: unknown key, did you mean hidden_size?"]),
        ("training.learning_rate", 1, ["tiny.yaml: training.learning_rate: unknown key, "]),
        ("evaluation.subsets", 1, ["evaluation.subsets: unknown key, did you mean subset?"]),
        ("resources.gpu", 1, ["resources.gpu: unknown key, did you mean gpus?"]),
        (
            "published",
            {"exact_accuracy": 0.5, "sources": "x"},
            ["published.sources: unknown key, did you mean source?"],
        ),
        ("name", DELETE, ["tiny.yaml: name: Field required"]),
        ("dataset", DELETE, ["tiny.yaml: dataset: Field required"]),
        ("dataset", None, ["tiny.yaml: dataset: ", "not None"]),
        ("dataset.puzzle", DELETE, ["tiny.yaml: ", "puzzle None is unknown, expected one of arc, arithmetic"]),
        ("dataset.puzzle", "soduko", ["puzzle 'soduko' is unknown, expected one of arc, arithmetic"]),
        ("dataset.puzzle", ["sudoku"], ["puzzle ['sudoku'] is unknown"]),
        ("dataset.size", "six", ["dataset.size: expected 4, 6 or 9, not 'six'"]),
        ("dataset.blanks", [11, 6], ["blanks 11, 6: expected a range [low, high] within 1..15"]),
        ("dataset.validation", 1.0, ["dataset.validation: expected less than 1", "not 1.0"]),
        ("name", "Tiny Run", ["tiny.yaml: name: ", "'Tiny Run'"]),
        ("model", [1], ["tiny.yaml: model: ", "not [1]"]),
        ("model.hidden_size", 16.5, ["model.hidden_size: ", "integer", "16.5"]),
        ("model.hidden_size", 0, ["model.hidden_size: expected greater than or equal to 1, not 0"]),
        ("model.mlp_t", "maybe", ["model.mlp_t: ", "boolean", "'maybe'"]),
        ("model.one_step_gradient", 2, ["model.one_step_gradient: expected a valid boolean", "not 2"]),
        ("model.pos_encodings", "alibi", ["model.pos_encodings: expected 'none', 'rope' or 'learned', not 'alibi'"]),
        ("model", {"num_heads": 3}, ["model: hidden_size 512 must be a multiple of 2 * num_heads (3)"]),
        ("model.puzzle_emb_ndim", 17, ["model: puzzle_emb_ndim 17 does not fit 1 positions of 16"]),
        ("training.lr", "fast", ["training.lr: ", "'fast'"]),
        ("training.lr", float("nan"), ["training.lr: ", "nan"]),
        ("training.beta1", 1, ["training.beta1: expected less than 1, not 1"]),
        ("training.eval_interval", 3, ["training: eval_interval 3 must divide epochs 4"]),
        ("training.final_weights", "best_validation", ["best_validation needs dataset.validation above 0"]),
        ("seeds", [], ["seeds: "]),
        ("seeds", [0, -1], ["seeds.1: expected greater than or equal to 0, not -1"]),
        ("resources", {"runtime": "1 day"}, ["resources.runtime: ", "'1 day'"]),
        (
            "published",
            {"exact_accuracy": 87.4, "source": "x"},
            ["published.exact_accuracy: ", "less than or equal to 1"],
        ),
        ("published", {"source": "x"}, ["published: expected one of exact_accuracy and pass@2"]),
        (
            "published",
            {"exact_accuracy": 0.5, "pass@2": 0.6, "source": "x"},
            ["published: expected one of exact_accuracy and pass@2"],
        ),
        ("published", {"pass@2": 0.6, "source": "x"}, ["published.pass@2: sudoku has no attempts, expected exact_acc"]),
        ("published", {"pass_at_2": 0.6, "source": "x"}, ["published.pass_at_2: unknown key, did you mean pass@2?"]),
        # impossible to build, though each key is possible
        ("dataset.subsample_size", 100_000, ["dataset: found only", "expected 100000"]),
        ("dataset.validation", 0.001, ["dataset: the validation split is empty"]),
    ],
)
def test_a_wrong_key_is_named(place, key, value, words):
    tree = copy.deepcopy(TINY)
    *parents, last = key.split(".")
    section = tree
    for parent in parents:
        section = section.setdefault(parent, {})
    if value is DELETE:
        del section[last]
    else:
        section[last] = value
    (place.folder / "tiny.yaml").write_text(yaml.safe_dump(tree))
    place.refuses(*BUILD, words=words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"name: tiny\ndataset: {puzzle: sudoku\n", ["tiny.yaml: line 3: not valid YAML"]),
        (b"name: tiny\n\tdataset: 1\n", ["tiny.yaml: line 2: not valid YAML"]),
        (b"- name: tiny\n", ["tiny.yaml: holds a list, expected a mapping"]),
        (b"", ["tiny.yaml: holds a NoneType, expected a mapping"]),
        (b"name: t\xefny\n", ["tiny.yaml: byte 7 is not UTF-8"]),
        (b"\x89PNG\r\n\x1a\n", ["tiny.yaml: byte 0 is not UTF-8"]),
        (b"name: !!python/object:os.system\n", ["tiny.yaml: line 1: not valid YAML"]),
        (b"1: 2\n", ["tiny.yaml: "]),
    ],
)
def test_a_file_that_is_no_experiment_is_told(place, content, words):
    (place.folder / "tiny.yaml").write_bytes(content)
    place.refuses(*BUILD, words=words)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("other.yaml", "other.yaml: no such file"),
        ("data", "data: cannot be read (Is a directory)"),
        ("tiny.yaml/tiny.yaml", "tiny.yaml/tiny.yaml: cannot be read (Not a directory)"),
        ("x" * 300, "cannot be read (File name too long)"),
        ("{name: tiny", "not valid YAML, expected a mapping"),
        ("{name: 2024-13-01}", "not valid YAML, expected a mapping"),
        ("{name: tiny}", "experiment: dataset: Field required"),
    ],
)
def test_an_experiment_that_cannot_be_read_is_told(place, source, words):
    place.refuses("build", source, "--out", "out", words=words)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.lr", ["override 'training.lr': expected key=value"]),
        ("=1", ["override '=1': expected key=value"]),
        ("training.lr.x=1", ["override 'training.lr.x=1': lr is not a section"]),
        ("name.first=1", ["name is not a section"]),
        ("training.lr=[1", ["override 'training.lr=[1': the value is not valid YAML"]),
        ("training.lr=2024-13-01", ["the value is not valid YAML"]),
        ("training.rate=1", ["tiny.yaml: training.rate: unknown key, did you mean ema_rate?"]),
        ("optimiser.lr=1", ["tiny.yaml: optimiser: unknown key"]),
        ("training.lr=", ["training.lr: ", "not None"]),
        ("model.hidden_size=big", ["model.hidden_size: ", "'big'"]),
    ],
)
@pytest.mark.parametrize("command", [BUILD, TRAIN], ids=["build", "train"])
def test_a_wrong_override_is_quoted(place, command, override, words):
    place.refuses(*command, "--set", override, words=words)


# Raw files

QUESTION = "...7.2..5....95.8.19..8..67..4...6....79...2.26...1......5......39.....8....784.."
ANSWER = "846712935372695184195483267984237651517964823263851749728549316439126578651378492"
GOOD = f"source,question,answer,rating\nx,{QUESTION},{ANSWER},1\n"
OPEN = "S" + 28 * " " + "G" + 870 * " "
GOOD_MAZE = f"source,question,answer,rating\nx,{OPEN},{OPEN.replace(28 * ' ', 28 * 'o', 1)},1\n"


def test_the_raw_rows_that_the_cases_change_are_good(place):
    for puzzle, content in (("sudoku", GOOD), ("maze", GOOD_MAZE)):
        assert build_raw(place, puzzle, content)[0] == 0


def raw_command(place, puzzle, content, test):
    (place.folder / "raw").mkdir(exist_ok=True)
    for name, text in (("train.csv", content), ("test.csv", test)):
        if text is not None:
            (place.folder / "raw" / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    experiment = {"name": "raw", "dataset": {"puzzle": puzzle, "raw": "raw"}}
    return "build", json.dumps(experiment), "--out", f"built-{puzzle}"


def build_raw(place, puzzle, content):
    return place.run(*raw_command(place, puzzle, content, content))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "train.csv: line 1: the file ends, expected a header and at least one row"),
        (GOOD.splitlines()[0], "train.csv: line 2: the file ends"),
        (GOOD.replace("answer", "solution"), "train.csv: line 1: the columns are"),
        (GOOD + GOOD.splitlines()[1][:-1].replace(",", ";"), "train.csv: line 3: has 1 fields, expected 4"),
        (GOOD.replace("x,", "x,y,"), "train.csv: line 2: has 5 fields, expected 4 as in line 1"),
        (GOOD.replace("..5", ".5", 1), "train.csv: line 2: question is 80 bytes long, expected 81"),
        (GOOD.replace("492,", "4922,"), "train.csv: line 2: answer is 82 bytes long, expected 81"),
        (
            GOOD.replace("...7", "..x7"),
            "train.csv: line 2: question has 'x' in cell 3, expected a digit, or . for a blank",
        ),
        (GOOD.replace("846712", "840712"), "train.csv: line 2: answer has '0' in cell 3, expected a digit 1 to 9"),
        (GOOD.replace("...7", "...8"), "train.csv: line 2: answer contradicts the given in cell 4"),
        (GOOD.replace("8467129", "4867129"), "train.csv: line 2: answer breaks the rules"),
        (GOOD.encode() + b"\xff\n", "train.csv: line 3: 0xff is not UTF-8"),
    ],
)
def test_a_malformed_sudoku_row_is_told_by_line(place, content, words):
    place.refuses(*raw_command(place, "sudoku", content, GOOD), words=words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "test.csv: line 1: the file is empty"),
        (GOOD_MAZE.splitlines()[0], "test.csv: line 2: no mazes"),
        (GOOD_MAZE.replace("question", "maze"), "test.csv: line 1: the header has no single question"),
        (GOOD_MAZE.replace("S ", "S", 1), "test.csv: line 2: question has 899 characters, expected 900"),
        (GOOD_MAZE.replace("S ", "S?", 1), "test.csv: line 2: "),
        (GOOD_MAZE.replace("S", "#"), "test.csv: line 2: question has no S or several, expected one"),
        (GOOD_MAZE.replace("G", "S"), "test.csv: line 2: question has no "),
        (GOOD_MAZE.replace("Soo", "S#o"), "test.csv: line 2: answer differs from question at character 2"),
        (GOOD_MAZE.replace("ooG", "o G"), "test.csv: line 2: the o of answer are no shortest path"),
        (GOOD_MAZE + "x,y\n" + "x,y,z,1,2\n", "test.csv: "),
        (GOOD_MAZE.encode() + b"\xff\n", "test.csv: byte"),
    ],
)
def test_a_malformed_maze_row_is_told_by_line(place, content, words):
    place.refuses(*raw_command(place, "maze", GOOD_MAZE, content), words=words)


def test_a_missing_raw_file_is_named(place):
    place.refuses(*raw_command(place, "sudoku", GOOD, None), words="raw/test.csv: no such file, expected a raw file")


def test_a_missing_raw_folder_is_named(place):
    place.refuses(*BUILD, "--set", "dataset={puzzle: sudoku, raw: nowhere}", words="nowhere/train.csv: no such file")


def test_raw_files_that_were_not_given_are_asked_for(place):
    place.refuses(
        *BUILD, "--set", "dataset={puzzle: maze}", words=["dataset.raw: maze needs train.csv", "trm download"]
    )


# Where results go


@pytest.mark.parametrize(
    "command", [BUILD, TRAIN, EVALUATE, ("download", "sudoku", "--out", "out")], ids=lambda c: c[0]
)
def test_a_result_folder_that_is_a_file_is_told(place, command):
    (place.folder / "out").write_text("mine")
    place.refuses(*command, words=["--out", "out", "is a file"])


def test_a_dataset_never_replaces_other_files(place):
    (place.folder / "out").mkdir()
    (place.folder / "out/thesis.tex").write_text("mine")
    place.refuses(*BUILD, words="out: holds thesis.tex, expected an empty folder or an earlier build")


def test_a_dataset_may_be_built_right_here(place):
    (place.folder / "here").mkdir()
    place.monkeypatch.chdir(place.folder / "here")
    assert place.run("build", "../tiny.yaml", "--out", ".")[0] == 0
    assert (place.folder / "here/train/dataset.json").is_file()


def test_checkpoints_inside_the_run_are_refused(place):
    place.refuses(*TRAIN, "--checkpoints", "out/checkpoints", words="--checkpoints out/checkpoints: inside --out")


# Datasets


# Each case damages a split, or a run, given its folder


def array(name, change):
    def damage(folder):
        path = folder / f"all__{name}.npy"
        np.save(path, change(np.load(path)))

    return damage


def truncate(name, size=-3):
    def damage(folder):
        path = folder / name
        path.write_bytes(path.read_bytes()[:size])

    return damage


def lose(name):
    return lambda folder: (folder / name).unlink()


def overwrite(name, text):
    return lambda folder: (folder / name).write_text(text)


def metadata(**changes):
    def damage(folder):
        path = folder / "dataset.json"
        tree = {**read_json(path), **changes}
        path.write_text(json.dumps({key: value for key, value in tree.items() if value is not DELETE}))

    return damage


def disorder(indices):
    return np.concatenate([indices[:1], indices[-2:0:-1], indices[-1:]])


SPLITS = [
    (shutil.rmtree, "dataset.json: no such file"),
    (lose("all__labels.npy"), "all__labels.npy: no such file"),
    (truncate("all__inputs.npy"), "all__inputs.npy: not a whole .npy array"),
    (truncate("all__inputs.npy", 0), "all__inputs.npy: not a whole .npy array"),
    (truncate("all__puzzle_indices.npy"), "all__puzzle_indices.npy: not a whole .npy array"),
    (array("labels", lambda a: a.astype(object)), "all__labels.npy: not a whole .npy array"),
    (array("inputs", np.float32), "all__inputs.npy: type float32, expected integers"),
    (array("inputs", lambda a: a[:, 1:]), "all__inputs.npy: shape "),
    (array("labels", lambda a: a[1:]), "all__labels.npy: shape "),
    (array("puzzle_indices", disorder), "all__puzzle_indices.npy: not increasing"),
    (array("puzzle_indices", lambda a: a * 2), "all__puzzle_indices.npy: runs 0.."),
    (array("group_indices", lambda a: a[1:]), "all__group_indices.npy: runs "),
    (array("puzzle_identifiers", lambda a: a + 7), "all__puzzle_identifiers.npy: holds 7..7, expected 0..0"),
    (truncate("dataset.json", 20), "dataset.json: line 3: not valid JSON"),
    (metadata(vocab_size=DELETE), "dataset.json: vocab_size: Field required"),
    (metadata(seq_len="long"), "dataset.json: seq_len: "),
    (metadata(seq_len=9), "all__inputs.npy: shape "),
    (metadata(total_groups=7), "all__group_indices.npy: "),
]


@pytest.mark.parametrize(("damage", "words"), SPLITS)
@pytest.mark.parametrize(
    ("command", "split"),
    [(TRAIN, "train"), (TRAIN, "test"), (EVALUATE, "test")],
    ids=["train", "train-test", "evaluate"],
)
def test_a_damaged_split_is_told_by_file(place, damage, words, command, split):
    damage(place.folder / "data" / split)
    place.refuses(*command, words=f"data/{split}/{words}")


def beyond(tokens):
    return np.where(tokens == 2, 200, tokens)


def test_a_token_beyond_the_vocabulary_is_told_by_row(place):
    array("inputs", beyond)(place.folder / "data/test")
    place.refuses(*EVALUATE, words=["data/test/all__inputs.npy: row ", "token 200, expected 0..5"])


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_token_beyond_the_vocabulary_ends_a_training_without_a_run(place, split):
    array("inputs", beyond)(place.folder / f"data/{split}")
    code, error = place.run(*TRAIN)
    assert code == 2
    assert_one_line(error.splitlines()[-1], [f"data/{split}/all__inputs.npy: row ", "token 200, expected 0..5"])
    assert "Traceback" not in error
    assert not (place.folder / "out").exists()


def test_a_batch_that_the_data_cannot_fill_is_told(place):
    words = "training.global_batch_size: 1000 rows, but an interval of 2 epochs over 60 groups does not fill one batch"
    place.refuses(*TRAIN, "--set", "training.global_batch_size=1000", words=words)


def test_a_validation_split_that_was_not_built_is_told(place):
    place.refuses(*TRAIN, "--set", "dataset.validation=0.1", words="data/validation/dataset.json: no such file")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (shutil.rmtree, "data/provenance.json: no such file"),
        (truncate("provenance.json", 30), "data/provenance.json: line"),
        (truncate("test/all__inputs.npy"), "data: content"),
        (overwrite("provenance.json", "{}"), "data/provenance.json: not as `trm build` wrote it"),
    ],
)
def test_an_audit_of_something_else_is_refused(place, damage, words):
    damage(place.folder / "data")
    place.refuses("audit", "data", "--out", "audit.json", words=words)


# Runs


def reshape(folder):
    weights, state = read_tensors(folder / "model.safetensors")
    write_tensors(folder / "model.safetensors", {**weights, "lm_head.weight": torch.zeros(3, 16)}, state)


def lose_a_weight(folder):
    weights, state = read_tensors(folder / "model.safetensors")
    weights.pop("q_head.bias")
    write_tensors(folder / "model.safetensors", weights, state)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (shutil.rmtree, "run: no provenance.json, expected the folder of a finished run"),
        (lose("provenance.json"), "run: no provenance.json"),
        (overwrite("provenance.json", '{"data": {}, "weights": {}}'), "run/provenance.json: no key seed"),
        (truncate("provenance.json"), "run/provenance.json: line"),
        (lose("config.yaml"), "run/config.yaml: no such file"),
        (overwrite("config.yaml", "name: x"), "run/config.yaml: dataset: Field required"),
        (lose("model.safetensors"), "run/model.safetensors: no such file"),
        (truncate("model.safetensors"), "run/model.safetensors: not a whole safetensors file"),
        (truncate("model.safetensors", 0), "run/model.safetensors: not a whole safetensors file"),
        (truncate("model.safetensors", 100), "run/model.safetensors: not a whole safetensors file"),
        (reshape, "run/model.safetensors: lm_head.weight has shape (3, 16), expected (6, 16)"),
        (lose_a_weight, "run/model.safetensors: q_head.bias has shape None, expected (2,)"),
    ],
)
def test_a_damaged_run_is_told_by_file(place, damage, words):
    damage(place.folder / "run")
    place.refuses(*EVALUATE, words=words)


def test_boards_of_another_size_are_refused(place):
    assert place.run(*BUILD, "--set", "dataset.size=6", "--set", "dataset.subsample_size=8")[0] == 0
    place.refuses("evaluate", "run", "--data", "out", "--out", "scores", words="run/model.safetensors: ")


# Command lines


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("download", "chess960", "--out", "out"), "chess960: unknown puzzle, expected one of arc, arithmetic"),
        (("download", "nqueens", "--out", "out"), "nqueens: no file to download; its boards are generated"),
        (("download", "sudoku", "dev.csv", "--out", "out"), "no raw file dev.csv, expected one of train.csv, test.csv"),
        (("build", "tiny.yaml"), "--out"),
        (("build", "--out", "out"), "EXPERIMENT"),
        (("solve-it",), "solve-it"),
        ((*TRAIN, "--seed", "-1"), "--seed"),
        ((*TRAIN, "--seed", "one"), "--seed"),
        ((*TRAIN, "--device", "tpu"), "--device"),
        ((*TRAIN, "--learning-rate", "1"), "--learning-rate"),
        ((*EVALUATE, "--subset", "0"), "--subset"),
        (("schema", "workflow"), "workflow"),
        (("figure", "pie-chart", "run", "--out", "pie"), "pie-chart"),
        (("table", "run", "--out", "table", "--about", "{a"), "--about"),
        (("table", "run", "--out", "table", "--about", "[a]"), "--about '[a]': expected a mapping"),
        (("show", "nowhere", "--out", "out.png"), "nowhere"),
    ],
)
def test_a_wrong_command_line_is_told(place, command, words):
    place.refuses(*command, words=words)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
@pytest.mark.parametrize("command", [TRAIN, EVALUATE], ids=["train", "evaluate"])
def test_cuda_where_there_is_none_is_told(place, command):
    place.refuses(*command, "--device", "cuda", words="--device cuda: this machine has no CUDA device")


def test_a_download_with_another_hash_is_told(place):
    (place.folder / "upstream.csv").write_text("changed upstream")
    source = Source((place.folder / "upstream.csv").as_uri(), "0" * 64)
    place.monkeypatch.setattr(sudoku, "SOURCES", {"train.csv": source})
    (place.folder / "raw").mkdir()
    place.refuses("download", "sudoku", "--out", "raw", words=["sha256", "0" * 64, "nothing was kept"])


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ((*BUILD, "--set", "training.rate=1"), "training.rate: unknown key"),
        (
            ("train", "tiny.yaml", "--data", "nowhere", "--out", "out", "--device", "cpu"),
            "nowhere/train/dataset.json: no such file",
        ),
        (("audit", "nowhere"), "nowhere/provenance.json: no such file"),
        (("build",), "EXPERIMENT"),
    ],
    ids=["build", "train", "audit", "usage"],
)
def test_a_process_of_its_own_ends_the_same_way(place, command, words):
    before = place.files()
    ended = subprocess.run([sys.executable, "-m", "trm", *command], capture_output=True, text=True, check=False)
    assert_one_line(ended.stderr, words)
    assert ended.stdout == ""
    assert ended.returncode == 2
    assert place.files() == before


# A full disk


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 200 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if mounted.returncode:
        pytest.skip(f"may not mount a small file system: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)  # loaded tensors may still lie on it


def under(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_full_disk_ends_a_build_in_one_line_and_keeps_the_earlier_one(place, small_disk):
    large = (
        "--set",
        "dataset={puzzle: sudoku, size: 4, blanks: [6, 11], subsample_size: 60, test_size: 9, num_aug: 200}",
    )
    assert place.run("build", "tiny.yaml", "--out", small_disk / "data")[0] == 0
    before = under(small_disk)
    code, error = place.run("build", "tiny.yaml", *large, "--out", small_disk / "data")
    assert_one_line(error, f"{small_disk}/data: No space left on device")
    assert code == 1
    assert under(small_disk) == before


def test_a_full_disk_while_small_files_are_written_is_told_too(place, small_disk):
    left = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize
    (small_disk / "filler").write_bytes(bytes(left - 8192))
    code, error = place.run("build", "tiny.yaml", "--out", small_disk / "data")
    assert_one_line(error, f"{small_disk}/data: ")
    assert code == 1
    assert under(small_disk) == {"filler"}


def test_a_full_disk_keeps_the_checkpoints_that_were_whole(small_disk):
    folder = small_disk / "checkpoints"
    checkpoints.save(folder, 1, {"weights": torch.ones(1000)}, {"step": 1})
    with pytest.raises(OSError, match="No space left") as caught:
        checkpoints.save(folder, 2, {"weights": torch.ones(100_000)}, {"step": 2})
    assert caught.value.filename == str(folder / "step-00000002.safetensors")
    assert under(folder) == {"step-00000001.safetensors"}
    tensors, state = checkpoints.load(folder)
    assert state == {"step": 1}
    assert torch.equal(tensors["weights"], torch.ones(1000))


def test_a_full_disk_ends_a_training_in_one_line(place, small_disk):
    (small_disk / "filler").write_bytes(bytes(150_000))
    code, error = place.run(*TRAIN, "--checkpoints", small_disk / "checkpoints")
    lines = [line for line in error.splitlines() if line.startswith("trm: ")]
    assert code == 1
    assert len(lines) == 1
    assert "step-00000006.safetensors" in lines[0]
    assert "No space left" in lines[0]
    assert "Traceback" not in error
    assert not [path for path in under(small_disk) if path.endswith((".safetensors", ".tmp"))]
    assert not (place.folder / "out").exists()
