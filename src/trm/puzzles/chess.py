"""Chess: find the best move of a position.

A board is a position's FEN, one character a cell, spelled so that everything has its place: a query at cell 0, the 64
squares from a8 to h1 ("1" for each empty one), the side to move, the four castling rights or "-" for each, the en
passant square or "--", the two clocks, right-aligned, where the source has them. A token is a character, the query,
or a move: 64 * 64 of them from square to square, then the promotions. The label is the best move at cell 0 and has
nothing to predict elsewhere. Castling moves the king by two squares (e1g1), but in positions that only Chess960 has,
where the king takes its rook; a right whose rook is not the outermost one is then that rook's file, as in X-FEN.

The symmetry exchanges the colours and turns the board upside down, which leaves chess as it is. Positions that
differ in their clocks alone count as the same one.
"""

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import chess
import numpy as np
from pydantic import Field

from trm import config, draws
from trm.files import BadInput
from trm.progress import progress
from trm.puzzles import Examples, Origin, Source, chess_records
from trm.puzzles.drawing import Disk, Drawing, Line, Rect, Shape, Text, answer_color, grid_lines

SOURCES: dict[str, Source] = {}  # Lichess's files grow every month: there is nothing to pin
RAW_HINT = chess_records.RAW_HINT
LEAKS = ("inputs",)

SQUARES, TURN, CASTLING, EN_PASSANT = slice(1, 65), 65, slice(66, 70), slice(70, 72)
HALFMOVES, FULLMOVES, CLOCKS = slice(72, 75), slice(75, 79), slice(72, 79)
SEQ_LEN = 79

QUERY, FIRST_CHARACTER = 1, 2
CHARACTERS = "PNBRQKpnbrqk" + "w-" + "0123456789" + "acdefgh" + "ACDEFGH"  # b and B are among the pieces
_FILES = chess.FILE_NAMES
MOVES = [  # in UCI; `from` * 64 + `to` with a1 = 0, b1 = 1, ..., h8 = 63, then promotions
    *(start + end for start in chess.SQUARE_NAMES for end in chess.SQUARE_NAMES),
    *(
        f"{_FILES[start]}{rank}{_FILES[end]}{last}{piece}"
        for rank, last in ("78", "21")
        for start in range(8)
        for end in range(max(start - 1, 0), min(start + 2, 8))
        for piece in "qrbn"
    ),
]
FIRST_MOVE = FIRST_CHARACTER + len(CHARACTERS)
VOCAB_SIZE = FIRST_MOVE + len(MOVES)

_SPLIT = 1  # purpose of a draw, part of its key
_CHUNK = 512  # positions encoded at a time
_FEN = re.compile(r"[1-8PNBRQKpnbrqk/]{15,71} [wb] [-A-Ha-hKQkq]{1,4} \S{1,2}( \d{1,3} \d{1,4})?", re.ASCII)
# What makes a move meaningless. Positions with ten queens cannot come about, but people analyse them
_ILLEGAL = (
    chess.STATUS_NO_WHITE_KING
    | chess.STATUS_NO_BLACK_KING
    | chess.STATUS_TOO_MANY_KINGS
    | chess.STATUS_PAWNS_ON_BACKRANK
    | chess.STATUS_BAD_CASTLING_RIGHTS
    | chess.STATUS_INVALID_EP_SQUARE
    | chess.STATUS_OPPOSITE_CHECK
)
_TOKEN_OF_MOVE = {move: FIRST_MOVE + i for i, move in enumerate(MOVES)}
_TOKEN_OF_CODE = np.zeros(128, np.uint16)  # of each ASCII character; PAD of a space
_TOKEN_OF_CODE[[ord(character) for character in CHARACTERS]] = FIRST_CHARACTER + np.arange(len(CHARACTERS))
_CHARACTERS = np.array([" ", "?", *CHARACTERS, *"?" * len(MOVES)])  # of each token, ? where it is none
_FIELDS = "expected board, turn, castling and en passant, with or without both clocks"
_EMPTY_RUNS = str.maketrans({"/": "", **{str(n): "1" * n for n in range(2, 9)}})


class Dataset(config.Dataset):
    """Positions of one file, each with its best move."""

    puzzle: Literal["chess"]
    num_aug: int = Field(0, ge=0, le=1, description="1: also each training position with colours exchanged")
    file: str = Field(
        "lichess_db_eval.jsonl.zst",
        pattern=r"^[^/\\]+$",
        description="raw file: Lichess evaluations or puzzles, or a CSV with FEN and Best_Move; .zst may be unpacked",
    )
    subsample_size: Annotated[int, Field(ge=2)] | None = Field(
        200_000, description="positions in all, the first ones of the file; null: all"
    )
    test_share: Annotated[float, Field(gt=0, lt=1)] = Field(0.1, description="of the positions")
    split: Literal["position", "published"] = Field(
        "position",
        description="position: each position once, as in its deepest analysis, clocks and colours apart; "
        "published: by row, which LEAKS where a position has several rows",
    )

    @property
    def claims_clean(self) -> bool:
        return self.split == "position"


def vocab_size(dataset: Dataset) -> int:
    return VOCAB_SIZE


def seq_len(dataset: Dataset) -> int:
    return SEQ_LEN


def raw_files(dataset: Dataset) -> list[str]:
    return [_file(dataset, dataset.raw)]


def _file(dataset: Dataset, raw: Path | None) -> str:
    """The name of the file, or of the unpacked one where only that is there."""
    unpacked = dataset.file.removesuffix(".zst")
    return unpacked if raw and not (raw / dataset.file).exists() and (raw / unpacked).exists() else dataset.file


def examples(dataset: Dataset, raw: Path) -> dict[str, Examples]:
    """The positions of both splits, each a group of its own, in the order of the file."""
    inputs, moves = _read(raw / _file(dataset, raw), dataset)
    labels = np.zeros_like(inputs)
    labels[:, 0] = moves
    count = min(max(round(dataset.test_share * len(inputs)), 1), len(inputs) - 1)
    in_test = np.isin(np.arange(len(inputs)), draws.permutations(len(inputs), dataset.seed, _SPLIT)[:count])
    return {
        name: Examples(inputs[rows], labels[rows], np.arange(len(rows)))
        for name, rows in (("train", np.flatnonzero(~in_test)), ("test", np.flatnonzero(in_test)))
    }


def augment(dataset: Dataset, origin: Origin, inputs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variant 1, the only one, is the flip."""
    return flip(inputs), flip(labels)


def flip(boards: np.ndarray) -> np.ndarray:
    """Inputs or labels [n, SEQ_LEN] with the colours exchanged and the ranks in reverse order."""
    cells, tokens = _flip()
    return tokens[np.arange(SEQ_LEN), boards[:, cells]].astype(boards.dtype)


@lru_cache
def _flip() -> tuple[np.ndarray, np.ndarray]:
    """[SEQ_LEN] the cell whose content comes to stand at c; [SEQ_LEN, VOCAB_SIZE] what its token becomes there."""
    cells = np.arange(SEQ_LEN)
    cells[SQUARES] = cells[SQUARES].reshape(8, 8)[::-1].ravel()
    cells[CASTLING] = cells[CASTLING].reshape(2, 2)[::-1].ravel()
    tokens = np.tile(np.arange(VOCAB_SIZE, dtype=np.uint16), (SEQ_LEN, 1))
    upside_down = str.maketrans("12345678", "87654321")
    tokens[0, FIRST_MOVE:] = [_TOKEN_OF_MOVE[move.translate(upside_down)] for move in MOVES]
    letters = "".join(letter for letter in CHARACTERS if letter.swapcase() in CHARACTERS)
    for where, before, after in (
        (SQUARES, letters, letters.swapcase()),
        (CASTLING, letters, letters.swapcase()),
        (TURN, "wb", "bw"),
        (EN_PASSANT.stop - 1, "36", "63"),
    ):
        tokens[where, _tokens_of(before)] = _tokens_of(after)
    return cells, tokens


def canonical(dataset: Dataset, boards: np.ndarray) -> np.ndarray:
    """The smaller of each board and its flip, without the clocks."""
    boards = boards.copy()
    boards[:, CLOCKS] = 0
    flipped = flip(boards)
    rows, first = np.arange(len(boards)), (flipped != boards).argmax(axis=1)
    smaller = flipped[rows, first] < boards[rows, first]
    return np.where(smaller[:, None], flipped, boards)


def blanks(dataset: Dataset, inputs: np.ndarray) -> np.ndarray:
    """Cell 0, where the move is to stand."""
    return inputs == QUERY


def is_valid(dataset: Dataset, inputs: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Whether the token at cell 0 is a legal move; the other cells have nothing to predict."""
    return np.array([_is_legal(*row) for row in zip(inputs, predictions[:, 0].tolist(), strict=True)], bool)


def difficulty(dataset: Dataset, inputs: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """The pieces on the board, pawns and kings included."""
    return {"pieces": (inputs[:, SQUARES] != _TOKEN_OF_CODE[ord("1")]).sum(axis=1)}


def _is_legal(board: np.ndarray, token: int) -> bool:
    if not FIRST_MOVE <= token < VOCAB_SIZE:
        return False
    try:
        return to_token(legal_move(position(to_fen(board)), MOVES[token - FIRST_MOVE])) == token
    except ValueError:
        return False


def places(dataset: Dataset) -> np.ndarray:
    """The answer is one cell, which the drawing shows as an arrow: no cell has a place."""
    return np.full((seq_len(dataset), 2), np.nan)


def draw(dataset: Dataset, inputs: np.ndarray, prediction: np.ndarray | None, label: np.ndarray | None) -> Drawing:
    """The board as White sees it with the predicted move and the one that it misses, and who is to move below."""
    shapes: list[Shape] = [Rect(x, y, 1, 1, "shade") for x in range(8) for y in range(8) if (x + y) % 2]
    shapes += grid_lines(8, 8)
    text = _text(inputs)
    for square, piece in enumerate(text[SQUARES]):
        if piece != "1":
            sign = chess.UNICODE_PIECE_SYMBOLS.get(piece, "?")
            shapes.append(Text(square % 8 + 0.5, square // 8 + 0.5, sign, "piece", 0.8))
    side = {"w": "White", "b": "Black"}.get(text[TURN], "?")
    shapes.append(Text(4, 8.4, f"{side} to move", "given", 0.5))
    if prediction is not None:
        token, best = int(prediction[0]), None if label is None else int(label[0])
        color = answer_color(token, best)
        if color == "error":
            shapes += _arrow(best, "missed", 6)
        shapes += _arrow(token, color, 2)
    return Drawing(8, 9.5, shapes)


def _arrow(token: int, color: str, x: float) -> list[Shape]:
    """A move on the board, and in letters below it around `x`."""
    if not FIRST_MOVE <= token < VOCAB_SIZE:
        return [Text(x, 9.1, "?", color, 0.5)]
    move = MOVES[token - FIRST_MOVE]
    x0, x1 = (_FILES.index(file) + 0.5 for file in (move[0], move[2]))
    y0, y1 = (8.5 - int(rank) for rank in (move[1], move[3]))
    along = math.atan2(y0 - y1, x0 - x1)
    barbs = [(x1 + 0.45 * math.cos(along + turn), y1 + 0.45 * math.sin(along + turn)) for turn in (-0.5, 0.5)]
    lines = [Line(*start, x1, y1, color, 0.12) for start in ((x0, y0), *barbs)]
    return [*lines, Disk(x1, y1, 0.08, color), Text(x, 9.1, move, color, 0.5)]


# Positions and moves to tokens and back


def position(fen: str) -> chess.Board:
    """The position of a FEN with or without clocks. Raises ValueError where chess cannot go on from there."""
    if not _FEN.fullmatch(fen):
        raise ValueError(f"{fen[:90]!r} is no FEN, {_FIELDS}")
    try:
        board = chess.Board(fen, chess960=True)
    except ValueError as error:
        problem = str(error).split(":")[0]  # the rest repeats the FEN
        raise ValueError(f"{fen!r} is no FEN ({problem}), {_FIELDS}") from None
    board.chess960 = board.has_chess960_castling_rights()
    if status := board.status() & _ILLEGAL:
        problem = next(flag.name for flag in chess.Status if flag & status).lower().replace("_", " ")
        raise ValueError(f"{fen!r} is no legal position ({problem}), expected one of a game")
    return board


def legal_move(board: chess.Board, move: str) -> chess.Move:
    """The move that UCI tells, castling in either form. Raises ValueError where it is not legal."""
    try:
        found = board.parse_uci(move)
    except ValueError:
        found = chess.Move.null()
    if not found:
        raise ValueError(f"{move[:20]!r} is no legal move of the position, expected UCI such as e2e4 or e7e8q")
    return found


def read(dataset: Dataset, text: str) -> np.ndarray:
    """The position of a FEN with a legal move; with or without both clocks, as the positions of the dataset have it."""
    fen = " ".join(text.split())
    try:
        board = position(fen)
    except ValueError as error:
        raise BadInput(str(error)) from None
    if not any(board.legal_moves):
        raise BadInput(f"no legal move ({'checkmate' if board.is_check() else 'stalemate'}), expected one at least")
    return to_tokens([spell(board, clocks=fen.count(" ") > 3)])


def to_token(move: chess.Move) -> int:
    """The token of a legal move."""
    return _TOKEN_OF_MOVE[move.uci()]


def spell(board: chess.Board, clocks: bool) -> str:
    """The SEQ_LEN - 1 characters of a position, a space for a cell without. Raises ValueError where they are more."""
    rights = ["-"] * 4
    for letter in board.castling_xfen().strip("-"):
        white, file = letter.isupper(), letter.lower()
        short = file == "k" or (file != "q" and _FILES.index(file) > chess.square_file(board.king(white)))
        rights[2 * (not white) + (not short)] = letter
    # a square behind a pawn that nothing can capture makes no difference, and not every source tells it
    passed = chess.square_name(board.ep_square) if board.has_legal_en_passant() else "--"
    clock = f"{board.halfmove_clock:>3}{board.fullmove_number:>4}" if clocks else " " * 7
    if len(clock) > 7:
        raise ValueError(f"after the move the clocks of {board.fen()!r} do not fit, expected at most 999 and 9999")
    placement = board.board_fen().translate(_EMPTY_RUNS)
    return f"{placement}{'w' if board.turn else 'b'}{''.join(rights)}{passed}{clock}"


def to_tokens(positions: Sequence[str]) -> np.ndarray:
    """Inputs [n, SEQ_LEN] of positions as `spell` spells them."""
    tokens = _tokens_of("".join(positions)).reshape(len(positions), SEQ_LEN - 1)
    return np.concatenate([np.full_like(tokens[:, :1], QUERY), tokens], axis=1)


def _tokens_of(text: str) -> np.ndarray:
    return _TOKEN_OF_CODE[np.frombuffer(text.encode("ascii"), np.uint8)]


def to_fen(board: np.ndarray) -> str:
    """The FEN of an input [SEQ_LEN], as far as it spells one; with clocks where it has them."""
    text = _text(board)
    ranks = "/".join(text[SQUARES][i : i + 8] for i in range(0, 64, 8))
    placement = re.sub("1+", lambda run: str(len(run[0])), ranks)
    rights, passed = text[CASTLING].replace("-", ""), text[EN_PASSANT].replace("--", "")
    clocks = [text[HALFMOVES].strip(), text[FULLMOVES].strip()] if text[CLOCKS].strip() else []
    return " ".join([placement, text[TURN], rights or "-", passed or "-", *clocks])


def _text(board: np.ndarray) -> str:
    """A character a cell: a space for PAD, ? for a token that is no character."""
    return "".join(_CHARACTERS[board].tolist())


# Reading


def _read(path: Path, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Inputs [n, SEQ_LEN] and move tokens [n] of the first positions of a file, as many as are wanted."""
    wanted = dataset.subsample_size
    found: dict[bytes | int, tuple[int, np.ndarray, int]] = {}  # depth, input and move
    with progress("positions", wanted) if wanted else nullcontext(lambda: None) as advance:
        for key, depth, board, move in _rows(path, dataset):
            if key not in found:
                if len(found) == wanted:
                    break
                advance()
            elif depth <= found[key][0]:
                continue
            found[key] = depth, board, move
    if len(found) < (wanted or 2):
        raise BadInput(f"{path}: {len(found)} positions, expected {wanted or 'at least 2'} (dataset.subsample_size)")
    _, boards, moves = zip(*found.values(), strict=True)
    return np.stack(boards), np.array(moves, np.uint16)


def _rows(path: Path, dataset: Dataset) -> Iterator[tuple[bytes | int, int, np.ndarray, int]]:
    """Of each record what tells its position from others, its depth, its input [SEQ_LEN] and the move's token."""
    records = chess_records.read(path)
    while chunk := list(itertools.islice(records, _CHUNK)):
        positions, moves = zip(*(_encoded(path, record) for record in chunk), strict=True)
        inputs = to_tokens(positions)
        if dataset.split == "position":
            keys = [form.tobytes() for form in canonical(dataset, inputs)]
        else:
            keys = [record.line for record in chunk]
        yield from zip(keys, (record.depth for record in chunk), inputs, moves, strict=True)


def _encoded(path: Path, record: chess_records.Record) -> tuple[str, int]:
    try:
        board = position(record.fen)
        *before, answer = record.moves
        for move in before:
            board.push(legal_move(board, move))
        board.chess960 = board.has_chess960_castling_rights()  # which a move may end
        return spell(board, clocks=record.fen.count(" ") > 3), to_token(legal_move(board, answer))
    except ValueError as error:
        raise BadInput(f"{path}: line {record.line}: {error}") from None
