"""Files are whole or not there, and equal values have equal fingerprints."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trm.files import BadInput, atomic, atomic_folder, fingerprint, read_json, read_yaml, sha256, write_json, write_text

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def interrupted_file(path, error):
    with atomic(path) as temporary:
        temporary.write_text("half")
        raise error


def interrupted_folder(path, error):
    with atomic_folder(path) as temporary:
        (temporary / "file").write_text("half")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
@pytest.mark.parametrize("write", [interrupted_file, interrupted_folder])
def test_an_error_leaves_nothing_behind(tmp_path, write, error):
    with pytest.raises(error):
        write(tmp_path / "name", error)
    assert names(tmp_path) == []


def test_an_error_keeps_what_was_there(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").write_text("old")
    for write, name in ((interrupted_file, "file"), (interrupted_folder, "folder")):
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / name, KeyboardInterrupt)
    assert names(tmp_path) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == (tmp_path / "folder/file").read_text() == "old"


def test_nothing_has_its_name_before_it_is_whole(tmp_path):
    with atomic(tmp_path / "a/file") as path:
        path.write_text("new")
        assert not (tmp_path / "a/file").exists()
    with atomic_folder(tmp_path / "a/folder") as folder:
        (folder / "file").write_text("new")
        assert not (tmp_path / "a/folder").exists()
    assert names(tmp_path / "a") == ["file", "folder"]
    assert (tmp_path / "a/file").read_text() == (tmp_path / "a/folder/file").read_text() == "new"


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    for name in ("old", "new"):
        with atomic_folder(tmp_path / "folder") as folder:
            (folder / name).write_text(name)
    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder") == ["new"]


def test_a_failed_write_tells_on_which_file(tmp_path):
    with pytest.raises(OSError, match="device") as caught, atomic(tmp_path / "file"):
        raise OSError(28, "No space left on device")
    assert caught.value.filename == str(tmp_path / "file")


def shuffled(value):
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in random.Random(1).sample(list(value), len(value))}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


@given(json_values)
def test_fingerprints_do_not_depend_on_the_order_of_keys(value):
    assert fingerprint(shuffled(value)) == fingerprint(value)


@given(json_values, json_values)
def test_fingerprints_differ_where_values_do(one, other):
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (fingerprint(one) == fingerprint(other)) == same


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_json_round_trip(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("json") / "value.json"
    write_json(path, value)
    assert read_json(path) == value


def test_sha256_is_that_of_the_bytes(tmp_path):
    write_text(tmp_path / "abc", "abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (read_json, b'{"a": 1,\n', "line 2: not valid JSON"),
        (read_json, b"[1]", "holds a list, expected a dict"),
        (read_json, b"[" * 100_000, "not valid JSON"),
        (read_yaml, b"a: [1\nb: 2", "line 2: not valid YAML"),
        (read_yaml, b"when: 2024-13-01", "not valid YAML"),
        (read_yaml, b"- a", "holds a list, expected a mapping"),
        (read_yaml, b"", "holds a NoneType, expected a mapping"),
        (read_yaml, b"a: \xff", "byte 3 is not UTF-8"),
        (read_yaml, b"a: \x07", "not valid YAML"),
        (read_yaml, b"[" * 5000, "not valid YAML"),
    ],
)
def test_damaged_text_names_the_file_and_the_problem(tmp_path, read, content, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_key_that_stands_twice_is_an_error(tmp_path):
    file = tmp_path / "twice.yaml"
    file.write_text("training:\n  lr: 1.0\n  lr: 2.0\n")
    with pytest.raises(BadInput, match=r"twice.yaml: line 3: not valid YAML \(key lr stands twice\)"):
        read_yaml(file)
