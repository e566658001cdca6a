"""The report: one HTML file with everything that was run, what came out, and whether the data is sound."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from trm.files import read_json, read_text, write_text
from trm.provenance import provenance
from trm.reporting import texts
from trm.reporting.figures import FIGURES, caption
from trm.reporting.inline import data_url, inline_svg
from trm.reporting.results import Result, by_experiment, read_results
from trm.reporting.tables import MEAN, interval, read_table

COMMAND = "snakemake report"


def report(
    runs: list[Path], datasets: list[Path], figures: Path, table: Path, out: Path, about: dict[str, dict[str, Any]]
) -> None:
    """Write the report of some runs and datasets to the HTML file `out`.

    `figures` is the folder with EXPERIMENT-KIND.svg of each kind of figure, `table` the CSV of `write_table`. `about`
    maps the name of an experiment to {"description": text}; those in it without a run are named as not finished.
    """
    frame, experiments = read_table(table), by_experiment(read_results(runs))
    shown = [_dataset(folder) for folder in datasets]
    names = {dataset["content_sha256"]: dataset["name"] for dataset in shown}
    sections = [
        {
            "description": about.get(name, {}).get("description", ""),
            **_experiment(results, frame[frame["experiment"] == name], figures, names),
        }
        for name, results in experiments.items()
    ]
    missing = sorted(about.keys() - experiments.keys())
    page = _template().render(now=provenance(), command=COMMAND, experiments=sections, datasets=shown, missing=missing)
    write_text(out, page)


def audit_sentences(audit: dict[str, Any]) -> list[str]:
    """What an audit found, in plain words."""
    sentences = []
    for name, twins in audit["twins_in_train"].items():
        groups = f"{twins['groups']:,} {name} groups"
        if twins["inputs"]:
            sentences.append(f"{twins['inputs']:,} of {groups} have a symmetric twin in train.")
        else:
            sentences.append(f"Clean: none of {groups} has a symmetric twin in train.")
        if twins["labels"]:
            found = f"The answers of {twins['labels']:,} of {groups} occur in train up to symmetry."
            harmless = "That alone gives no puzzle away: two different puzzles may share a solution up to symmetry."
            leaking = "That gives them away: this split leaks."
            sentences.append(f"{found} {leaking if 'labels' in audit['leaks'] else harmless}")
    for name, split in audit["splits"].items():
        examples = f"{split['base_examples']:,} {name} examples"
        if split["twins_within"]:
            sentences.append(f"{split['twins_within']:,} of {examples} repeat another one.")
        if split["contradictions"]:
            sentences.append(
                f"{split['contradictions']:,} of {examples} have the input of another one, but not its label."
            )
        if split["several_answers"]:
            sentences.append(f"{split['several_answers']:,} of {examples} have more than one valid answer.")
    return sentences


def _experiment(results: list[Result], rows: pd.DataFrame, figures: Path, names: dict[str, str]) -> dict[str, Any]:
    """What the template says about one experiment."""
    name, experiment = results[0].name, results[0].experiment
    folders = [result.folder for result in results]
    table = [{**row, "interval": interval(row), "standing": _standing(row)} for row in rows.to_dict("records")]
    pictures = []
    for kind in FIGURES:
        text = caption(kind, folders)
        picture = inline_svg(figures / f"{name}-{kind}.svg", f"{name}-{kind}", text)
        pictures.append({"kind": kind, "caption": text, "picture": picture})
    hashes = sorted({result.data for result in results})
    return {
        "name": name,
        "headline": next((row for row in table if row["seed"] == MEAN), table[0] if table else None),
        "rows": table,
        "data": [{"hash": data, "name": names.get(data)} for data in hashes],
        "experiment": experiment,
        "runs": [result.provenance for result in results],
        "packages": sorted({package for result in results for package in result.provenance["packages"]}),
        "figures": pictures,
        "config": read_text(folders[0] / "config.yaml"),
    }


def _dataset(folder: Path) -> dict[str, Any]:
    """What the template says about one dataset."""
    facts, audit = read_json(folder / "provenance.json"), read_json(folder / "audit.json")
    return {
        "name": audit["dataset"],
        "content_sha256": facts["content_sha256"],
        "settings": facts["dataset"],
        "made": facts,
        "preview": data_url(folder / "preview.png"),
        "splits": audit["splits"],
        "twins": audit["twins_in_train"],
        "clean": audit["clean"],
        "sentences": audit_sentences(audit),
    }


def _standing(row: dict[str, Any]) -> str:
    """How a row stands to the published figure, as the class of its badge."""
    return {"reproduced": "good", "short": "short"}.get(row["verdict"].split()[0], "open")


def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": texts.percent,
        "points": texts.points,
        "duration": texts.duration,
        "short": texts.short,
        "thousands": "{:,}".format,
        "cite": _cite,
    }
    environment.tests["known"] = pd.notna
    return environment.get_template("report.html")


def _cite(source: str) -> Markup:
    """A source with its arXiv number as a link."""
    link = Markup(r'<a href="https://arxiv.org/abs/\1">arXiv \1</a>')
    return Markup(re.sub(r"arXiv[: ](\d{4}\.\d{4,5})", link, str(escape(source))))
