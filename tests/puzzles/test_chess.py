"""Chess: positions and moves as tokens, the colour flip, the split, every kind of raw file, and malformed ones."""

import json
import random
from contextlib import suppress
from pathlib import Path

import chess
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trm.files import BadInput
from trm.puzzles import Origin, chess_records
from trm.puzzles import chess as puzzle
from trm.puzzles.drawing import PALETTE, Disk, Line, Text

REAL = Path(__file__).parents[3] / "shared" / "data" / "chess"
real = pytest.mark.skipif(not REAL.is_dir(), reason=f"needs Lichess's files in {REAL}")

START = chess.STARTING_FEN
CASTLE = "r3k2r/8/8/8/8/8/8/R3K2R w KQkq - 3 20"
PROMOTE = "1n1n3k/2P5/8/8/8/8/p7/1N5K w - - 0 50"
PASSED = "rnbqkbnr/ppp2ppp/8/3pp3/4P3/8/PPPP1PPP/RNBQKBNR w KQkq - 0 3"
EN_PASSANT = "rnbqkbnr/ppp1p1pp/8/3pPp2/8/8/PPPP1PPP/RNBQKBNR w KQkq f6 0 3"
CHESS960 = "1rk2r1r/1p3p1p/8/8/8/8/1P3P1P/1RK2R1R b FQfq - 0 9"  # White and Black may castle with a rook inside
ODD = [START, CASTLE, PROMOTE, EN_PASSANT, CHESS960]


def dataset(**keys) -> puzzle.Dataset:
    return puzzle.Dataset(puzzle="chess", **{"file": "rows.csv", "subsample_size": None, **keys})


def tokens(*fens: str) -> np.ndarray:
    """Inputs [n, SEQ_LEN]."""
    return puzzle.to_tokens([puzzle.spell(puzzle.position(fen), len(fen.split()) == 6) for fen in fens])


def character(cell: str) -> int:
    return puzzle.FIRST_CHARACTER + puzzle.CHARACTERS.index(cell)


def labels(*moves: str) -> np.ndarray:
    board = np.zeros((len(moves), puzzle.SEQ_LEN), np.uint16)
    board[:, 0] = [puzzle.FIRST_MOVE + puzzle.MOVES.index(move) for move in moves]
    return board


def played(seed: int, plies: int, start: int | None = None) -> chess.Board:
    """A position of a random game, not its last; `start`: of Chess960, by its number."""
    rng = random.Random(seed)
    board = chess.Board() if start is None else chess.Board.from_chess960_pos(start)
    for _ in range(plies):
        board.push(rng.choice(list(board.legal_moves)))
        if board.is_game_over():
            board.pop()
            break
    if board.chess960:
        board.chess960 = board.has_chess960_castling_rights()
    return board


games = st.builds(played, st.integers(0, 2**32), st.integers(0, 120), st.none() | st.integers(0, 959))


# ---- tokens


def test_the_tokens_are_pad_the_query_characters_moves_and_promotions():
    assert puzzle.vocab_size(dataset()) == 2 + len(puzzle.CHARACTERS) + 64 * 64 + 176
    assert len(set(puzzle.MOVES)) == len(puzzle.MOVES) == 64 * 64 + 176
    assert len(set(puzzle.CHARACTERS)) == len(puzzle.CHARACTERS)
    for move in ("a1b1", "e2e4", "h8a1"):
        start, end = chess.parse_square(move[:2]), chess.parse_square(move[2:])
        assert puzzle.MOVES[start * 64 + end] == move
    board = chess.Board("8/P7/8/8/8/8/8/k1K5 w - - 0 1")
    assert {move.uci() for move in board.legal_moves if move.promotion} < set(puzzle.MOVES[64 * 64 :])


def test_every_cell_has_its_meaning():
    board = tokens("r3k2r/8/8/3pP3/8/8/8/4K2R w Kq d6 7 123")[0]
    assert board[0] == puzzle.QUERY
    spelled = "r111k11r" + "1" * 16 + "111pP111" + "1" * 24 + "1111K11R" + "w" + "K--q" + "d6" + "  7" + " 123"
    assert board[1:].tolist() == [0 if cell == " " else character(cell) for cell in spelled]
    assert len(board) == puzzle.seq_len(dataset()) == puzzle.SEQ_LEN
    assert (puzzle.blanks(dataset(), board[None]) == (np.arange(puzzle.SEQ_LEN) == 0)).all()


@settings(max_examples=100, deadline=None)
@given(games, st.booleans())
def test_a_position_comes_back_from_its_tokens(board, clocks):
    fen = board.fen() if clocks else " ".join(board.fen().split()[:4])
    inputs = tokens(fen)
    assert puzzle.to_fen(inputs[0]) == fen
    assert inputs.dtype == np.uint16
    assert inputs.max() < puzzle.FIRST_MOVE


@pytest.mark.parametrize(
    "fen",
    [
        *ODD,
        "k1K5/8/8/8/8/8/8/8 b - -",
        "1n1n1n1k/n1n1n1n1/1n1n1n1n/n1n1n1n1/1N1N1N1N/N1N1N1N1/1N1N1N1N/K1N1N1N1 w - - 999 9999",
        "q1q1q1q1/1q1q1q1q/8/8/8/k7/8/7K w - - 149 5899",
    ],
)
def test_any_position_fits_even_those_no_game_comes_to(fen):
    assert puzzle.to_fen(tokens(fen)[0]) == fen


def test_what_makes_no_difference_has_no_say():
    no_capture = "rnbqkbnr/pppppppp/8/8/4P3/8/PPPP1PPP/RNBQKBNR b KQkq {} 0 1"
    assert (tokens(no_capture.format("e3")) == tokens(no_capture.format("-"))).all()
    assert (tokens(CASTLE.replace("KQkq", "HAha")) == tokens(CASTLE)).all()  # Shredder's way to write rights
    assert (tokens(EN_PASSANT) != tokens(EN_PASSANT.replace("f6", "-"))).sum() == 2


@settings(max_examples=50, deadline=None)
@given(games)
def test_every_legal_move_has_a_token_of_its_own_and_is_valid(board):
    moves = [move.uci() for move in board.legal_moves]
    answers = labels(*moves)
    assert len(np.unique(answers[:, 0])) == len(moves)
    inputs = tokens(board.fen()).repeat(len(moves), axis=0)
    assert puzzle.is_valid(dataset(), inputs, answers).all()
    read = [puzzle.to_token(puzzle.legal_move(puzzle.position(board.fen()), move)) for move in moves]
    assert read == answers[:, 0].tolist()


@pytest.mark.parametrize("fen", ODD)
def test_of_all_tokens_the_legal_moves_alone_are_valid(fen):
    predictions = np.zeros((puzzle.VOCAB_SIZE + 2, puzzle.SEQ_LEN), np.int64)
    predictions[:, 0] = np.arange(-1, puzzle.VOCAB_SIZE + 1)
    valid = puzzle.is_valid(dataset(), tokens(fen).repeat(len(predictions), axis=0), predictions)
    found = {puzzle.MOVES[token - puzzle.FIRST_MOVE] for token in predictions[valid, 0]}
    assert found == {move.uci() for move in puzzle.position(fen).legal_moves}


def test_validity_looks_at_the_move_alone_and_takes_no_board_for_no_position():
    inputs = tokens(START, START)
    answers = labels("e2e4", "e2e5")
    answers[:, 1:] = 3
    assert puzzle.is_valid(dataset(), inputs, answers).tolist() == [True, False]
    for nonsense in (0, puzzle.QUERY, puzzle.FIRST_MOVE, character("3")):
        inputs[0, 20] = nonsense
        assert not puzzle.is_valid(dataset(), inputs[:1], labels("e2e4")).any()


# ---- the colour flip


def augment(boards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ones = np.ones(len(boards), np.int64)
    return puzzle.augment(dataset(num_aug=1), Origin(np.arange(len(boards)), ones, ones - 1, ones), boards, boards)


def check_flip(board: chess.Board) -> None:
    """Against the mirror of python-chess, for the position and each of its legal moves."""
    inputs = tokens(board.fen())
    flipped = augment(inputs)[0]
    assert puzzle.to_fen(flipped[0]) == board.mirror().fen()
    assert (augment(flipped)[0] == inputs).all()
    moves = list(board.legal_moves)
    answers = labels(*(move.uci() for move in moves))
    mirrored = augment(answers)[1]
    squares = [(chess.square_mirror(move.from_square), chess.square_mirror(move.to_square)) for move in moves]
    expected = labels(*(chess.Move(*ends, move.promotion).uci() for ends, move in zip(squares, moves, strict=True)))
    assert (mirrored == expected).all()
    assert (augment(mirrored)[1] == answers).all()
    assert puzzle.is_valid(dataset(), flipped.repeat(len(moves), axis=0), mirrored).all()
    assert flipped.dtype == mirrored.dtype == np.uint16


@settings(max_examples=80, deadline=None)
@given(games)
def test_the_flip_mirrors_the_position_and_its_moves_and_undoes_itself(board):
    check_flip(board)


@pytest.mark.parametrize("fen", ODD)
def test_the_flip_mirrors_promotions_castling_and_en_passant(fen):
    check_flip(puzzle.position(fen))


@settings(max_examples=100, deadline=None)
@given(games, games, st.integers(0, 99))
def test_canonical_forms_are_equal_exactly_on_orbits_clocks_apart(first, second, clock):
    later = first.copy(stack=False)
    later.halfmove_clock, later.fullmove_number = clock, clock + 1
    inputs = tokens(*(board.fen() for board in (first, later, first.mirror(), second, second.mirror())))
    forms = puzzle.canonical(dataset(), inputs)
    same = second.epd() in (first.epd(), first.mirror().epd())
    assert (forms == forms[0]).all(axis=1).tolist() == [True, True, True, same, same]
    assert (forms[3] == forms[4]).all()
    assert any((forms[0, : puzzle.CLOCKS.start] == board[: puzzle.CLOCKS.start]).all() for board in inputs[[0, 2]])


def test_canonical_forms_of_labels_know_a_move_and_its_mirror_image():
    forms = puzzle.canonical(dataset(), labels("e2e4", "e7e5", "e2e3", "a7a8q", "a2a1q", "a2a1r"))[:, 0]
    assert forms[0] == forms[1] != forms[2]
    assert forms[3] == forms[4] != forms[5]


# ---- raw files


EVALUATION = {
    "fen": "6k1/4Rppp/8/8/8/8/5PPP/6K1 w - -",
    "evals": [
        {"pvs": [{"cp": 20, "line": "g1f1 g7g6"}], "knodes": 900, "depth": 20},
        {"pvs": [{"mate": 1, "line": "e7e8"}, {"cp": 3, "line": "e7e1"}], "knodes": 154, "depth": 99},
        {"pvs": [{"mate": 1, "line": "e7d7"}], "knodes": 1000, "depth": 99},
    ],
}
OTHER = {"fen": START, "evals": [{"pvs": [{"cp": 1, "line": "e2e4 e7e5"}], "knodes": 1, "depth": 30}]}


def write(folder: Path, content: str | bytes, name: str = "rows.csv") -> Path:
    content = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(content)
    return folder


def csv_of(*rows: tuple, header: str = "FEN,Best_Move") -> str:
    return "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n"


def jsonl(*records: dict) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def read(folder: Path, **keys) -> list[tuple[str, str]]:
    """FEN and best move of every example, sorted."""
    return sorted(
        (puzzle.to_fen(board), puzzle.MOVES[label[0] - puzzle.FIRST_MOVE])
        for table in puzzle.examples(dataset(**keys), folder).values()
        for board, label in zip(table.inputs, table.labels, strict=True)
    )


MATE = ("6k1/4Rppp/8/8/8/8/5PPP/6K1 w - -", "e7e8")
FIRST = ("rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq -", "e2e4")


def test_of_an_evaluation_the_deepest_one_counts_and_of_equals_the_first(tmp_path):
    records = (EVALUATION, {**OTHER, "fen": FIRST[0]})
    assert read(write(tmp_path, jsonl(*records), "a.jsonl"), file="a.jsonl") == [MATE, FIRST]


LINES = [
    (MATE[0], "g1f1 g7g6", 20, 900, 20, ""),
    (MATE[0], "e7e8", 99, 154, "", 1),
    (FIRST[0], "e2e4 e7e5", 30, 1, 1, ""),
    (MATE[0], "e7d7 g8f8", 99, 1000, "", 1),
]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_of_rows_of_analysis_the_deepest_one_counts_wherever_it_stands(tmp_path, form):
    header = "fen,line,depth,knodes,cp,mate"
    if form == "csv":
        content = csv_of(*LINES, header=header)
    else:
        content = jsonl(*(dict(zip(header.split(","), line, strict=True)) for line in LINES))
    assert read(write(tmp_path, content)) == [MATE, FIRST]


def test_of_a_puzzle_the_opponent_moves_first(tmp_path):
    content = csv_of(
        ("1", PASSED, "e4d5 d8d5 b1c3", 800),
        ("2", START, "e2e4 e7e5", 900),
        header="PuzzleId,FEN,Moves,Rating",
    )
    after = "rnbqkbnr/ppp2ppp/8/3Pp3/8/8/PPPP1PPP/RNBQKBNR b KQkq - 0 3"
    assert read(write(tmp_path, content)) == [
        (after, "d8d5"),
        ("rnbqkbnr/pppppppp/8/8/4P3/8/PPPP1PPP/RNBQKBNR b KQkq - 0 1", "e7e5"),
    ]


@pytest.mark.parametrize("rook", ["h1", "g1"])
def test_castling_is_a_move_of_the_king_by_two_whoever_tells_it(tmp_path, rook):
    content = csv_of((CASTLE, f"e1{rook}"), (START, "e2e4"))
    assert (CASTLE, "e1g1") in read(write(tmp_path, content))


def test_where_only_chess960_can_castle_the_king_takes_its_rook(tmp_path):
    content = csv_of((CHESS960, "c8f8"), (START, "e2e4"))
    assert (CHESS960, "c8f8") in read(write(tmp_path, content))
    board = chess.Board(CHESS960, chess960=True)
    board.push_uci("c8f8")
    content = csv_of(("1", CHESS960, "c8f8 c1f1"), ("2", START, "e2e4 e7e5"), header="PuzzleId,FEN,Moves")
    assert (board.fen(), "c1f1") in read(write(tmp_path, content))


def test_a_chess960_position_that_lost_its_rights_is_a_usual_one(tmp_path):
    fen = "r3k2r/8/8/8/8/8/8/1RK4R w Bkq - 0 9"  # White's king is where only Chess960 has it, Black's at home
    content = csv_of(("1", fen, "c1d2 e8h8"), ("2", START, "e2e4 e7e5"), header="PuzzleId,FEN,Moves")
    assert ("r3k2r/8/8/8/8/8/3K4/1R5R b kq - 1 9", "e8g8") in read(write(tmp_path, content))


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\n\n"])
def test_blank_lines_marks_and_quotes_of_spreadsheets_do_not_matter(tmp_path, newline):
    content = newline.join(["\ufeff" + '"Best_Move","FEN"', f'"e7e8","{MATE[0]}"', f"e2e4,{FIRST[0]}"])
    assert read(write(tmp_path, content)) == [MATE, FIRST]


def test_a_compressed_file_reads_as_the_plain_one_in_one_frame_or_many(tmp_path):
    compressor = zstandard.ZstdCompressor()
    parts = [line.encode() for line in jsonl(EVALUATION, OTHER).splitlines(keepends=True)]
    for packed in (compressor.compress(b"".join(parts)), b"".join(map(compressor.compress, parts))):
        write(tmp_path, packed, "x.jsonl.zst")
        assert len(read(tmp_path, file="x.jsonl.zst")) == 2
    write(tmp_path, jsonl(EVALUATION, OTHER), "x.jsonl")
    assert puzzle.raw_files(dataset(file="x.jsonl.zst", raw=tmp_path)) == ["x.jsonl.zst"]
    (tmp_path / "x.jsonl.zst").unlink()
    assert puzzle.raw_files(dataset(file="x.jsonl.zst", raw=tmp_path)) == ["x.jsonl"]
    assert len(read(tmp_path, file="x.jsonl.zst")) == 2


def test_a_line_may_cross_any_number_of_blocks(tmp_path):
    long = {**OTHER, "note": "é" * chess_records.BLOCK * 2}
    assert len(read(write(tmp_path, jsonl(EVALUATION, long, EVALUATION)))) == 2


# ---- splits


def rows(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Different positions, up to colours too, each with a legal move."""
    rng, board, found = random.Random(seed), chess.Board(), {}
    while len(found) < count:
        if board.is_game_over() or board.ply() > 60:
            board = chess.Board()
        move = rng.choice(list(board.legal_moves))
        if board.mirror().epd() not in found:
            found.setdefault(board.epd(), (board.fen(), move.uci()))
        board.push(move)
    return list(found.values())


def mirrored(fen: str, move: str, clocks: str = "5 60") -> tuple[str, str]:
    upside_down = move.translate(str.maketrans("12345678", "87654321"))
    return f"{chess.Board(fen).mirror().epd()} {clocks}", upside_down


@pytest.fixture(scope="module")
def hundred(tmp_path_factory):
    """100 positions, of which the first 30 come again, with colours exchanged and later."""
    base = rows(100)
    return write(tmp_path_factory.mktemp("chess"), csv_of(*base, *(mirrored(*row) for row in base[:30])))


def test_each_position_stands_once_on_one_side_whatever_its_clocks_and_colours(hundred):
    splits = puzzle.examples(dataset(test_share=0.3), hundred)
    assert [len(table) for table in splits.values()] == [70, 30]
    forms = puzzle.canonical(dataset(), np.concatenate([table.inputs for table in splits.values()]))
    assert len(np.unique(forms, axis=0)) == 100
    for table in splits.values():
        assert (table.group == np.arange(len(table))).all()
        assert (table.labels[:, 1:] == 0).all()
        assert puzzle.is_valid(dataset(), table.inputs, table.labels).all()
    assert read(hundred) == sorted(rows(100))  # the first of each
    assert dataset().claims_clean


def test_the_published_split_is_by_row_and_leaks(hundred):
    published = dataset(split="published", test_share=0.3)
    splits = puzzle.examples(published, hundred)
    assert [len(table) for table in splits.values()] == [91, 39]
    train, test = ({form.tobytes() for form in puzzle.canonical(published, t.inputs)} for t in splits.values())
    assert train & test
    assert not published.claims_clean


def test_both_splits_are_a_function_of_the_seed_in_the_order_of_the_file(hundred):
    first, again, other = (puzzle.examples(dataset(seed=seed), hundred) for seed in (0, 0, 1))
    order = {puzzle.to_fen(board): i for i, board in enumerate(tokens(*(fen for fen, _ in rows(100))))}
    for name, table in first.items():
        assert (table.inputs == again[name].inputs).all()
        assert not np.array_equal(table.inputs, other[name].inputs)
        assert (np.diff([order[puzzle.to_fen(board)] for board in table.inputs]) > 0).all()


@pytest.mark.parametrize(("share", "test"), [(0.001, 1), (0.5, 50), (0.999, 99)])
def test_neither_split_is_ever_empty(hundred, share, test):
    assert [len(table) for table in puzzle.examples(dataset(test_share=share), hundred).values()] == [100 - test, test]


def test_the_first_positions_are_taken_and_no_more_is_read_than_it_takes(hundred, tmp_path):
    assert read(hundred, subsample_size=20) == sorted(rows(100)[:20])
    text = jsonl(*({"fen": fen, "line": move, "depth": 1} for fen, move in rows(1500)))
    packed = zstandard.ZstdCompressor().compress(text.encode())
    write(tmp_path, packed[: len(packed) * 9 // 10], "x.zst")
    keys = {"file": "x.zst"}
    assert len(read(tmp_path, **keys, subsample_size=500)) == 500
    with pytest.raises(BadInput, match=r"x.zst: ends in the middle of the compressed stream"):
        read(tmp_path, **keys, subsample_size=1500)


def test_too_few_positions_are_reported(hundred, tmp_path):
    with pytest.raises(BadInput, match=r"rows.csv: 100 positions, expected 101 "):
        read(hundred, subsample_size=101)
    with pytest.raises(BadInput, match=r"rows.csv: 1 positions, expected at least 2 "):
        read(write(tmp_path, csv_of(rows(1)[0])))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"num_aug": 2}, "less than or equal to 1"),
        ({"file": "a/b.csv"}, "match pattern"),
        ({"file": ""}, "match pattern"),
        ({"test_share": 0}, "greater than 0"),
        ({"subsample_size": 1}, "greater than or equal to 2"),
        ({"split": "orbit"}, "'position' or 'published'"),
    ],
)
def test_settings_that_do_not_fit_are_explained(keys, message):
    with pytest.raises(ValidationError, match=message):
        dataset(**keys)


# ---- malformed files

PLAIN = "FEN,Best_Move\n"
PUZZLES = "PuzzleId,FEN,Moves\n"
ROWS = "fen,line,depth,knodes,cp,mate\n"


def evaluation(**changes) -> str:
    return json.dumps({**OTHER, **changes}) + "\n"


def analysis(**changes) -> str:
    return evaluation(evals=[{**OTHER["evals"][0], **changes}])


MALFORMED = {
    "empty": ("", r"line 1: the file is empty, expected JSON lines or CSV"),
    "blank": ("\n \n\n", r"line 1: the file is empty"),
    "header alone": (PLAIN, r"line 2: no positions, expected rows below the header"),
    "foreign header": ("a,b\n1,2\n", r"line 1: found 'a, b', expected JSON lines or CSV with fen and evals"),
    "lower case": ("fen,best_move\n", r"line 1: found 'fen, best_move'"),
    "a column twice": ("FEN,Best_Move,FEN\n", r"line 1: a column stands twice"),
    "PGN": ('[Event "Rated Blitz"]\n[Site "?"]\n\n1. e4 e5 2. Nf3\n', r"line 1: found '\[Event"),
    "PGN for a FEN": (f"{PLAIN}1. e4 e5 2. Nf3,e2e4\n", r"line 2: '1. e4 e5 2. Nf3' is no FEN, expected board, turn"),
    "ragged, short": (f"{PLAIN}{START}\n", r"line 2: 1 fields, expected the 2 of the header"),
    "ragged, long": (f"{PLAIN}{START},e2e4,x\n", r"line 2: 3 fields, expected the 2 of the header"),
    "an open quote": (f'{PLAIN}"{START},e2e4\n', r"line 2: not valid CSV"),
    "text after a quote": (f'{PLAIN}"{START}"x,e2e4\n', r"line 2: not valid CSV"),
    "not UTF-8": (PLAIN.encode() + b"\xff\xfe,e2e4\n", r"line 2: byte 1 is not UTF-8"),
    "UTF-16": ((PLAIN + START + ",e2e4").encode("utf-16"), r"line 1: byte 1 is not UTF-8"),
    "10 MB in a line": (PLAIN + "x" * 10_000_000, r"line 2: longer than 1048576 bytes"),
    "10 MB in a line of JSON": (evaluation(note="x" * 10_000_000), r"line 1: longer than 1048576 bytes"),
    "7 ranks": (f"{PLAIN}8/8/8/8/8/8/k1K5 w - - 0 1,c1c2\n", r"line 2: .* is no FEN \(expected 8 rows"),
    "a rank too long": (f"{PLAIN}9/8/8/8/8/8/8/k1K5 w - - 0 1,c1c2\n", r"line 2: .* is no FEN"),
    "a rank too full": (f"{PLAIN}8p/8/8/8/8/8/8/k1K5 w - - 0 1,c1c2\n", r"line 2: .* is no FEN"),
    "3 fields": (f"{PLAIN}8/8/8/8/8/8/8/k1K5 w -,c1c2\n", r"line 2: .* is no FEN"),
    "5 fields": (f"{PLAIN}8/8/8/8/8/8/8/k1K5 w - - 0,c1c2\n", r"line 2: .* is no FEN"),
    "a negative clock": (f"{PLAIN}8/8/8/8/8/8/8/k1K5 w - - -1 1,c1c2\n", r"line 2: .* is no FEN"),
    "a huge clock": (f"{PLAIN}8/8/8/8/8/8/8/k1K5 w - - 1000 1,c1c2\n", r"line 2: .* is no FEN"),
    "foreign digits": (f"{PLAIN}8/8/8/8/8/8/8/k1K5 w - - ٣ 1,c1c2\n", r"line 2: .* is no FEN"),
    "no such turn": (f"{PLAIN}8/8/8/8/8/8/8/k1K5 x - - 0 1,c1c2\n", r"line 2: .* is no FEN"),
    "no such square": (f"{PLAIN}8/8/8/8/8/8/8/k1K5 w - e9 0 1,c1c2\n", r"line 2: .* is no FEN \(invalid en passant"),
    "a long FEN": (f"{PLAIN}{'8/' * 1000} w - - 0 1,c1c2\n", r"line 2: '[8/]{90}' is no FEN"),
    "two white kings": (f"{PLAIN}8/8/8/8/8/8/8/k1K1K3 w - - 0 1,c1c2\n", r"line 2: .* \(too many kings\)"),
    "no black king": (f"{PLAIN}8/8/8/8/8/8/8/2K5 w - - 0 1,c1c2\n", r"line 2: .* \(no black king\)"),
    "a pawn on rank 8": (f"{PLAIN}P7/8/8/8/8/8/8/k1K5 w - - 0 1,c1c2\n", r"line 2: .* \(pawns on backrank\)"),
    "a king to be taken": (f"{PLAIN}8/8/8/8/8/8/8/kRK5 w - - 0 1,c1c2\n", r"line 2: .* \(opposite check\)"),
    "no rook to castle": (f"{PLAIN}4k3/8/8/8/8/8/8/4K3 w K - 0 1,e1e2\n", r"line 2: .* \(bad castling rights\)"),
    "no pawn to take": (f"{PLAIN}4k3/8/8/8/8/8/8/4K3 w - e6 0 1,e1e2\n", r"line 2: .* \(invalid ep square\)"),
    "an illegal move": (f"{PLAIN}{START},e2e5\n", r"line 2: 'e2e5' is no legal move of the position, expected UCI"),
    "no UCI": (f"{PLAIN}{START},Nf3\n", r"line 2: 'Nf3' is no legal move"),
    "a null move": (f"{PLAIN}{START},0000\n", r"line 2: '0000' is no legal move"),
    "a dropped piece": (f"{PLAIN}{START},Q@e4\n", r"line 2: 'Q@e4' is no legal move"),
    "nowhere": (f"{PLAIN}{START},e2e2\n", r"line 2: 'e2e2' is no legal move"),
    "no piece to promote to": (f"{PLAIN}{PROMOTE},c7c8\n", r"line 2: 'c7c8' is no legal move"),
    "promoted to a king": (f"{PLAIN}{PROMOTE},c7c8k\n", r"line 2: 'c7c8k' is no legal move"),
    "no move": (f"{PLAIN}{START},\n", r"line 2: Best_Move is '', expected a text that is not blank"),
    "a long move": (f"{PLAIN}{START},{'e' * 1000}\n", r"line 2: 'e{20}' is no legal move"),
    "a puzzle of one move": (f"{PUZZLES}1,{START},e2e4\n", r"line 2: Moves is 'e2e4', expected the opponent's move"),
    "an illegal first move": (f"{PUZZLES}1,{START},e2e5 e7e5\n", r"line 2: 'e2e5' is no legal move"),
    "an illegal answer": (f"{PUZZLES}1,{START},e2e4 e2e4\n", r"line 2: 'e2e4' is no legal move"),
    "clocks run over": (f"{PUZZLES}1,8/8/8/8/8/8/8/k1K5 w - - 999 9,c1c2 a1a2\n", r"line 2: after the move the clocks"),
    "depth is NaN": (f"{ROWS}{START},e2e4,NaN,1,1,\n", r"line 2: depth is 'NaN', expected an integer"),
    "depth is missing": (f"{ROWS}{START},e2e4,,1,1,\n", r"line 2: depth is '', expected an integer"),
    "depth in foreign digits": (f"{ROWS}{START},e2e4,٣,1,1,\n", r"line 2: depth is '٣', expected an integer"),
    "no line": (f"{ROWS}{START},,3,1,1,\n", r"line 2: line is '', expected a text"),
    "bad JSON": ('{"fen": \n', r"line 1: not valid JSON \(.*\), expected an object"),
    "bad JSON later": (evaluation() + "{,}\n", r"line 2: not valid JSON"),
    "deep JSON": ('{"fen":' + "[" * 100_000 + "\n", r"line 1: not valid JSON"),
    "a list": (evaluation() + "[1]\n", r"line 2: holds \[1\], expected a JSON object"),
    "a key twice": ('{"fen": 1, "fen": 2, "evals": []}\n', r"line 1: not valid JSON \(a key stands twice\)"),
    "foreign keys": ('{"a": 1}\n', r"line 1: found 'a', expected JSON lines"),
    "no fen later": (evaluation() + '{"evals": [{"depth": 1}]}\n', r"line 2: pvs is None"),
    "fen is a number": (evaluation(fen=3), r"line 1: fen is 3, expected a text"),
    "evals empty": (evaluation(evals=[]), r"line 1: evals is \[\], expected a list that is not empty"),
    "evals an object": (evaluation(evals={"depth": 1}), r"line 1: evals is {'depth': 1}, expected a list"),
    "an evaluation a text": (evaluation(evals=["x"]), r"line 1: depth is None, expected an integer"),
    "pvs missing": (evaluation(evals=[{"depth": 3}]), r"line 1: pvs is None, expected a list"),
    "pvs of nothing": (analysis(pvs=[None]), r"line 1: line is None, expected a text"),
    "line missing": (analysis(pvs=[{"cp": 3}]), r"line 1: line is None, expected a text"),
    "line blank": (analysis(pvs=[{"cp": 3, "line": " "}]), r"line 1: line is ' ', expected a text"),
    "line a list": (analysis(pvs=[{"line": ["e2e4"]}]), r"line 1: line is \['e2e4'\], expected a text"),
    "depth NaN": (analysis(depth=float("nan")), r"line 1: depth is nan, expected an integer"),
    "depth true": (analysis(depth=True), r"line 1: depth is True, expected an integer"),
    "depth negative": (analysis(depth=-1), r"line 1: depth is -1, expected an integer of 0 or more"),
    "depth a list": (analysis(depth=[]), r"line 1: depth is \[\], expected an integer"),
    "an illegal line": (analysis(pvs=[{"line": "e7e5"}]), r"line 1: 'e7e5' is no legal move"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_file_is_told_in_one_line(tmp_path, case):
    content, message = MALFORMED[case]
    with pytest.raises(BadInput, match=rf"rows.csv: {message}") as caught:
        read(write(tmp_path, content))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


PACKED = zstandard.ZstdCompressor().compress(jsonl(EVALUATION, OTHER).encode())
BROKEN = {
    "empty": (b"", r"ends in the middle of the compressed stream, expected more positions"),
    "truncated": (PACKED[:-9], r"ends in the middle of the compressed stream"),
    "truncated in a second frame": (PACKED + PACKED[:9], r"ends in the middle of the compressed stream"),
    "not compressed": (jsonl(EVALUATION).encode(), r"not valid zstd \(.*\), expected a file that zstd compressed"),
    "garbage after it": (PACKED + b"garbage", r"not valid zstd"),
    "a bit flipped": (PACKED[:20] + bytes([PACKED[20] ^ 255]) + PACKED[21:], r"(not valid zstd|line \d)"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_compressed_file_is_told_in_one_line(tmp_path, case):
    content, message = BROKEN[case]
    with pytest.raises(BadInput, match=rf"x\.zst: {message}") as caught:
        read(write(tmp_path, content, "x.zst"), file="x.zst")
    assert "\n" not in str(caught.value)


def test_a_mate_without_a_score_is_as_good_as_any(tmp_path):
    content = jsonl(EVALUATION, OTHER).replace('"mate": 1', '"mate": null')
    assert len(read(write(tmp_path, content))) == 2


def test_a_file_that_is_not_there_is_told_with_where_it_can_be_had(tmp_path):
    with pytest.raises(BadInput, match=r"rows.csv: no such file, expected .*: curl .*https://database.lichess.org"):
        read(tmp_path)
    (tmp_path / "rows.csv").mkdir()
    with pytest.raises(BadInput, match=r"rows.csv: cannot be read \(Is a directory\)"):
        read(tmp_path)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([PLAIN, PUZZLES, ROWS, "", evaluation()]), st.sampled_from(["", ".zst"]))
def test_no_bytes_raise_anything_but_bad_input(tmp_path_factory, content, before, ending):
    name = f"rows{ending}"
    folder = write(tmp_path_factory.mktemp("bytes"), before.encode() + content, name)
    with pytest.raises(BadInput, match=rf"^{folder}/{name}: "):
        read(folder, file=name)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=8), st.sampled_from([START, PROMOTE, CHESS960, MATE[0]]), st.data())
def test_no_change_of_a_fen_or_move_raises_anything_but_a_value_error(text, fen, data):
    at = data.draw(st.integers(0, len(fen)))
    for changed in (fen[:at] + text + fen[at:], fen[:at] + text):
        with suppress(ValueError):
            assert len(puzzle.spell(puzzle.position(changed), clocks=True)) == puzzle.SEQ_LEN - 1
    with pytest.raises(ValueError, match="is no legal move"):
        puzzle.legal_move(puzzle.position(fen), text)


# ---- drawing


def drawn(fen: str, prediction: str | None = None, label: str | None = None) -> dict:
    """What a drawing shows: signs on the board by square, texts below, arrows by colour."""
    boards = [None if move is None else labels(move)[0] for move in (prediction, label)]
    drawing = puzzle.draw(dataset(), tokens(fen)[0], *boards)
    assert (drawing.width, drawing.height) == (8, 9.5)
    texts = [shape for shape in drawing.shapes if isinstance(shape, Text)]
    assert {shape.color for shape in texts} <= set(PALETTE)
    return {
        "pieces": {"abcdefgh"[int(t.x)] + str(8 - int(t.y)): t.text for t in texts if t.y < 8},
        "below": {text.text: text.color for text in texts if text.y > 8},
        "arrows": {
            shape.color: (shape.x0, shape.y0, shape.x1, shape.y1)
            for shape in drawing.shapes
            if isinstance(shape, Line) and shape.x0 % 1 == shape.y0 % 1 == 0.5
        },
        "ends": {shape.fill: (shape.x, shape.y) for shape in drawing.shapes if isinstance(shape, Disk)},
    }


def test_a_drawing_shows_the_pieces_and_whose_move_it_is():
    found = drawn(MATE[0])
    assert found["pieces"] == {
        **{"g8": "♚", "e7": "♖", "f7": "♟", "g7": "♟", "h7": "♟"},
        **{"f2": "♙", "g2": "♙", "h2": "♙", "g1": "♔"},
    }
    assert found["below"] == {"White to move": "given"}
    assert found["arrows"] == found["ends"] == {}
    assert drawn(CHESS960)["below"] == {"Black to move": "given"}


def test_a_drawing_shows_a_right_move_a_wrong_one_and_the_one_it_misses():
    right, free, wrong = (drawn(*moves) for moves in ((*MATE, "e7e8"), MATE, (MATE[0], "g1f1", "e7e8")))
    assert right == free
    assert right["arrows"] == {"answer": (4.5, 1.5, 4.5, 0.5)}
    assert right["ends"] == {"answer": (4.5, 0.5)}
    assert right["below"] == {"White to move": "given", "e7e8": "answer"}
    assert wrong["arrows"] == {"error": (6.5, 7.5, 5.5, 7.5), "missed": (4.5, 1.5, 4.5, 0.5)}
    assert wrong["below"] == {"White to move": "given", "g1f1": "error", "e7e8": "missed"}


def test_a_drawing_copes_with_tokens_that_mean_nothing():
    board = np.full(puzzle.SEQ_LEN, puzzle.FIRST_MOVE)
    drawing = puzzle.draw(dataset(), board, np.zeros(puzzle.SEQ_LEN, int), None)
    assert {shape.text for shape in drawing.shapes if isinstance(shape, Text)} == {"?", "? to move"}


# ---- real files


@real
@pytest.mark.parametrize(("name", "count"), [("lichess_eval_sample.jsonl", 7), ("lichess_puzzles.csv", 1499)])
def test_every_move_of_the_real_files_is_legal_and_comes_back_from_its_tokens(name, count):
    splits = puzzle.examples(dataset(file=name), REAL)
    assert sum(map(len, splits.values())) == count
    for table in splits.values():
        assert puzzle.is_valid(dataset(), table.inputs, table.labels).all()
        assert puzzle.is_valid(dataset(), puzzle.flip(table.inputs), puzzle.flip(table.labels)).all()
        fens = [puzzle.to_fen(board) for board in table.inputs]
        assert (tokens(*fens) == table.inputs).all()
        assert (puzzle.flip(puzzle.flip(table.inputs)) == table.inputs).all()


@real
def test_real_puzzles_are_asked_after_the_opponents_move():
    told = dict(read(REAL, file="lichess_puzzles.csv"))
    board = chess.Board("2kr1b1r/p1p2pp1/2pqb3/7p/3N2n1/2NPB3/PPP2PPP/R2Q1RK1 w - - 2 13")
    board.push_uci("d4e6")
    assert told[board.fen()] == "d6h2"
    assert len(told) == 1499


@real
def test_real_evaluations_are_answered_by_the_deepest_one():
    told = dict(read(REAL, file="lichess_eval_sample.jsonl"))
    for text in (REAL / "lichess_eval_sample.jsonl").read_text().splitlines():
        record = json.loads(text)
        depth = max(evaluation["depth"] for evaluation in record["evals"])
        deepest = [evaluation for evaluation in record["evals"] if evaluation["depth"] == depth]
        assert told[record["fen"]] == deepest[0]["pvs"][0]["line"].split()[0]
