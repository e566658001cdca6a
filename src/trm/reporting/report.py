"""The report: one HTML file with everything that was run, what came out, and whether the data is sound."""

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from trm.files import BadInput, read_json, read_text, write_text
from trm.provenance import provenance
from trm.reporting import texts
from trm.reporting.ablations import read_ablations
from trm.reporting.comparisons import read_comparisons
from trm.reporting.figures import caption, kinds_of
from trm.reporting.inline import data_url, inline_svg
from trm.reporting.results import Result, by_experiment, read_results
from trm.reporting.scaling import read_scaling_table, scaling_rows
from trm.reporting.tables import MEAN, compute, interval, read_table

COMMAND = "snakemake report"


def report(
    runs: list[Path],
    datasets: list[Path],
    figures: Path,
    table: Path,
    comparisons: Path,
    out: Path,
    about: dict[str, dict[str, Any]],
    *,
    ablations: Path | None = None,
    scaling: Path | None = None,
    audit: Path | None = None,
    explorer: Path | None = None,
    command: str = COMMAND,
) -> None:
    """Write the report of some runs and datasets to the HTML file `out`.

    `figures` is the folder with EXPERIMENT-KIND.svg of each kind of figure, and what `draw_figure` wrote beside it;
    `table` is the CSV of `write_table` and `comparisons` that of `write_comparisons`. `about` maps the name of an
    experiment to {"description": text}; those in it without a run, or without one of their "seeds", are named as not
    finished. `ablations`, `scaling` and `audit` are the CSVs of `write_ablations`, `write_scaling_table` and
    `write_audits`, where there are any, and `explorer` the folder of `explore`'s pages EXPERIMENT.html to link to;
    `command` made it.
    """
    tables = {"results": table, "comparisons": comparisons, "ablations": ablations, "scaling": scaling, "audit": audit}
    frame, experiments = read_table(table), by_experiment(read_results(runs))
    scaled = read_scaling_table(scaling) if scaling else scaling_rows([])
    shown = [_dataset(folder) for folder in datasets]
    names = {dataset["content_sha256"]: dataset["name"] for dataset in shown}
    sections = [
        {
            "description": about.get(name, {}).get("description", ""),
            "explorer": _link(explorer / f"{name}.html", out) if explorer else None,
            **_experiment(
                results, *(rows[rows["experiment"] == name] for rows in (frame, scaled)), figures, names, out
            ),
        }
        for name, results in experiments.items()
    ]
    page = template("report.html").render(
        now=provenance(),
        command=command,
        experiments=sections,
        comparisons=read_comparisons(comparisons).to_dict("records"),
        ablations=read_ablations(ablations).to_dict("records") if ablations else [],
        files={name: _formats(file, TABLE_FORMATS, out) for name, file in tables.items() if file},
        voted=frame["pass@2"].notna().any(),
        datasets=shown,
        missing=_missing(experiments, about),
    )
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


def _experiment(
    results: list[Result], rows: pd.DataFrame, scaled: pd.DataFrame, figures: Path, names: dict[str, str], out: Path
) -> dict[str, Any]:
    """What the template of the page `out` says about one experiment."""
    name, experiment = results[0].name, results[0].experiment
    folders = [result.folder for result in results]
    table = [
        {**row, "interval": interval(row), "compute": compute(row), "standing": _standing(row)}
        for row in rows.to_dict("records")
    ]
    pictures = []
    for kind in kinds_of(results, scaled=len(scaled) > 0):
        text, file = caption(kind, folders), figures / f"{name}-{kind}.svg"
        files = _formats(file, FIGURE_FORMATS, out)
        if kind == "gallery":  # of boards of 900 cells it takes megabytes as SVG
            picture = Markup('<img src="{}" alt="{}">').format(data_url(file.with_suffix(".png")), text)
        else:
            picture = inline_svg(file, f"{name}-{kind}", text)
        pictures.append({"kind": kind, "caption": text, "picture": picture, "files": files})
    hashes = sorted({result.data for result in results})
    return {
        "name": name,
        "headline": next((row for row in table if row["seed"] == MEAN), table[0] if table else None),
        "rows": table,
        "scaling": scaled.to_dict("records"),
        "data": [{"hash": data, "name": names.get(data)} for data in hashes],
        "experiment": experiment,
        "runs": [result.provenance for result in results],
        "packages": sorted({package for result in results for package in result.provenance["packages"]}),
        "figures": pictures,
        "config": read_text(folders[0] / "config.yaml"),
    }


def _missing(experiments: dict[str, list[Result]], about: dict[str, dict[str, Any]]) -> list[str]:
    """The experiments that have no run, and the seeds that are lacking of the others."""
    missing = sorted(about.keys() - experiments.keys())
    for name, results in experiments.items():
        done = {result.seed for result in results}
        missing += [f"{name} seed {seed}" for seed in about.get(name, {}).get("seeds", []) if seed not in done]
    return missing


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


def _link(file: Path, out: Path) -> str:
    """The address of a file as seen from `out`."""
    if not file.is_file():
        raise BadInput(f"{file}: no such file, expected it for the report to link to")
    return quote(os.path.relpath(file, out.parent).replace(os.sep, "/"))


TABLE_FORMATS = {"CSV": ".csv", "Markdown": ".md", "LaTeX": ".tex"}
FIGURE_FORMATS = {"SVG": ".svg", "PDF": ".pdf", "PNG": ".png", "numbers as CSV": ".csv"}


def _formats(file: Path, formats: dict[str, str], out: Path) -> dict[str, str]:
    """The addresses of a table or figure in each of its formats, as seen from `out`."""
    return {name: _link(file.with_suffix(suffix), out) for name, suffix in formats.items()}


def _standing(row: dict[str, Any]) -> str:
    """How a row stands to the published figure, as the class of its badge."""
    return {"reproduced": "good", "short": "short"}.get(row["verdict"].split()[0], "open")


def template(name: str) -> Any:
    """A page to fill in, which may use what this module and texts.py say in filters."""
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
        "p_value": texts.p_value,
        "duration": texts.duration,
        "short": texts.short,
        "thousands": "{:,}".format,
        "cite": _cite,
    }
    environment.tests["known"] = pd.notna
    return environment.get_template(name)


def _cite(source: str) -> Markup:
    """A source with its arXiv number as a link."""
    link = Markup(r'<a href="https://arxiv.org/abs/\1">arXiv \1</a>')
    return Markup(re.sub(r"arXiv[: ](\d{4}\.\d{4,5})", link, str(escape(source))))
