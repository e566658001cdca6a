"""The `trm` command.

Logs go to stderr, results to stdout. Exit status: 0 done; 75 stopped early and resumable; 2 bad input, in one line;
1 a fault.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import yaml
from typer.exceptions import TyperException

from trm import __version__, config
from trm.files import BadInput, Fault, load_yaml

app = typer.Typer(
    help="Tiny Recursive Models, from raw puzzles to a report.\n\nLogs go to stderr, results to stdout. Exit status: "
    "0 done; 75 stopped early, to go on when called again; 2 bad input, told in one line; 1 another failure.",
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
Run = Annotated[Path, typer.Argument(help="folder of a finished run")]
Subset = Annotated[int | None, typer.Option(min=1, help="examples to score, evenly spaced; default: all")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="examples at a time; default: 512, or 64 on a CPU")]
MaxVariants = Annotated[
    int | None, typer.Option(min=1, help="variants of each test problem, the first ones; default: all")
]
HaltMaxSteps = Annotated[int | None, typer.Option(min=1, help="supervision steps; default: the model's")]
EarlyExit = Annotated[
    float | None, typer.Option(help="halting probability at which an example is done; default: it takes every step")
]
Device = Annotated[
    Literal["auto", "cpu", "cuda", "mps"], typer.Option("--device", help="auto: CUDA or Apple's GPU where there is one")
]

Runs = Annotated[list[Path], typer.Argument(help="folders of finished, evaluated runs")]
About = Annotated[
    str,
    typer.Option(help="what to say of experiments: a mapping of their names to description, published figure and base"),
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
    puzzle: Annotated[str, typer.Argument(help="name of a puzzle, such as sudoku")],
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
    seed: Annotated[int, typer.Option(min=0, help="of the first weights and of all draws")] = 0,
    time_budget: Annotated[
        float | None, typer.Option(min=0, help="minutes after which to save and end with status 75")
    ] = None,
    finish: Annotated[
        bool, typer.Option("--finish", help="at the end of --time-budget write the run as it stands, and end with 0")
    ] = False,
    device: Device = "auto",
    set: Overrides = None,
) -> None:
    """Train an experiment, or go on with one that was stopped.

    It goes on from its last checkpoint, to the same bits. Also under torchrun, one rank a GPU.
    """
    from trm.training.loop import train

    if finish and time_budget is None:
        raise BadInput("--finish: without a time budget a training ends with its last step, expected --time-budget")
    asked = read_experiment(experiment, set)
    status = train(asked, data[0], out, checkpoints, seed, time_budget, device, data[1:], finish)
    raise typer.Exit(status)


def evaluation_settings(context: typer.Context, **more: Any) -> config.Evaluation:
    """The `evaluation:` section that a command's options of the same names make, and `more`."""
    options = {key: value for key, value in context.params.items() if key in config.Evaluation.model_fields}
    return config.check_evaluation(options | more)


@app.command()
def evaluate(
    context: typer.Context,
    run: Run,
    data: Data,
    out: OutFolder,
    subset: Subset = None,
    batch_size: BatchSize = None,
    max_variants: MaxVariants = None,
    halt_max_steps: HaltMaxSteps = None,
    early_exit: EarlyExit = None,
    device: Device = "auto",
) -> None:
    """Score a finished run on the test set.

    Also under torchrun, for the same figures in less time.
    """
    from trm.distribution import join, leave, pick_device
    from trm.evaluation.evaluate import evaluate, headline

    settings = evaluation_settings(context)
    world = join(pick_device(device))
    result = evaluate(run, data, out, settings, world)
    for name, figure in result["figures"].items() if result else ():
        print(f"{name:20} {headline(figure)}")
    leave(world)


@app.command()
def scale(
    context: typer.Context,
    run: Run,
    data: Data,
    out: OutFolder,
    way: Annotated[
        list[str],
        typer.Option(metavar="MAPPING", help="such as '{rollouts: 16, latent_noise: 0.1}'; once for each way"),
    ],
    subset: Subset = None,
    batch_size: BatchSize = None,
    max_variants: MaxVariants = None,
    halt_max_steps: HaltMaxSteps = None,
    early_exit: EarlyExit = None,
    device: Device = "auto",
) -> None:
    """Test-time scaling: what more steps or runs gain, and cost.

    Each way runs the same weights for longer, or several times to choose from.
    """
    from trm.distribution import pick_device
    from trm.evaluation.evaluate import headline
    from trm.evaluation.scaling import scale

    settings = evaluation_settings(context, scaling=[read_mapping("--way", text) for text in way])
    for score in scale(run, data, out, settings, pick_device(device))["scores"]:
        cost = f"{score['rollouts']:4} x {score['steps']:3} steps, {score['steps_per_example']:7.1f} an example"
        print(f"{score['way']:30} {score['choice']:6} {cost}  {headline(score['figures']['exact_accuracy'])}")


@app.command()
def solve(
    run: Run,
    puzzle: Annotated[
        list[str] | None, typer.Argument(help="a puzzle as text, a file that holds it, or - (default): standard input")
    ] = None,
    trace: Annotated[bool, typer.Option("--trace", help="draw the answer after every supervision step")] = False,
    gif: Annotated[Path | None, typer.Option(dir_okay=False, help="animation of the steps to write")] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="folder of the run's dataset, for puzzles with a name (ARC's tasks)")
    ] = None,
    steps: HaltMaxSteps = None,
    device: Device = "auto",
) -> None:
    """Let a finished run answer puzzles.

    They are written as their players write them.

    A sudoku: its rows, with . for a blank. A maze: rows of #, space or ., S and G. N queens: rows of Q, and . for the
    rest. Skyscrapers: the rows with the clues around, . for nothing. Hanoi: the peg of each disk from the smallest,
    and the target peg, as in 1132>3. Arithmetic: the expression. Chess: FEN. ARC: the task's JSON.
    """
    from trm.distribution import pick_device
    from trm.evaluation.solve import puzzle_from, solve
    from trm.reporting.solutions import animate_solutions, check_gif, print_solutions

    arguments = puzzle or ["-"]
    if gif is not None:
        check_gif(gif, len(arguments))
    asked = [puzzle_from(argument) for argument in arguments]
    for each, solutions in solve(run, asked, data, steps, pick_device(device)):
        print_solutions(each, solutions, trace, named=len(asked) > 1)
        if gif is not None:
            animate_solutions(solutions, gif)


@app.command()
def merge(
    submissions: Annotated[list[Path], typer.Argument(help="submission.json of several runs")],
    out: Annotated[Path, typer.Option("--out", dir_okay=False, help="file for the merged submission")],
) -> None:
    """Merge ARC submissions into one.

    For each test input the two grids that the most of them give, first attempts first. A first attempt weighs 2, a
    second 1; of equals the one that comes first in the order of the files.
    """
    from trm.evaluation.submission import merge
    from trm.files import write_json

    merged = merge(submissions)
    write_json(out, merged, indent=None)
    print(f"{out}: {len(merged)} tasks of {len(submissions)} submissions")


@app.command()
def score(
    submission: Annotated[Path, typer.Argument(help="submission.json, in Kaggle's format")],
    solutions: Annotated[Path, typer.Argument(help="Kaggle's file of solutions, or a dataset's test_puzzles.json")],
    out: Annotated[Path | None, typer.Option("--out", dir_okay=False, help="file for a row a task, as CSV")] = None,
) -> None:
    """Score an ARC submission.

    The figure is the mean over tasks of the share of test inputs that its attempts solve.
    """
    from trm.evaluation.evaluate import headline
    from trm.evaluation.metrics import bootstrap
    from trm.evaluation.submission import score
    from trm.files import write_text

    table = score(submission, solutions)
    if out is not None:
        write_text(out, table.to_csv(index=False))
    for name in ("pass@1", "pass@2"):
        print(f"{name:16} {headline(bootstrap(table[name].to_numpy()))}")
    print(f"{'solved':16} {(table['pass@2'] == 1).sum():,} of {len(table):,} tasks")


@app.command("import")
def import_checkpoint(
    checkpoint: Annotated[
        str, typer.Argument(help="hf:REPOSITORY[@REVISION], or a published checkpoint: its file step_N, or its folder")
    ],
    out: OutFolder,
    published: Annotated[
        Path | None, typer.Option("--config", help="its all_config.yaml; default: the one beside it")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="folder of the dataset; default: the published one of that name")
    ] = None,
    set: Overrides = None,
) -> None:
    """Import a run from the hub, or a published checkpoint.

    It becomes a finished run, to use or to train on from.
    The hub is that of HF_ENDPOINT, and private repositories take the token in HF_TOKEN.
    """
    from trm.hub import import_checkpoint
    from trm.huggingface import SCHEME, import_run

    if checkpoint.startswith(SCHEME):
        if published is not None or data is not None or set:
            raise BadInput(f"{checkpoint}: --config, --data and --set are for published checkpoints, expected none")
        experiment = import_run(checkpoint, out)
    else:
        experiment = import_checkpoint(Path(checkpoint), published, out, data, set)
    print(f"{out}: {experiment.name}, {experiment.model.name} for {experiment.dataset.name}")


@app.command("push")
def push_run(
    run: Run,
    repository: Annotated[str, typer.Argument(help="USER/NAME on the Hugging Face hub; made where it is not there")],
    public: Annotated[bool, typer.Option("--public", help="for everyone to see; default: private")] = False,
    revision: Annotated[str | None, typer.Option(help="branch, made where it is not there; default: main")] = None,
    licence: Annotated[
        str | None, typer.Option("--license", help="of the weights, as the hub calls it, such as mit; default: unsaid")
    ] = None,
) -> None:
    """Upload a finished run to the Hugging Face hub.

    Its weights, configuration, provenance and figures, with a model card.
    It takes the token in HF_TOKEN, or that of `hf auth login`, and HF_ENDPOINT for another hub than huggingface.co.
    """
    from trm.huggingface import push

    print(push(run, repository, public, revision, licence))


@app.command("export")
def export_run(
    run: Annotated[Path, typer.Argument(help="folder of a finished run")],
    out: Annotated[Path, typer.Option("--out", dir_okay=False, help="file for the weights; the config goes beside it")],
    format: Annotated[Literal["published"], typer.Option(help="whose format: that of the papers' code")] = "published",
) -> None:
    """Write a finished run as a published checkpoint.

    Its weights and, beside them, all_config.yaml.
    """
    from trm.hub import export_run

    print(out, export_run(run, out), sep="\n")


@app.command()
def audit(
    data: Annotated[Path, typer.Argument(help="folder of a built dataset")],
    out: Annotated[Path | None, typer.Option(help="file for the result; default: standard output")] = None,
) -> None:
    """Look for test puzzles, or twins of them, in train.

    A twin is what a symmetry makes of a puzzle. Ends with status 1 where a dataset that claims to have none has some.
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
    """Write an online dataset as a stored one, or back.

    The examples are the same either way.
    """
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
    """Draw examples of a dataset.

    With --out as a picture, with --text in the terminal.
    """
    from trm.reporting.preview import preview, print_examples

    if text == (out is not None):
        raise BadInput("trm show: expected either --out PICTURE or --text")
    if out is not None:
        preview(data, out, split, index)
    else:
        print_examples(data, split, index)


@app.command()
def figure(
    kind: Annotated[
        str,
        typer.Argument(
            help="learning-curve, time-to-accuracy, accuracy-by-step, steps-used, calibration, accuracy-by-difficulty, "
            "test-time-scaling, gallery, or of ARC pass-at-k or embedding-cosine"
        ),
    ],
    runs: Runs,
    out: Out,
) -> None:
    """Draw a figure of an experiment's runs.

    As SVG, PDF and PNG, with its numbers as CSV.
    """
    from trm.reporting.figures import draw_figure

    draw_figure(kind, runs, out)


@app.command()
def table(runs: Runs, out: Out, about: About = "{}") -> None:
    """Tabulate the figures of runs beside the published ones.

    As CSV, Markdown and LaTeX.
    """
    from trm.reporting.tables import results_table, write_table

    write_table(results_table(runs, read_mapping("--about", about)), out)


@app.command()
def compare(
    runs: Runs,
    out: Annotated[
        Path | None, typer.Option(help="CSV file for the table, .md and .tex beside it; default: print")
    ] = None,
) -> None:
    """Compare runs on the test puzzles that they share.

    Those of different experiments, pair by pair.
    """
    from trm.reporting.comparisons import comparisons, sentence, write_comparisons

    frame = comparisons(runs)
    if out is not None:
        write_comparisons(frame, out)
    elif len(frame):
        print(*(sentence(row) for _, row in frame.iterrows()), sep="\n")
    else:
        print("nothing to compare: no two experiments were scored on the same rows of the same data")


@app.command()
def diff(
    first: Annotated[Path, typer.Argument(help="folder of a finished run")],
    second: Annotated[Path, typer.Argument(help="folder of another one")],
) -> None:
    """Show what differs between two runs.

    Their configuration, their data, how they came about, their figures.
    """
    from trm.operations.columns import columns
    from trm.reporting.diff import diff

    print(columns(diff(first, second)))


@app.command()
def scaling_table(runs: Runs, out: Out) -> None:
    """Tabulate what `trm scale` found.

    As CSV, Markdown and LaTeX.
    """
    from trm.reporting.scaling import scaling_table, write_scaling_table

    write_scaling_table(scaling_table(runs), out)


@app.command()
def ablation_table(runs: Runs, out: Out, about: About = "{}") -> None:
    """Tabulate what ablations gain or lose.

    Runs beside those of the "base" in --about, as CSV, Markdown and LaTeX.
    """
    from trm.reporting.ablations import ablations, write_ablations

    write_ablations(ablations(runs, read_mapping("--about", about)), out)


@app.command()
def audit_table(
    datasets: Annotated[list[Path], typer.Argument(help="folders of audited datasets")],
    out: Out,
) -> None:
    """Tabulate what `trm audit` found.

    As CSV, Markdown and LaTeX.
    """
    from trm.reporting.audits import audits_table, write_audits

    write_audits(audits_table(datasets), out)


@app.command()
def explore(
    run: Annotated[Path, typer.Argument(help="folder of a finished, evaluated run")],
    data: Data,
    out: Annotated[Path, typer.Option("--out", dir_okay=False, help="the page, an HTML file")],
    puzzles: Annotated[int, typer.Option(min=4, help="test puzzles on it")] = 100,
    device: Device = "auto",
) -> None:
    """Write a page to step through a run's answers.

    It shows test puzzles with the answer after every step, and needs nothing else.
    """
    from trm.distribution import pick_device
    from trm.reporting.explorer import explore

    found = explore(run, data, out, puzzles, pick_device(device))
    print(f"{out}:", ", ".join(f"{count} {kind}" for kind, count in found.items()))


@app.command()
def report(
    runs: Runs,
    data: Annotated[list[Path], typer.Option("--data", help="folder of a dataset, audited and previewed")],
    figures: Annotated[Path, typer.Option(help="folder of the figures")],
    table: Annotated[Path, typer.Option(help="the table of results, as CSV")],
    comparisons: Annotated[Path, typer.Option(help="the table of comparisons, as CSV")],
    out: Out,
    ablations: Annotated[Path | None, typer.Option(help="the table of ablations, as CSV; default: none")] = None,
    scaling: Annotated[Path | None, typer.Option(help="the table of test-time scaling, as CSV; default: none")] = None,
    audit: Annotated[Path | None, typer.Option(help="the table of audits, as CSV; default: none")] = None,
    explorer: Annotated[Path | None, typer.Option(help="folder of the pages of `trm explore`; default: none")] = None,
    about: About = "{}",
) -> None:
    """Write the report: one page with everything in it."""
    from trm.reporting.report import report

    said = read_mapping("--about", about)
    more = {"ablations": ablations, "scaling": scaling, "audit": audit, "explorer": explorer}
    report(runs, data, figures, table, comparisons, out, said, **more)


@app.command()
def partial_report(
    out: Out,
    run: Annotated[list[Path] | None, typer.Option(help="folder of a finished, evaluated run")] = None,
    data: Annotated[
        list[Path] | None, typer.Option("--data", help="folder of a dataset, audited and previewed")
    ] = None,
    about: About = "{}",
) -> None:
    """Write the report of what is finished so far.

    With tables and figures of its own beside it.
    """
    from trm.reporting.partial import partial_report

    partial_report(run or [], data or [], out, read_mapping("--about", about))


def read_mapping(option: str, text: str) -> dict:
    try:
        found = yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError):
        found = None
    if not isinstance(found, dict):
        raise BadInput(f"{option} {text!r}: expected a mapping in YAML")
    return found


@app.command()
def schema(kind: Annotated[Literal["experiment", "config", "keys"], typer.Argument(help="of which file")]) -> None:
    """Print the JSON schema of the configuration, or its keys.

    Of experiment files or of config/config.yaml; or all keys of both as Markdown.
    """
    print(config.reference() if kind == "keys" else json.dumps(config.json_schema(kind), indent=2))


@app.command()
def doctor(set: Overrides = None) -> None:
    """Look for what would stop a run on this machine.

    Run it in the folder of the checkout and where the runs will be: on the login node and in a GPU job. It names a
    remedy each, and ends with status 1 where it finds a problem.
    """
    from trm.operations.columns import columns
    from trm.operations.doctor import doctor
    from trm.operations.project import Project

    findings = list(doctor(Project(Path(), tuple(set or ()))))
    print(columns([finding.state, finding.about, finding.found] for finding in findings))
    for finding in findings:
        if finding.state != "ok":
            print(f"\n{finding.about}: {finding.found}\n    {finding.remedy}")
    raise typer.Exit(any(finding.state == "problem" for finding in findings))


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="for scripts: a list of runs with all that is known")] = False,
    set: Overrides = None,
) -> None:
    """Say where every run stands, and how its last job ended.

    And who holds it. Run it in the folder of the checkout.
    """
    from dataclasses import asdict

    from trm.operations.project import Project
    from trm.operations.status import status, table

    runs = status(Project(Path(), tuple(set or ())))
    print(json.dumps([asdict(run) for run in runs], indent=2) if as_json else table(runs))


@app.command()
def estimate(
    experiment: ExperimentFile,
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", help="folder of each built dataset, in order; default: where the workflow builds them"),
    ] = None,
    measure: Annotated[bool, typer.Option("--measure", help="measure the speed of this device on a few steps")] = False,
    tflops: Annotated[
        float | None, typer.Option(min=0.001, help="speed of a GPU in TFLOP/s, as measured on another machine")
    ] = None,
    device: Device = "auto",
    set: Overrides = None,
) -> None:
    """Say what an experiment will take: hours, memory, disk.

    Before it is submitted. Hours need the speed of a GPU: --measure or --tflops.
    """
    from trm.operations.estimate import estimate, lines, measured
    from trm.operations.project import Project

    if measure and tflops is not None:
        raise BadInput("trm estimate: expected --measure or --tflops, not both")
    asked = read_experiment(experiment, set)
    folders = data or Project(Path()).built(asked)
    found = estimate(asked, folders)
    rate = measured(asked, folders[0], device) if measure else None
    print(*lines(found, rate, tflops), sep="\n")


@app.command()
def prune(
    delete: Annotated[bool, typer.Option("--delete", help="delete what is listed as stale")] = False,
    set: Overrides = None,
) -> None:
    """List the checkpoints that no configuration asks for.

    With --delete it deletes them.
    """
    from trm.operations import prune
    from trm.operations.project import Project

    found = prune.find(Project(Path(), tuple(set or ())))
    print(*prune.lines(found), sep="\n")
    if delete:
        for each in prune.delete(found):
            print(f"deleted {each.folder}")


bench = typer.Typer(help="Measure builders, training, evaluation and voting.", no_args_is_help=True)
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
    """Speed and memory of training steps.

    Beside the time of their matrix products alone.
    """
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


@bench.command("evaluate")
def bench_evaluate(
    run: Run,
    data: Data,
    early_exit: Annotated[
        list[float] | None, typer.Option(help="halting probability at which an example is done; once for each to try")
    ] = None,
    subset: Subset = None,
    batch_size: BatchSize = None,
    rounds: Annotated[int, typer.Option(min=1, help="rounds to measure, in each of which all take their turn")] = 5,
    device: Device = "auto",
    compile: Annotated[
        Literal["auto", "both", "eager", "compiled"],
        typer.Option(help="of the blocks, where every example takes every step; auto: as `trm evaluate` does"),
    ] = "auto",
    dtype: Annotated[
        Literal["auto", "both", "bfloat16", "float32"], typer.Option(help="of the activations; auto: the run's own")
    ] = "auto",
) -> None:
    """Test examples per second of a finished run.

    Plain and with early exit, and the share of their products in it.
    """
    from trm.bench.evaluate import bench_evaluate
    from trm.distribution import pick_device
    from trm.evaluation.evaluate import headline

    for threshold in early_exit or []:
        config.check_evaluation({"early_exit": threshold})
    modes = {"auto": None, "both": ["eager", "compiled"]}.get(compile, [compile])
    dtypes = {"auto": None, "both": ["bfloat16", "float32"]}.get(dtype, [dtype])
    how = (early_exit or [0.9], dtypes, modes, subset, batch_size, rounds, pick_device(device))
    print(f"{'':20} {'type':8} {'mode':8} {'examples/s':>10} {'speed':>6} ", end="")
    print(f"{'floor/step':>10} {'steps':>6}  exact accuracy", flush=True)
    for m in bench_evaluate(run, data, *how):
        row = f"{m.name:20} {m.dtype:8} {m.mode:8} {m.rate:10.1f} {m.speed:6.2f} {m.floor:10.1%} {m.mean_steps:6.2f}"
        print(f"{row}  {headline(m.exact_accuracy)}", flush=True)


@bench.command("votes")
def bench_votes(
    tasks: Annotated[int, typer.Option(min=1, help="tasks, with one test input each")] = 400,
    variants: Annotated[int, typer.Option(min=1, help="predictions for each of them")] = 1000,
) -> None:
    """Time and peak memory of ARC's voting.

    From predictions to a submission.
    """
    from trm.bench.voting import bench_votes

    print(
        f"{'case':14} {'predictions':>11} {'answers':>8} {'counting s':>10} {'ranking s':>9} {'peak MB':>8}", flush=True
    )
    for m in bench_votes(tasks, variants):
        row = f"{m.name:14} {m.predictions:11,} {m.answers:8,} {m.counting:10.1f} {m.ranking:9.1f} {m.peak_mb:8.0f}"
        print(row, flush=True)


@bench.command("digest")
def bench_digest(data: Annotated[Path, typer.Argument(help="folder of a built ARC dataset")]) -> None:
    """Hold an ARC build against the published one.

    All examples but for their random shifts, against arc1concept-aug-1000.
    """
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
    except (MemoryError, RuntimeError) as error:
        from trm.models.hardware import out_of_memory

        if not out_of_memory(error):
            raise
        status = fail("out of memory", 1)
    sys.exit(status)


def fail(message: str, status: int) -> int:
    print(f"trm: {' '.join(message.split())}", file=sys.stderr)
    return status
