"""The published layout: what is written is read back, and anything that does not fit is refused by name."""

import contextlib
import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.datasets import structures, write_boards, write_structure
from trm.config import check
from trm.data import layout
from trm.data.build import build
from trm.data.layout import ARRAYS, content_hash, read_split
from trm.data.split import evenly
from trm.files import BadInput, read_json


@settings(max_examples=40, deadline=None)
@given(structures, st.sampled_from([2, 11, 256, 257, 65536, 65537]), st.integers(1, 7), st.integers(1, 9))
def test_round_trip(tmp_path_factory, structure, vocab_size, seq_len, chunk):
    folder = tmp_path_factory.mktemp("split") / "train"
    sizes = [size for group in structure for size in group]
    rows = sum(sizes)
    group = np.repeat([g for g, sizes_ in enumerate(structure) for _ in sizes_], sizes)
    inputs, labels = np.random.default_rng(rows).integers(0, vocab_size, (2, rows, seq_len))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "CHUNK", chunk)
        split = write_boards(folder, structure, inputs, labels, vocab_size)
    assert (split.inputs == inputs).all()
    assert (split.labels == labels).all()
    assert np.diff(split.puzzle_indices).tolist() == sizes
    assert np.diff(split.group_indices).tolist() == [len(sizes_) for sizes_ in structure]
    assert split.first_rows().tolist() == [int((group < g).sum()) for g in range(len(structure))]


@pytest.mark.parametrize(("vocab_size", "dtype"), [(2, "u1"), (256, "u1"), (257, "u2"), (65536, "u2"), (65537, "u4")])
def test_tokens_take_the_smallest_unsigned_type(tmp_path, vocab_size, dtype):
    top = np.full((1, 3), vocab_size - 1)
    write_boards(tmp_path / "train", [[1]], top, top, vocab_size)
    array = np.load(tmp_path / "train/all__inputs.npy")
    assert array.dtype == dtype
    assert (array == top).all()


@pytest.mark.parametrize("name", ARRAYS[2:])
def test_indices_are_int32_on_disk(tmp_path, name):
    write_structure(tmp_path / "train", [[1, 2], [3]])
    assert np.load(tmp_path / f"train/all__{name}.npy").dtype == np.int32


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "i8", ">i4"])
@pytest.mark.parametrize("names", [("inputs", "labels"), ARRAYS[2:]])
def test_every_integer_type_is_read(tmp_path, dtype, names):
    expected = write_structure(tmp_path / "train", [[1, 2], [3]])
    tokens = np.array(expected.inputs)
    for name in names:
        path = tmp_path / f"train/all__{name}.npy"
        np.save(path, np.load(path).astype(dtype))
    split = read_split(tmp_path / "train")
    inputs, labels, identifiers = split.take(np.array([5, 0]))
    assert (inputs == tokens[[5, 0]]).all()
    assert (labels == tokens[[5, 0], ::-1]).all()
    assert identifiers.tolist() == [0, 0]


def test_boards_stay_on_disk_until_taken(tiny_data):
    split = read_split(tiny_data / "train")
    assert isinstance(split.inputs, np.memmap)
    assert isinstance(split.labels, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        split.inputs[0] = 1


@given(structures, st.data())
@settings(max_examples=30, deadline=None)
def test_take_gives_each_example_the_identifier_of_its_puzzle(tmp_path_factory, structure, data):
    folder = tmp_path_factory.mktemp("split") / "train"
    sizes = [size for group in structure for size in group]
    write_structure(folder, structure)
    identifiers = np.arange(len(sizes), dtype=np.int32) * 3 + 1
    np.save(folder / "all__puzzle_identifiers.npy", identifiers)
    facts = read_json(folder / "dataset.json")
    (folder / "dataset.json").write_text(json.dumps({**facts, "num_puzzle_identifiers": 3 * len(sizes)}))
    rows = np.array(data.draw(st.lists(st.integers(0, sum(sizes) - 1), min_size=1)))
    owner = [puzzle for puzzle, size in enumerate(sizes) for _ in range(size)]
    assert read_split(folder).take(rows)[2].tolist() == [identifiers[owner[row]] for row in rows]


def test_total_puzzles_counts_puzzles(tiny_data):
    facts = read_json(tiny_data / "train/dataset.json")
    assert facts["total_puzzles"] == 180
    assert facts["total_groups"] == 60


@given(st.integers(1, 200), st.integers(1, 250))
def test_numbers_are_spread_evenly_and_in_order(total, n):
    rows = evenly(n, total)
    assert len(rows) == min(n, total)
    gaps = np.diff(np.append(rows, rows[0] + total))
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "provenance.json"
    }


@pytest.mark.parametrize("chunk", [1, 100, 1000])
def test_a_builder_s_chunks_do_not_show(tmp_path, tiny_data, tiny_experiment, monkeypatch, chunk):
    monkeypatch.setattr(layout, "CHUNK", chunk)
    build(tiny_experiment.dataset, tmp_path / "data")
    assert files(tmp_path / "data") == files(tiny_data)


def test_the_content_hash_follows_the_content_alone(tmp_path, tiny_data):
    copy = shutil.copytree(tiny_data, tmp_path / "data")
    (copy / "provenance.json").write_text("{}")
    (copy / "audit.json").write_text("{}")
    assert content_hash(copy) == content_hash(tiny_data)
    for path in [*copy.rglob("*/*"), copy / "identifiers.json"]:
        before = path.read_bytes()
        path.write_bytes(before + b"\n")
        assert content_hash(copy) != content_hash(tiny_data), path
        path.write_bytes(before)
    assert content_hash(copy) == content_hash(tiny_data)


def test_building_twice_gives_the_same_content_and_another_seed_another(tmp_path, tiny_data, tiny_experiment):
    tree = tiny_experiment.model_dump(mode="json")
    seeds = {seed: check(tree, "here", [f"dataset.seed={seed}"]).dataset for seed in (0, 1)}
    hashes = {seed: build(section, tmp_path / str(seed))["content_sha256"] for seed, section in seeds.items()}
    assert hashes[0] == content_hash(tiny_data)
    assert hashes[1] != hashes[0]


def test_a_build_over_an_earlier_one_leaves_nothing_of_it(tmp_path, tiny_data, tiny_experiment):
    copy = shutil.copytree(tiny_data, tmp_path / "data")
    for name in ("audit.json", "preview.png", "train/left-over"):
        (copy / name).write_text("old")
    build(tiny_experiment.dataset, copy)
    assert files(copy) == files(tiny_data)


def test_validation_is_set_aside_by_whole_groups(tmp_path, tiny_experiment, tiny_data):
    tree = tiny_experiment.model_dump(mode="json")
    facts = build(check(tree, "here", ["dataset.validation=0.25"]).dataset, tmp_path / "data")
    assert facts["splits"]["train"] == {"examples": 135, "puzzles": 135, "groups": 45}
    assert facts["splits"]["validation"] == {"examples": 15, "puzzles": 15, "groups": 15}
    whole, train, held = (
        {bytes(row) for row in split.inputs[split.first_rows()]}
        for split in (
            read_split(tiny_data / "train"),
            *(read_split(tmp_path / "data" / s) for s in ("train", "validation")),
        )
    )
    assert train | held == whole
    assert not train & held


def save(path, array):
    np.save(path, array)


def truncate(path, array):
    path.write_bytes(path.read_bytes()[:-3])


def break_header(path, array):
    path.write_bytes(path.read_bytes().replace(b"}", b"(", 1))


def zipped(path, array):
    with open(path, "wb") as file:
        np.savez(file, array)


def wrapped(change):
    return lambda path, array: np.save(path, change(np.array(array)))


DAMAGES = [
    ("inputs", truncate, "not a whole .npy array"),
    ("labels", break_header, "not a whole .npy array"),
    ("labels", zipped, "not a whole .npy array"),
    ("puzzle_indices", truncate, "not a whole .npy array"),
    ("inputs", lambda path, array: path.write_bytes(b""), "not a whole .npy array"),
    ("inputs", wrapped(lambda a: a.astype(object)), "not a whole .npy array"),
    ("inputs", wrapped(lambda a: a.astype(np.float32)), "type float32, expected integers"),
    ("labels", wrapped(lambda a: a > 1), "type bool, expected integers"),
    ("inputs", wrapped(lambda a: a[:, :3]), "expected [n, seq_len]"),
    ("inputs", wrapped(lambda a: a.ravel()), "expected [n, seq_len]"),
    ("inputs", wrapped(lambda a: a[:0]), "labels.npy: shape"),
    ("labels", wrapped(lambda a: a[1:]), "expected that of inputs"),
    ("puzzle_identifiers", wrapped(lambda a: a[:, None]), "expected one dimension"),
    ("puzzle_identifiers", wrapped(lambda a: a[0]), "expected one dimension"),
    ("puzzle_identifiers", wrapped(lambda a: a + 1), "holds 1..1, expected 0..0"),
    ("puzzle_identifiers", wrapped(lambda a: a - 1), "holds -1..-1, expected 0..0"),
    ("puzzle_indices", wrapped(lambda a: a[:-1]), "3 entries, expected 4"),
    ("puzzle_indices", wrapped(lambda a: a[[0, 2, 1, 3]]), "not increasing"),
    ("puzzle_indices", wrapped(lambda a: a[[0, 2, 1, 3]].astype(np.uint8)), "not increasing"),
    ("puzzle_indices", wrapped(lambda a: a[[0, 1, 1, 3]]), "not increasing"),
    ("puzzle_indices", wrapped(lambda a: a + 1), "runs 1..7, expected 0..6"),
    ("group_indices", wrapped(lambda a: a * 2), "runs 0..6, expected 0..3"),
    ("group_indices", wrapped(lambda a: a[[0, 2]]), "1 groups, expected 2"),
    ("group_indices", wrapped(lambda a: a[:1]), "expected one dimension, 2 or more"),
]


@pytest.mark.parametrize(("name", "damage", "message"), DAMAGES)
def test_damage_is_refused_by_the_name_of_the_file(tmp_path, name, damage, message):
    array = np.array(getattr(write_structure(tmp_path / "train", [[1, 2], [3]]), name))
    damage(tmp_path / f"train/all__{name}.npy", array)
    with pytest.raises(BadInput) as caught:
        read_split(tmp_path / "train")
    assert f"{tmp_path}/train/all__" in str(caught.value)
    assert message in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 127), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_header_is_never_a_traceback(tmp_path_factory, changes):
    folder = tmp_path_factory.mktemp("split") / "train"
    write_structure(folder, [[1, 2], [3]])
    content = bytearray((folder / "all__inputs.npy").read_bytes())
    for place, byte in changes:
        content[place] = byte
    (folder / "all__inputs.npy").write_bytes(content)
    # a changed byte may still make a header that fits; whatever does not is BadInput
    with contextlib.suppress(BadInput):
        assert read_split(folder).inputs.shape == (6, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seq_len": "many"}, "seq_len: "),
        ({"vocab_size": None}, "vocab_size: "),
        ({"sets": []}, "sets: "),
        ({"sets": ["../all"]}, "sets: '../all' is no name of a set"),
        ({"total_groups": 0}, "total_groups: "),
        ({"mean_puzzle_examples": float("inf")}, "mean_puzzle_examples: "),
        ({"pad_id": -1}, "pad_id: "),
    ],
)
def test_wrong_metadata_is_refused_by_key(tmp_path, changes, message):
    write_structure(tmp_path / "train", [[1, 2], [3]])
    path = tmp_path / "train/dataset.json"
    path.write_text(json.dumps({**read_json(path), **changes}))
    with pytest.raises(BadInput) as caught:
        read_split(tmp_path / "train")
    assert str(caught.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize(
    ("name", "token", "refused"),
    [("inputs", 11, True), ("inputs", -100, True), ("labels", 11, True), ("labels", -100, False)],
)
def test_a_token_beyond_the_vocabulary_is_refused_by_row(tmp_path, name, token, refused):
    split = write_structure(tmp_path / "train", [[1, 2], [3]])
    tokens = np.array(getattr(split, name), np.int64)
    tokens[4, 1] = token
    np.save(tmp_path / f"train/all__{name}.npy", tokens)
    path = tmp_path / "train/dataset.json"
    path.write_text(json.dumps({**read_json(path), "ignore_label_id": -100}))
    split = read_split(tmp_path / "train")
    split.take(np.array([0, 3]))
    if refused:
        with pytest.raises(BadInput, match=f"all__{name}.npy: row 4: token {token}, expected 0..10"):
            split.take(np.array([0, 4]))
    else:
        split.take(np.array([0, 4]))
