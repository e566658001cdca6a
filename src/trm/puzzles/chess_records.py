"""Raw chess files: positions with a move to find, in four kinds that are told apart by their keys.

    fen, evals          Lichess's evaluations: the first move of the deepest evaluation's first line
    fen, line, depth    the same on Hugging Face, a row for each line of analysis: the first move of `line`
    FEN, Moves          Lichess's puzzles: the opponent plays the first move, the second one is the answer
    FEN, Best_Move      anyone's positions

Each may stand in JSON lines or in CSV with a header, plain or compressed with zstd (.zst). A file is read as a stream
and no further than the caller goes: the evaluations are 22 GB, of which a few MB at the start may do.
"""

import csv
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from trm.files import BadInput

RAW_HINT = (
    "for instance the first 100 MB of Lichess's evaluations: curl -r 0-99999999 -o lichess_db_eval.jsonl.zst "
    "https://database.lichess.org/lichess_db_eval.jsonl.zst"
)
LONGEST_LINE = 1 << 20  # bytes; real ones have some thousands
BLOCK = 1 << 16  # bytes read at a time, before decompression


class Record(NamedTuple):
    """A position, and moves in UCI from there: the last one is the answer, those before it are to be played."""

    line: int
    fen: str
    moves: list[str]
    depth: int  # of the analysis that found the answer; 0 where none is told


def read(path: Path) -> Iterator[Record]:
    """The records of a file, as they come. Raises BadInput where one is malformed; chess itself is not checked."""
    lines = ((line, text) for line, text in _lines(path) if text.strip())
    first = next(lines, None)
    if first is None:
        raise BadInput(f"{path}: line 1: the file is empty, expected {_EXPECTED}")
    is_json = first[1].lstrip().startswith("{")
    objects = (_json_objects if is_json else _csv_objects)(path, itertools.chain([first], lines))
    keys = None
    for line, found in objects:
        keys = keys or _kind(path, line, found)
        try:
            record = Record(line, *_KINDS[keys](found))
        except ValueError as error:
            raise BadInput(f"{path}: line {line}: {error}") from None
        yield record
    if keys is None:
        raise BadInput(f"{path}: line 2: no positions, expected rows below the header")


# Objects to records


def _kind(path: Path, line: int, keys: Iterable[str]) -> frozenset[str]:
    kind = next((kind for kind in _KINDS if kind <= set(keys)), None)
    if kind is None:
        raise BadInput(f"{path}: line {line}: found {_shown(', '.join(keys))}, expected {_EXPECTED}")
    return kind


def _evaluated(found: dict[str, Any]) -> tuple[str, list[str], int]:
    deepest = max(_take(found, "evals", list), key=_depth)  # of equals the first
    line = _take(_take(deepest, "pvs", list)[0], "line", str)
    return _take(found, "fen", str), line.split()[:1], _depth(deepest)


def _analysed(found: dict[str, Any]) -> tuple[str, list[str], int]:
    return _take(found, "fen", str), _take(found, "line", str).split()[:1], _depth(found)


def _puzzle(found: dict[str, Any]) -> tuple[str, list[str], int]:
    moves = _take(found, "Moves", str).split()
    if len(moves) < 2:
        raise ValueError(f"Moves is {_shown(found['Moves'])}, expected the opponent's move and the answer to it")
    return _take(found, "FEN", str), moves[:2], 0


def _best_move(found: dict[str, Any]) -> tuple[str, list[str], int]:
    return _take(found, "FEN", str), [_take(found, "Best_Move", str).strip()], 0


_KINDS: dict[frozenset[str], Callable[[dict[str, Any]], tuple[str, list[str], int]]] = {
    frozenset({"fen", "evals"}): _evaluated,
    frozenset({"fen", "line", "depth"}): _analysed,
    frozenset({"FEN", "Moves"}): _puzzle,
    frozenset({"FEN", "Best_Move"}): _best_move,
}
_EXPECTED = "JSON lines or CSV with fen and evals; fen, line and depth; FEN and Moves; or FEN and Best_Move"


def _take(found: Any, key: str, kind: type) -> Any:
    value = found.get(key) if isinstance(found, dict) else None
    if not isinstance(value, kind) or not value or (kind is str and value.isspace()):
        expected = "a text that is not blank" if kind is str else "a list that is not empty"
        raise ValueError(f"{key} is {_shown(value)}, expected {expected}")
    return value


def _depth(found: Any) -> int:
    value = found.get("depth") if isinstance(found, dict) else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 7:  # CSV has texts only
        value = int(value)
    if type(value) is not int or value < 0:  # True and False are instances of int
        raise ValueError(f"depth is {_shown(value)}, expected an integer of 0 or more")
    return value


def _shown(value: Any) -> str:
    """A value in an error: one short line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


# Lines to objects


def _json_objects(path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, text in lines:
        try:
            found = json.loads(text, object_pairs_hook=_distinct)
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{path}: line {line}: not valid JSON ({error}), expected an object") from None
        if not isinstance(found, dict):
            raise BadInput(f"{path}: line {line}: holds {_shown(found)}, expected a JSON object")
        yield line, found


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _csv_objects(path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, dict[str, str]]]:
    header = None
    for line, text in lines:
        try:
            row = next(csv.reader([text], strict=True))  # a line at a time: no field here spans several
        except csv.Error as error:
            raise BadInput(f"{path}: line {line}: not valid CSV ({error})") from None
        if header is None:
            header = row
            _kind(path, line, header)
            if len(set(header)) < len(header):
                raise BadInput(f"{path}: line {line}: a column stands twice, expected each once")
            continue
        if len(row) != len(header):
            raise BadInput(f"{path}: line {line}: {len(row)} fields, expected the {len(header)} of the header")
        yield line, dict(zip(header, row, strict=True))


# Bytes to lines


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file, numbered from 1."""
    line, rest = 1, b""
    for block in _blocks(path):
        *whole, rest = (rest + block).split(b"\n")
        for content in whole:
            yield line, _text(path, line, content)
            line += 1
        if len(rest) > LONGEST_LINE:
            break
    if rest:
        yield line, _text(path, line, rest)


def _text(path: Path, line: int, content: bytes) -> str:
    if len(content) > LONGEST_LINE:
        raise BadInput(f"{path}: line {line}: longer than {LONGEST_LINE} bytes, expected a position a line")
    try:
        return content.decode().removeprefix("\ufeff")  # which spreadsheets put at the start
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: line {line}: byte {error.start + 1} is not UTF-8, expected a text file") from None


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            blocks = iter(partial(file.read, BLOCK), b"")
            yield from _decompressed(path, blocks) if path.suffix == ".zst" else blocks
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file, expected chess positions with their best move, {RAW_HINT}") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None


def _decompressed(path: Path, blocks: Iterable[bytes]) -> Iterator[bytes]:
    """A stream of zstd frames, one after the other."""
    import zstandard  # no other kind of file needs it

    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 31)  # as far as the format allows
    frame = decompressor.decompressobj()
    try:
        for block in blocks:
            while block:
                if frame.eof:
                    frame = decompressor.decompressobj()
                yield frame.decompress(block)
                block = frame.unused_data
    except zstandard.ZstdError as error:
        raise BadInput(f"{path}: not valid zstd ({error}), expected a file that zstd compressed") from None
    if not frame.eof:
        raise BadInput(
            f"{path}: ends in the middle of the compressed stream, expected more positions: a longer part of it, "
            "or a smaller dataset.subsample_size"
        )
