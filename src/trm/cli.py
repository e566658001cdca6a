"""The `trm` command.

Logs go to stderr, results to stdout. Exit status: 0 done; 75 stopped early and resumable; 2 bad input, in one line;
1 a fault.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
import yaml
from typer.exceptions import TyperException

from trm import __version__, config
from trm.files import BadInput, Fault, load_yaml

app = typer.Typer(
    help="Tiny Recursive Models, from raw puzzles to a report.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

ExperimentFile = Annotated[
    str, typer.Argument(metavar="EXPERIMENT", help="experiment file, or a {mapping} written out")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="override a key, such as training.lr=1.0e-3")
]
Data = Annotated[Path, typer.Option("--data", help="folder of a built dataset")]
Out = Annotated[Path, typer.Option("--out", help="where the result goes")]
OutFolder = Annotated[Path, typer.Option("--out", file_okay=False, resolve_path=True, help="folder for the result")]
Device = Annotated[
    Literal["auto", "cpu", "cuda", "mps"], typer.Option("--device", help="auto: CUDA or Apple's GPU where there is one")
]

Runs = Annotated[list[Path], typer.Argument(help="folders of finished, evaluated runs")]
About = Annotated[
    str, typer.Option(help="what to say of experiments: a mapping of their names to description and published figure")
]


def read_experiment(source: str, overrides: list[str] | None) -> config.Experiment:
    """The experiment in a file, or written out as a YAML mapping such as {name: ..., dataset: ...}."""
    if not source.startswith("{"):
        return config.load(Path(source), overrides)
    try:
        return config.check(load_yaml(source), "experiment", overrides)
    except (ValueError, RecursionError, yaml.YAMLError):
        raise BadInput(f"experiment {source[:40]!r}...: not valid YAML, expected a mapping") from None


@app.callback(invoke_without_command=True)
def top(version: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def download(
    puzzle: Annotated[str, typer.Argument(help="name of a puzzle")],
    out: OutFolder,
    files: Annotated[list[str] | None, typer.Argument(help="names of raw files; default: all")] = None,
) -> None:
    """Fetch a puzzle's raw files, checked by hash."""
    from trm.data.download import download

    if puzzle not in config.puzzle_names():
        raise BadInput(f"{puzzle}: unknown puzzle, expected one of {', '.join(config.puzzle_names())}")
    print(*download(puzzle, files or [], out), sep="\n")


@app.command()
def build(experiment: ExperimentFile, out: OutFolder, set: Overrides = None) -> None:
    """Build the dataset of an experiment."""
    from trm.data.build import build

    facts = build(read_experiment(experiment, set).dataset, out)
    print(json.dumps({"content_sha256": facts["content_sha256"], **facts["splits"]}))


@app.command()
def train(
    experiment: ExperimentFile,
    data: Annotated[
        list[Path], typer.Option("--data", help="folder of the built dataset; once more for each of more_datasets")
    ],
    out: OutFolder,
    checkpoints: Annotated[Path | None, typer.Option(help="folder for checkpoints; default: beside --out")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    time_budget: Annotated[
        float | None, typer.Option(min=0, help="minutes after which to save and end with status 75")
    ] = None,
    device: Device = "auto",
    set: Overrides = None,
) -> None:
    """Train an experiment, or go on with it: a run that was stopped resumes from its last checkpoint."""
    from trm.training.loop import train

    status = train(read_experiment(experiment, set), data[0], out, checkpoints, seed, time_budget, device, data[1:])
    raise typer.Exit(status)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="folder of a finished run")],
    data: Data,
    out: OutFolder,
    subset: Annotated[int | None, typer.Option(min=1, help="examples to score, evenly spaced; default: all")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="examples at a time")] = 512,
    max_variants: Annotated[
        int | None, typer.Option(min=1, help="variants of each test problem, the first ones; default: all")
    ] = None,
    halt_max_steps: Annotated[int | None, typer.Option(min=1, help="supervision steps; default: the model's")] = None,
    device: Device = "auto",
) -> None:
    """Score a finished run on the test set."""
    from trm.evaluation.evaluate import evaluate, headline
    from trm.training.distribution import pick_device

    settings = config.Evaluation(
        subset=subset, batch_size=batch_size, max_variants=max_variants, halt_max_steps=halt_max_steps
    )
    result = evaluate(run, data, out, settings, pick_device(device))
    for name, figure in result["figures"].items():
        print(f"{name:16} {headline(figure)}")


@app.command("import")
def import_checkpoint(
    checkpoint: Annotated[Path, typer.Argument(help="published checkpoint: its file step_N, or the folder of it")],
    out: OutFolder,
    published: Annotated[
        Path | None, typer.Option("--config", help="its all_config.yaml; default: the one beside it")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="folder of the dataset; default: the published one of that name")
    ] = None,
    set: Overrides = None,
) -> None:
    """Turn a published checkpoint into a finished run, to evaluate or to train on from."""
    from trm.hub import import_checkpoint

    experiment = import_checkpoint(checkpoint, published, out, data, set)
    print(f"{out}: {experiment.name}, {experiment.model.name} for {experiment.dataset.name}")


@app.command("export")
def export_run(
    run: Annotated[Path, typer.Argument(help="folder of a finished run")],
    out: Annotated[Path, typer.Option("--out", dir_okay=False, help="file for the weights; the config goes beside it")],
    format: Annotated[Literal["published"], typer.Option(help="whose format: that of the papers' code")] = "published",
) -> None:
    """Write a finished run as a published checkpoint: its weights and, beside them, all_config.yaml."""
    from trm.hub import export_run

    print(out, export_run(run, out), sep="\n")


@app.command()
def audit(
    data: Annotated[Path, typer.Argument(help="folder of a built dataset")],
    out: Annotated[Path | None, typer.Option(help="file for the result; default: standard output")] = None,
) -> None:
    """Look for test puzzles, or symmetric twins of them, in the training set.

    Ends with status 1 where a dataset that is made to be free of them is not.
    """
    from trm.data.audit import audit
    from trm.files import write_json

    result = audit(data)
    if out is None:
        print(json.dumps(result, indent=2))
    else:
        write_json(out, result)
    if result["claims_clean"] and not result["clean"]:
        raise Fault(f"{data}: test problems stand in train ({result['twins_in_train']}), expected none of this dataset")


@app.command()
def materialize(data: Annotated[Path, typer.Argument(help="folder of a built dataset")], out: OutFolder) -> None:
    """Write an online dataset as a stored one, or the other way round: the same examples either way."""
    from trm.data.build import materialize

    facts = materialize(data, out)
    print(json.dumps({"content_sha256": facts["content_sha256"], **facts["splits"]}))


@app.command()
def show(
    data: Annotated[Path, typer.Argument(help="folder of a built dataset")],
    out: Annotated[Path | None, typer.Option(help="picture to draw: PNG, SVG or PDF")] = None,
    split: Annotated[Literal["train", "validation", "test"], typer.Option(help="which part of it")] = "train",
    index: Annotated[int | None, typer.Option(min=0, help="one example, by its row; default: a dozen")] = None,
    text: Annotated[bool, typer.Option("--text", help="draw in the terminal")] = False,
) -> None:
    """Draw examples of a dataset, as a picture or in the terminal."""
    from trm.reporting.preview import preview, print_examples

    if text == (out is not None):
        raise BadInput("trm show: expected either --out PICTURE or --text")
    if out is not None:
        preview(data, out, split, index)
    else:
        print_examples(data, split, index)


@app.command()
def figure(
    kind: Annotated[str, typer.Argument(help="learning-curve, accuracy-by-step or gallery")], runs: Runs, out: Out
) -> None:
    """Draw a figure of an experiment's runs as SVG, PDF and PNG, with its numbers as CSV."""
    from trm.reporting.figures import draw_figure

    draw_figure(kind, runs, out)


@app.command()
def table(runs: Runs, out: Out, about: About = "{}") -> None:
    """Tabulate the figures of runs as CSV and Markdown, beside the published ones."""
    from trm.reporting.tables import results_table, write_table

    write_table(results_table(runs, read_about(about)), out)


@app.command()
def report(
    runs: Runs,
    data: Annotated[list[Path], typer.Option("--data", help="folder of a dataset, audited and previewed")],
    figures: Annotated[Path, typer.Option(help="folder of the figures")],
    table: Annotated[Path, typer.Option(help="the table of results, as CSV")],
    out: Out,
    about: About = "{}",
) -> None:
    """Write the report: one page with everything in it."""
    from trm.reporting.report import report

    report(runs, data, figures, table, out, read_about(about))


def read_about(text: str) -> dict:
    try:
        about = yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError):
        about = None
    if not isinstance(about, dict):
        raise BadInput(f"--about {text!r}: expected a mapping of experiments")
    return about


@app.command()
def schema(kind: Annotated[Literal["experiment", "config", "keys"], typer.Argument(help="of which file")]) -> None:
    """Print the JSON schema of experiment files or of config/config.yaml, or all their keys as Markdown."""
    print(config.reference() if kind == "keys" else json.dumps(config.json_schema(kind), indent=2))


bench = typer.Typer(help="Measure: builders, training.", no_args_is_help=True)
app.add_typer(bench, name="bench")


@bench.command("data")
def bench_data(
    cases: Annotated[list[str] | None, typer.Argument(help="which builders; default: all")] = None,
    raw: Annotated[
        Path | None, typer.Option(envvar="TRM_RAW_DATA", help="folder with one folder of raw files per puzzle")
    ] = None,
) -> None:
    """Time, peak memory and disk of every dataset's builder."""
    from trm.bench.data import bench_data

    print(f"{'builder':20} {'seconds':>8} {'peak MB':>8} {'disk MB':>8} {'examples':>10}", flush=True)
    for b in bench_data(cases or [], raw):
        row = f"{b.name:20} {b.seconds:8.1f} {b.peak_mb:8.0f} {b.disk_mb:8.1f} {b.examples:10,}"
        print(row, flush=True)


@bench.command("train")
def bench_train(
    cases: Annotated[list[str] | None, typer.Argument(help="which networks and boards; default: all")] = None,
    experiment: Annotated[Path | None, typer.Option(help="an experiment file instead")] = None,
    data: Annotated[Path | None, typer.Option(help="folder of its built dataset")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="rows of a step; default: the case's")] = None,
    steps: Annotated[int, typer.Option(min=1, help="steps to measure")] = 5,
    device: Device = "auto",
    compile: Annotated[Literal["both", "eager", "compiled"], typer.Option(help="of the blocks")] = "both",
    dtype: Annotated[Literal["both", "bfloat16", "float32"], typer.Option(help="of the activations")] = "both",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: torch's")] = None,
    parts: Annotated[bool, typer.Option("--parts", help="parts of a step, and what it does besides products")] = False,
    loop: Annotated[bool, typer.Option("--loop", help="the training loop against bare steps")] = False,
    prefix: Annotated[bool, typer.Option("--prefix", help="a step without the puzzle embedding's positions")] = False,
    set: Overrides = None,
) -> None:
    """Speed and memory of training steps, beside the time of their matrix products alone."""
    from trm.bench.train import bench_train, details

    modes = ["eager", "compiled"] if compile == "both" else [compile]
    dtypes = ["bfloat16", "float32"] if dtype == "both" else [dtype]
    how = {"steps": steps, "threads": threads, "parts": parts, "loop": loop, "prefix": prefix}
    print(f"{'case':20} {'type':8} {'mode':8} {'rows':>4} {'step ms':>8} {'rows/s':>8} {'GFLOP/s':>8} ", end="")
    print(f"{'floor ms':>8} {'floor/step':>10} {'step MB':>8} {'peak MB':>8}", flush=True)
    for m in bench_train(cases or [], experiment, data, dtypes, modes, batch, device, set or [], **how):
        row = f"{m.name:20} {m.dtype:8} {m.mode:8} {m.batch:4} {1e3 * m.seconds:8.1f} {m.batch / m.seconds:8.1f} "
        row += f"{m.flops / m.seconds / 1e9:8.0f} {1e3 * m.floor:8.1f} {m.share:10.1%} "
        row += f"{m.step_bytes / 1e6:8.1f} {m.peak_bytes / 1e6:8.0f}"
        print(row, *details(m), sep="\n    ", flush=True)


@bench.command("digest")
def bench_digest(data: Annotated[Path, typer.Argument(help="folder of a built ARC dataset")]) -> None:
    """Hold the examples of an ARC build, but for their random shifts, against the published arc1concept-aug-1000."""
    from trm.bench.digest import PUBLISHED, digest

    for split, published in PUBLISHED.items():
        found = digest(data / split)
        print(split, found, "as published" if found == published else f"published: {published}", flush=True)


def main() -> None:
    """Run a command and end with its status; whatever goes wrong is told in one line."""
    try:
        status = app(standalone_mode=False)
    except typer.Abort:
        status = fail("interrupted", 1)
    except TyperException as error:
        status = fail(error.format_message(), 2)
    except Fault as error:
        status = fail(str(error), error.status)
    except OSError as error:
        status = fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), 1)
    sys.exit(status)


def fail(message: str, status: int) -> int:
    print(f"trm: {' '.join(message.split())}", file=sys.stderr)
    return status
