"""The report: one file with everything in it."""

from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise

import pandas as pd
import pytest

from tests.reporting.conftest import ABOUT, KINDS
from trm.files import BadInput, read_json
from trm.reporting.ablations import COLUMNS as ablation_columns
from trm.reporting.ablations import write_ablations
from trm.reporting.comparisons import COLUMNS, comparisons, write_comparisons
from trm.reporting.figures import caption
from trm.reporting.report import audit_sentences, report
from trm.reporting.scaling import scaling_table
from trm.reporting.tables import results_table, write_table
from trm.reporting.texts import percent

BESIDE = {f"tables/{name}.{suffix}" for name in ("results", "scaling", "audit") for suffix in ("csv", "md", "tex")}
BESIDE |= {f"figures/tiny-{kind}.{suffix}" for kind in KINDS for suffix in ("svg", "pdf", "png", "csv")}
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """What a page consists of; checks that its elements are closed in order."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words += " ".join(data.split()) + " "

    def every(self, attribute: str) -> list[str]:
        return [attrs[attribute] for _, attrs in self.elements if attribute in attrs]


@pytest.fixture(scope="module")
def text(results) -> str:
    return results.report.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text) -> Page:
    return Page(text)


def test_nothing_comes_from_outside(page, text):
    assert not {tag for tag, _ in page.elements} & {"script", "link", "iframe", "object", "embed", "image"}
    assert all(source.startswith("data:image/png;base64,") for source in page.every("src"))
    for tag, attrs in page.elements:
        for name in ("href", "xlink:href"):
            target = attrs.get(name, "#")
            beside = target in BESIDE or target.startswith("https://arxiv.org/abs/")
            assert target.startswith("#") or (tag == "a" and beside), target
    assert "@import" not in text
    assert all(reference.startswith("#") for reference in (part[:20] for part in text.split("url(")[1:]))


def test_ids_are_unique_and_every_reference_finds_its_own(page, text):
    ids = page.every("id")
    assert [name for name, count in Counter(ids).items() if count > 1] == []
    fragments = [link[1:] for link in page.every("href") + page.every("xlink:href") if link.startswith("#")]
    fragments += [part.partition(")")[0][1:] for part in text.split("url(")[1:]]
    fragments += page.every("aria-labelledby")
    assert set(fragments) - set(ids) == set()


def test_every_experiment_figure_and_dataset_is_there(results, page):
    ids = page.every("id")
    dataset = read_json(results.data / "audit.json")["dataset"]
    assert {"experiment-tiny", f"dataset-{dataset}", *(f"tiny-{kind}" for kind in KINDS)} <= set(ids)
    texts = [attrs["aria-label"] for tag, attrs in page.elements if tag == "svg" and attrs.get("role") == "img"]
    texts += [attrs["alt"] for tag, attrs in page.elements if tag == "img" and attrs["alt"].startswith("tiny")]
    assert texts == [caption(kind, results.runs) for kind in KINDS]


def test_pictures_have_texts_and_headings_have_an_order(page):
    assert all(attrs.get("alt") for tag, attrs in page.elements if tag == "img")
    levels = [int(tag[1]) for tag, _ in page.elements if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_it_tells_what_was_run(results, page, text):
    facts = read_json(results.runs[0] / "provenance.json")
    for fact in (
        facts["fingerprint"],
        facts["data"]["content_sha256"],
        facts["packages"]["torch"],
        facts["created"],
        f"{facts['parameters']:,} weights",
        "halt_max_steps: 3",
        "snakemake report",
    ):
        assert fact in text
    assert "Small <boards> & few steps" in page.words
    assert "<boards>" not in text


def test_it_shows_the_results_and_names_the_missing(results, page):
    for row in results_table(results.runs, ABOUT).itertuples():
        assert f"{100 * row.exact_accuracy:.1f}" in page.words
        assert row.verdict in page.words
    assert "Not finished: far-away." in page.words


def test_experiments_are_held_against_each_other_where_there_are_several(results, page, tmp_path):
    assert "Experiments against each other" not in page.words
    rows = [("alpha", 0, "beta", 0, 1000, 0.9, 0.85, -0.05, 70, 20, 9.8e-8)]
    write_comparisons(pd.DataFrame(rows, columns=COLUMNS), tmp_path / "comparisons.csv")
    tables = results.table, tmp_path / "comparisons.csv"
    report(results.runs, [results.data], results.figures, *tables, tmp_path / "report.html", ABOUT)
    words = Page((tmp_path / "report.html").read_text()).words
    start = words.index("Experiments against each other")
    row = ["alpha", "seed 0", "beta", "seed 0", "90.0", "85.0", "−5.0", "1,000", "70", "20", "< 0.0001"]
    assert " ".join(row) in words[start : words.index("Dataset", start)].replace("  ", " ")


def test_ablations_are_shown_beside_their_base_where_there_are_any(results, page, tmp_path):
    assert "Ablations" not in page.words
    changed = "model.L_layers: 2 to 4; model.L_cycles: 6 to 3"
    rows = [("less", "more", changed, "exact_accuracy", 0.8, 0.87, -0.07, -0.075, 500, 0.0021)]
    write_ablations(pd.DataFrame(rows, columns=ablation_columns), tmp_path / "ablations.csv")
    arguments = results.runs, [results.data], results.figures, results.table, results.comparisons
    report(*arguments, tmp_path / "report.html", ABOUT, ablations=tmp_path / "ablations.csv")
    shown = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    row = "less of more model.L_layers: 2 to 4 model.L_cycles: 6 to 3 80.0 87.0 −7.0 −7.5 0.0021"
    assert row in shown.words.replace("  ", " ")
    assert {"ablations.csv", "ablations.md", "ablations.tex"} <= set(shown.every("href"))


def test_it_links_to_its_tables_and_figures_in_every_format(results, page):
    assert set(page.every("href")) >= BESIDE
    assert all((results.report.parent / address).is_file() for address in BESIDE)


def test_test_time_scaling_is_shown_where_an_experiment_has_any(results, page, tmp_path):
    row = scaling_table(results.runs).iloc[-1]
    assert "Test-time scaling in numbers" in page.words
    start = page.words.index("Test-time scaling in numbers")
    figures = [percent(row[name]) for name in ("exact_accuracy", "low", "high")]
    words = "any 3 3 {} {} to {}, n = 20".format(*figures)
    assert f"latent noise 0.5 {words}" in page.words[start:].replace("  ", " ")
    tables = results.table, results.comparisons
    report(results.runs, [results.data], results.figures, *tables, tmp_path / "report.html", ABOUT)
    without = Page((tmp_path / "report.html").read_text())
    assert "Test-time scaling" not in without.words
    assert "tiny-test-time-scaling" not in without.every("id")


def test_votes_head_an_experiment_that_has_them(results, page, tmp_path):
    assert "pass@" not in page.words
    frame = results_table(results.runs, ABOUT)
    frame[["figure", "value", "low", "high", "pass@1", "pass@2"]] = "pass@2", 0.41, 0.37, 0.46, 0.33, 0.41
    write_table(frame, tmp_path / "results.csv")
    tables = tmp_path / "results.csv", results.comparisons
    report(results.runs, [results.data], results.figures, *tables, tmp_path / "report.html", ABOUT)
    words = " ".join(Page((tmp_path / "report.html").read_text()).words.split())
    assert "41.0 % pass@2" in words
    assert "pass@1, % pass@2, %" in words
    assert "37.0 to 46.0, n = 20" in words


def test_without_any_run_it_says_so(results, tmp_path):
    write_table(results_table([], ABOUT), tmp_path / "results.csv")
    write_comparisons(comparisons([]), tmp_path / "comparisons.csv")
    tables = tmp_path / "results.csv", tmp_path / "comparisons.csv"
    report([], [results.data], tmp_path, *tables, tmp_path / "report.html", ABOUT)
    words = Page((tmp_path / "report.html").read_text()).words
    assert "Not finished: far-away, tiny." in words
    assert "No experiment is finished yet." in words


def test_a_missing_figure_is_told_by_its_name(results, tmp_path):
    tables = results.table, results.comparisons
    with pytest.raises(BadInput, match=r"tiny-learning-curve.svg: no such file"):
        report(results.runs, [results.data], tmp_path, *tables, tmp_path / "report.html", ABOUT)
    assert not (tmp_path / "report.html").exists()


def test_it_links_to_the_explorer_where_there_is_one(results, page, tmp_path):
    assert "Step through its answers" not in page.words
    arguments = results.runs, [results.data], results.figures, results.table, results.comparisons
    out, folder = tmp_path / "report.html", tmp_path / "explorer"
    with pytest.raises(BadInput, match=r"tiny.html: no such file, expected it"):
        report(*arguments, out, ABOUT, explorer=folder)
    assert not out.exists()
    folder.mkdir()
    (folder / "tiny.html").touch()
    report(*arguments, out, ABOUT, explorer=folder)
    linked = Page(out.read_text(encoding="utf-8"))
    assert "explorer/tiny.html" in linked.every("href")
    assert "Step through its answers" in linked.words


def test_audits_in_plain_words():
    split = {"base_examples": 10, "twins_within": 0, "contradictions": 0, "several_answers": None}
    clean = {
        "leaks": ["inputs"],
        "splits": {"test": split},
        "twins_in_train": {"test": {"groups": 10, "inputs": 0, "labels": 0}},
    }
    assert audit_sentences(clean) == ["Clean: none of 10 test groups has a symmetric twin in train."]
    found = split | {"twins_within": 2, "contradictions": 3, "several_answers": 4}
    twins = {"leaks": ["inputs"], "splits": {"test": found}}
    twins["twins_in_train"] = {"test": {"groups": 1000, "inputs": 3, "labels": 1000}}
    leak, answers, within, contradictions, several = audit_sentences(twins)
    assert leak == "3 of 1,000 test groups have a symmetric twin in train."
    assert "may share a solution up to symmetry" in answers
    assert "this split leaks" in audit_sentences(twins | {"leaks": ["inputs", "labels"]})[1]
    assert within == "2 of 10 test examples repeat another one."
    assert contradictions == "3 of 10 test examples have the input of another one, but not its label."
    assert several == "4 of 10 test examples have more than one valid answer."
