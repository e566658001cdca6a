"""Arithmetic: expressions and their values, splits without repetitions, what counts as a valid answer."""

import re
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trm.files import BadInput
from trm.puzzles import arithmetic
from trm.puzzles.arithmetic import CHARACTERS, SEQ_LEN
from trm.puzzles.drawing import PALETTE, Rect, Text

SMALL = {"subsample_size": 600, "test_size": 150}


def dataset(**keys) -> arithmetic.Dataset:
    return arithmetic.Dataset(puzzle="arithmetic", **{**SMALL, **keys})


def build(**keys) -> dict:
    return arithmetic.examples(dataset(**keys), Path("unused"))


def tokens(text: str, start: int = 0) -> np.ndarray:
    """A board [1, 48] with the characters of `text` from cell `start` on."""
    board = np.zeros((1, SEQ_LEN), np.uint8)
    board[0, start : start + len(text)] = [CHARACTERS.index(character) + 1 for character in text]
    return board


def text(row: np.ndarray) -> str:
    return "".join(CHARACTERS[token - 1] for token in row if token)


def depth(expression: str) -> int:
    return int(np.cumsum([(c == "(") - (c == ")") for c in expression]).max(initial=0))


@pytest.fixture(scope="module", params=["clean", "published"])
def generated(request) -> list[arithmetic.Examples]:
    return list(build(split=request.param).values())


# ---- expressions


def test_every_label_is_what_python_says_and_stands_behind_the_equals_sign(generated):
    for table in generated:
        assert table.inputs.dtype == table.labels.dtype == np.uint8
        assert table.inputs.shape == table.labels.shape == (len(table.group), SEQ_LEN)
        for row, label in zip(table.inputs, table.labels, strict=True):
            expression = text(row).removesuffix("=")
            assert text(row) == expression + "="
            assert (label == tokens(str(eval(expression)), len(expression) + 1)[0]).all()
            assert (row == tokens(expression + "=")[0]).all()


def test_expressions_are_fully_bracketed_trees_of_numbers_from_1_to_20(generated):
    for table in generated:
        for row in table.inputs:
            rest = text(row).removesuffix("=")
            assert depth(rest) <= 4
            assert all(1 <= int(number) <= 20 for number in re.findall(r"\d+", rest))
            while rest != "1":  # a bracket with two numbers is a number
                rest, found = re.subn(r"\(\d+[-+*%]\d+\)", "1", rest)
                if not found:
                    assert rest.isdigit()
                    rest = "1"


@pytest.mark.parametrize("deepest", [1, 2, 3, 5])
def test_no_expression_is_deeper_than_asked_and_some_are_as_deep(deepest):
    tables = build(depth=deepest)
    depths = [depth(text(row)) for table in tables.values() for row in table.inputs]
    assert max(depths) == deepest


def test_the_share_of_numbers_and_operators_is_that_of_the_published_process():
    """The shape of whole trees: above the greatest depth a node is a number with probability 0.1."""
    table = build(split="published", subsample_size=20000, depth=2)["train"]  # every tree of depth 2 fits
    expressions = [text(row) for row in table.inputs]
    share = [np.mean([depth(e) == d for e in expressions]) for d in range(3)]
    assert np.abs(np.array(share) - [0.1, 0.9 * 0.1**2, 0.9 * 0.99]).max() < 0.01
    outermost = [e for e in expressions if depth(e) == 1]
    signs = [np.mean([sign in e for e in outermost]) for sign in "+-*%"]
    assert np.abs(np.array(signs) - 0.25).max() < 0.1
    numbers = [int(number) for e in expressions for number in re.findall(r"\d+", e)]
    counts = np.bincount(numbers, minlength=21)[1:] / len(numbers)
    assert counts[1:] == pytest.approx(0.05, abs=0.003)
    assert counts[0] == pytest.approx(0.05, abs=0.02)  # more 1s, in place of what would be 0 right of %


def test_the_right_side_of_modulo_is_never_0():
    table = build(subsample_size=20000)["train"]
    modulos = sum(text(row).count("%1)") for row in table.inputs)
    assert modulos > 1.5 * sum(text(row).count("%2)") for row in table.inputs)
    for row in table.inputs[:3000]:
        eval(text(row).removesuffix("="))  # would raise ZeroDivisionError


# ---- splits


def test_a_clean_split_repeats_nothing_within_or_across_its_sides():
    splits = build(subsample_size=20000, test_size=5000)
    assert [len(table) for table in splits.values()] == [20000, 5000]
    inputs = np.concatenate([table.inputs for table in splits.values()])
    assert len(np.unique(inputs, axis=0)) == 25000


def test_both_sides_of_a_clean_split_are_alike():
    splits = build(subsample_size=10000, test_size=10000)
    shares = [np.mean([depth(text(row)) < 4 for row in table.inputs]) for table in splits.values()]
    assert abs(shares[0] - shares[1]) < 0.01


def test_the_published_numbers_build_in_seconds_and_leak_only_if_published():
    leaks, different = {}, {}
    for split in ("clean", "published"):
        published = arithmetic.Dataset(puzzle="arithmetic", split=split)
        start = time.perf_counter()
        train, test = (table.inputs for table in arithmetic.examples(published, Path("unused")).values())
        assert time.perf_counter() - start < 30
        assert (len(train), len(test)) == (100_000, 10_000)
        known = {row.tobytes() for row in train}
        leaks[split], different[split] = np.mean([row.tobytes() in known for row in test]), len(known)
        assert published.claims_clean == (leaks[split] == 0)
    assert different["clean"] == 100_000
    assert abs(different["published"] - 68_984) < 700  # of the published build; 150 is a standard deviation
    assert abs(leaks["published"] - 0.317) < 0.02


def test_groups_are_single_expressions_in_order(generated):
    for table in generated:
        assert (table.group == np.arange(len(table))).all()


def test_the_same_seed_gives_the_same_expressions_and_another_seed_others():
    first, again, other = (build(seed=seed) for seed in (0, 0, 1))
    for name in first:
        assert (first[name].inputs == again[name].inputs).all()
        assert not np.array_equal(first[name].inputs, other[name].inputs)


def test_a_published_train_set_does_not_depend_on_how_many_are_drawn():
    few, many = (build(split="published", subsample_size=size)["train"].inputs for size in (100, 9000))
    assert (few == many[:100]).all()


def test_every_expression_of_depth_1_is_found_and_more_are_impossible():
    splits = build(depth=1, subsample_size=1600, test_size=20)  # 20 numbers and 20 * 4 * 20 pairs
    assert len({row.tobytes() for table in splits.values() for row in table.inputs}) == 1620
    with pytest.raises(BadInput, match=r"found only 1620 different expressions of depth 1 or less, expected 1621"):
        build(depth=1, subsample_size=1601, test_size=20)
    assert len(build(depth=1, subsample_size=1601, test_size=20, split="published")["train"]) == 1601


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"subsample_size": 0}, "greater than or equal to 1"),
        ({"test_size": 0}, "greater than or equal to 1"),
        ({"test_size": 10**9}, "less than or equal to 10000000"),
        ({"depth": 0}, "greater than or equal to 1"),
        ({"depth": 6}, "less than or equal to 5"),
        ({"split": "orbit"}, "'clean' or 'published'"),
        ({"num_aug": 1}, "Input should be 0"),
    ],
)
def test_settings_that_do_not_fit_are_explained(keys, message):
    with pytest.raises(ValidationError, match=message):
        dataset(**keys)


def test_there_is_nothing_to_download_and_every_expression_is_its_own_form(generated):
    assert arithmetic.SOURCES == {}
    assert arithmetic.raw_files(dataset()) == []
    assert arithmetic.vocab_size(dataset()) == 18
    assert arithmetic.seq_len(dataset()) == SEQ_LEN
    for table in generated:
        assert (arithmetic.canonical(dataset(), table.inputs) == table.inputs).all()
        blanks = arithmetic.blanks(dataset(), table.inputs)
        assert (blanks[table.labels > 0]).all()
        ends = (table.inputs == CHARACTERS.index("=") + 1).argmax(axis=1)
        assert (blanks == (np.arange(SEQ_LEN) > ends[:, None])).all()


# ---- answers


def expressions() -> st.SearchStrategy[str]:
    numbers = st.integers(1, 20).map(str)
    operators = st.sampled_from("+-*%")
    trees = st.recursive(numbers, lambda sub: st.builds("({}{}{})".format, sub, operators, sub), max_leaves=11)
    return trees.filter(lambda expression: len(expression) < SEQ_LEN)


@settings(max_examples=300, deadline=None)
@given(expressions())
def test_the_answer_is_what_python_says(expression):
    try:
        value = eval(expression)
    except ZeroDivisionError:
        reject()  # there the rule is not Python's
    inputs = tokens(expression + "=")
    label = arithmetic.answers(inputs)
    if len(f"{expression}={value}") > SEQ_LEN:
        assert not label.any()
    else:
        assert (label == tokens(str(value), len(expression) + 1)).all()
    figures = arithmetic.metrics(dataset(depth=5), inputs, label, label)
    counted = [name for name, figure in figures.items() if not np.isnan(figure).all()]
    assert counted == [f"exact_depth_{depth(expression)}"] * (depth(expression) <= 5)


@pytest.mark.parametrize(
    ("expression", "value"),
    [("(7%(3-3))", 0), ("((2-9)%(4-4))", 0), ("((5%(1-1))+2)", 2), ("(7%(2-5))", -2), ("((1-8)%3)", 2), ("20", 20)],
)
def test_modulo_0_counts_as_modulo_1_and_signs_are_pythons(expression, value):
    assert text(arithmetic.answers(tokens(expression + "="))[0]) == str(value)


def test_the_largest_values_that_fit_are_exact():
    expression = "((20*20)*(20*20))"
    for _ in range(3):
        expression = f"({expression}*20)"
    assert text(arithmetic.answers(tokens(expression + "="))[0]) == str(20**7)
    assert text(arithmetic.answers(tokens(f"(1-{expression})="))[0]) == str(1 - 20**7)


@pytest.mark.parametrize(
    "wrong",
    [
        *("", "=", "==", "7", "+", "()=", "(7)=", "-7=", "7+8=", "(7+8=", "7+8)=", "(7+8))=", "((7+8)=", "(7+8+9)="),
        *("(7+)=", "(+7)=", "(7++8)=", "(7(8))=", "(7+8)9=", "(7+8)(9)=", "((20*20)*((20*20)*20))+1="),
        *("0=", "07=", "(0+1)=", "21=", "100=", "99999999999999999999=", "(" * 48, "1" * 48, "20*" * 16),
    ],
)
def test_what_is_no_expression_has_no_answer_and_no_valid_prediction(wrong):
    inputs = tokens(wrong)
    assert not arithmetic.answers(inputs).any()
    for prediction in (inputs, tokens("15", 4), np.zeros_like(inputs)):
        assert not arithmetic.is_valid(dataset(), inputs, prediction).any()
        figures = arithmetic.metrics(dataset(), inputs, prediction, inputs)
        assert all(np.isnan(figure).all() for figure in figures.values())


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.int64])
@pytest.mark.parametrize("garbage", [-1, 0, 18, 255, 10**9])
def test_inputs_with_tokens_that_mean_nothing_are_no_expressions(kind, garbage):
    inputs = tokens("((7+8)*2)=").astype(kind)
    label = arithmetic.answers(inputs)
    assert arithmetic.is_valid(dataset(), inputs, label).all()
    for cell in range(10):
        spoiled = inputs.astype(np.int64)
        spoiled[0, cell] = garbage
        if garbage in (0, 18, 255):
            spoiled = spoiled.astype(kind)
        assert not arithmetic.is_valid(dataset(), spoiled, label).any()


# ---- validity


def test_labels_are_valid_and_so_is_anything_behind_them(generated):
    for table in generated:
        for noise in (0, 1, 12, 200):
            predictions = np.where(table.labels > 0, table.labels, noise)
            assert arithmetic.is_valid(dataset(), table.inputs, predictions).all()


@pytest.mark.parametrize(
    ("expression", "answer", "valid"),
    [
        ("(3-10)", "-7", True),
        ("(3-10)", "-8", False),
        ("(3-10)", "7", False),
        ("(3-10)", "+7", False),
        ("(3+10)", "13", True),
        ("(3+10)", "013", False),
        ("(3+10)", "1", False),
        ("(3+10)", "135", True),  # the third cell is not asked for
        ("(3-3)", "0", True),
        ("(3-3)", "-0", False),
        ("(3-3)", "", False),
    ],
)
def test_a_prediction_is_read_from_the_cells_of_the_value(expression, answer, valid):
    prediction = tokens(answer, len(expression) + 1)
    assert arithmetic.is_valid(dataset(), tokens(expression + "="), prediction).tolist() == [valid]


@pytest.mark.parametrize("garbage", [-100, -1, 0, 18, 255, 258, 10**12])
def test_predicted_tokens_that_mean_nothing_are_wrong_not_an_error(generated, garbage):
    for table in generated:
        predictions = table.labels.astype(np.int64)
        predictions[np.arange(len(table)), (table.labels > 0).argmax(axis=1)] = garbage
        assert not arithmetic.is_valid(dataset(), table.inputs, predictions).any()
        figures = arithmetic.metrics(dataset(), table.inputs, predictions, table.labels)
        assert all(np.nansum(figure) == 0 for figure in figures.values())


def test_the_figures_by_depth_cover_every_expression_once(generated):
    for table in generated:
        predictions = table.labels.copy()
        predictions[::3] = 0
        figures = arithmetic.metrics(dataset(), table.inputs, predictions, table.labels)
        assert list(figures) == [f"exact_depth_{d}" for d in range(5)]
        counted = ~np.isnan(np.stack(list(figures.values())))
        assert (counted.sum(axis=0) == 1).all()
        assert (counted.argmax(axis=0) == [depth(text(row)) for row in table.inputs]).all()
        right = np.nansum(np.stack(list(figures.values())), axis=0)
        assert (right == (np.arange(len(table)) % 3 > 0)).all()


# ---- drawing


def shown(drawing) -> dict[str, str]:
    texts = [shape for shape in drawing.shapes if isinstance(shape, Text)]
    assert {shape.color for shape in texts} <= set(PALETTE)
    assert all(0 < shape.x < drawing.width and 0 < shape.y < drawing.height for shape in texts)
    colors = dict.fromkeys(shape.color for shape in texts)
    return {color: "".join(shape.text for shape in texts if shape.color == color) for color in colors}


def test_a_drawing_shows_the_expression_and_the_answers_right_and_wrong_characters():
    expression = "((20*20)-((3+4)*10))="
    inputs, label = tokens(expression)[0], tokens("330", len(expression))[0]
    wrong = tokens("340", len(expression))[0]
    drawing = arithmetic.draw(dataset(), inputs, wrong, label)
    assert (drawing.width, drawing.height) == (16, 2)
    assert shown(drawing) == {"given": expression, "answer": "30", "error": "4"}
    assert sum(isinstance(shape, Rect) for shape in drawing.shapes) == 3
    assert shown(arithmetic.draw(dataset(), inputs, None, label)) == {"given": expression}
    assert shown(arithmetic.draw(dataset(), inputs, None, None)) == {"given": expression}
    assert shown(arithmetic.draw(dataset(), inputs, wrong, None)) == {"given": expression, "answer": "340"}


@pytest.mark.parametrize("garbage", [-1, 0, 18, 255])
def test_predictions_that_are_no_characters_are_drawn_as_question_marks(garbage):
    inputs, label = tokens("(3+10)=")[0], tokens("13", 7)[0]
    prediction = np.full(SEQ_LEN, garbage)
    assert shown(arithmetic.draw(dataset(), inputs, prediction, label))["error"] == "??"
