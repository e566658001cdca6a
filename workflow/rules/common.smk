import json
import os
import shlex
import sys
from pathlib import Path

from snakemake.logging import logger
from trm.config import load_folder, puzzle_names
from trm.files import BadInput, fingerprint
from trm.puzzles import module as puzzle_module
from trm.training.starts import killed
from trm.trees import read as read_tree

ARRAYS = [
    "inputs",
    "labels",
    "puzzle_identifiers",
    "puzzle_indices",
    "group_indices",
    "variants",
]
FIGURES = [
    "learning-curve",
    "time-to-accuracy",
    "accuracy-by-step",
    "steps-used",
    "calibration",
    "accuracy-by-difficulty",
    "test-time-scaling",
    "pass-at-k",
    "embedding-cosine",
    "gallery",
]
RAW_DATA = config["raw_data"] or os.environ.get("TRM_RAW_DATA")
if RAW_DATA and not Path(RAW_DATA).is_dir():
    raise WorkflowError(
        f"raw_data: {RAW_DATA} is no folder, expected one with a folder of raw files per puzzle"
    )


def with_raw_data(experiment):
    """The experiment with the folders of raw files at hand for its puzzles, where there are any."""
    first, *others = map(with_raw_folder, experiment.datasets)
    return experiment.model_copy(update={"dataset": first, "more_datasets": others})


def with_raw_folder(dataset):
    """The dataset section with the folder of raw files at hand for its puzzle, where there is one."""
    folder = Path(RAW_DATA or "") / dataset.puzzle
    if dataset.raw or not RAW_DATA or not folder.is_dir():
        return dataset
    return dataset.model_copy(update={"raw": folder})


def load_experiments():
    """The experiments of each file of config/experiments, checked, by name: one or, of a sweep, several."""
    try:
        files = load_folder(
            Path("config/experiments"),
            config["set"],
            Path("config/smoke.yaml") if SMOKE else None,
        )
    except BadInput as error:
        raise WorkflowError(str(error)) from None
    for file, experiments in files.items():
        for found in experiments:
            check_ranks(file, found)
    return {
        file: {found.name: with_raw_data(below_smoke(found)) for found in experiments}
        for file, experiments in files.items()
    }


def check_ranks(file, experiment):
    """A batch that does not divide among the GPUs is told here, not by a job that has waited for them."""
    batch, resources = experiment.training.global_batch_size, experiment.resources
    ranks = max(1, resources.gpus) * resources.nodes
    if batch % ranks:
        raise WorkflowError(
            f"config/experiments/{file}.yaml: training.global_batch_size: {batch} rows do not divide among the "
            f"{ranks} GPUs of resources"
        )


def below_smoke(experiment):
    """The experiment, but in a smoke run it starts from the smoke run of its parent."""
    init = experiment.training.init
    if not SMOKE or init is None or init.parts[:1] != ("results",):
        return experiment
    training = experiment.training.model_copy(
        update={"init": Path(SMOKE, *init.parts[1:])}
    )
    return experiment.model_copy(update={"training": training})


def chosen():
    """The experiments that the configuration names, themselves or by their file; in a smoke run one of each kind."""
    if SMOKE:
        kinds = {}
        for name in REACHED:
            found = EXPERIMENTS[name]
            kind = (found.dataset.puzzle, found.model.name, found.training.trained)
            kinds.setdefault(kind, name)
        return list(kinds.values())
    named = {name: [name] for name in EXPERIMENTS} | FILES
    for name in config["experiments"]:
        if name not in named:
            raise WorkflowError(
                f"config: experiments: {name} is unknown, expected one of {', '.join(named)}"
            )
    return list(
        dict.fromkeys(one for name in config["experiments"] for one in named[name])
    )


def out_of_reach():
    """The experiments whose raw files, or those of the runs that they start from, are not at hand, and which file."""
    missing = {}
    for name in EXPERIMENTS:
        for other in (name, *ancestors(name)):
            for dataset in EXPERIMENTS[other].datasets:
                for file in raw_files_of(dataset):
                    if not Path(file).exists():
                        missing.setdefault(name, f"{dataset.puzzle}/{Path(file).name}")
    return missing


def ancestors(name):
    """The experiments that a training starts from a run of, nearest first; other folders stand for themselves."""
    found = [name]
    while init := EXPERIMENTS[found[-1]].training.init:
        *_, runs, parent, seed = ("", "", *Path(init).parts)
        if runs != "runs" or parent not in EXPERIMENTS or parent in found:
            break
        found.append(parent)
    return found[1:]


def raw_files_of(dataset):
    """The raw files a dataset is built from: those at hand, or downloads."""
    names = puzzle_module(dataset.puzzle).raw_files(dataset)
    return [
        f"{dataset.raw or f'<results>/raw/{dataset.puzzle}'}/{name}" for name in names
    ]


def base_of(name):
    """What an experiment is an ablation of: the nearest of those chosen that its file extends, or its sweep's first."""
    file = next(file for file in FILES if name in FILES[file])
    itself, *extended = read_tree(Path("config/experiments", f"{file}.yaml")).written
    nearest = [FILES[path.stem][0] for path, _ in (*extended, itself)]
    return next((base for base in nearest if base in CHOSEN and base != name), None)


SMOKE = config["smoke"]
LOADED = load_experiments()
FILES = {file: list(experiments) for file, experiments in LOADED.items()}
EXPERIMENTS = {
    name: found
    for experiments in LOADED.values()
    for name, found in experiments.items()
}
DATASETS = {
    dataset.name: dataset
    for experiment in EXPERIMENTS.values()
    for dataset in experiment.datasets
}
OUT_OF_REACH = out_of_reach() if SMOKE else {}
if any(argument.startswith("smoke") for argument in sys.argv[1:]):
    for file in dict.fromkeys(OUT_OF_REACH.values()):
        without = [name for name in OUT_OF_REACH if OUT_OF_REACH[name] == file]
        logger.warning(
            f"raw_data has no {file}: smoke run without {', '.join(without)}"
        )
REACHED = [name for name in EXPERIMENTS if name not in OUT_OF_REACH]
CHOSEN = chosen()
TRAINED = REACHED if SMOKE else CHOSEN
BASES = {name: base for name in CHOSEN if (base := base_of(name))}
SCALED = [name for name in CHOSEN if EXPERIMENTS[name].evaluation.scaling]
TARGETS = (
    {name: [name] for name in EXPERIMENTS}
    | FILES
    | {
        puzzle: [
            name
            for name, experiment in EXPERIMENTS.items()
            if experiment.dataset.puzzle == puzzle
        ]
        for puzzle in puzzle_names()
    }
)


wildcard_constraints:
    experiment="|".join(EXPERIMENTS),
    dataset="|".join(DATASETS),
    puzzle="|".join(puzzle_names()),
    seed=r"\d+",
    kind="|".join(FIGURES),


def one_of(experiments):
    """A constraint of the wildcard experiment to some of them, which may be none."""
    return "|".join(experiments) or "(?!)"


def dataset_folders(name):
    """Folders of the datasets that an experiment trains on."""
    return [
        f"<results>/datasets/{dataset.name}" for dataset in EXPERIMENTS[name].datasets
    ]


def files_of_dataset(folder):
    """The files of the dataset in a folder."""
    splits = [
        f"{folder}/{split}/{part}"
        for split in ("train", "test")
        for part in ("dataset.json", *(f"all__{array}.npy" for array in ARRAYS))
    ]
    return [f"{folder}/provenance.json", *splits]


def dataset_files(wildcards):
    """The files of the dataset that an experiment is scored on, the first one it trains on."""
    return files_of_dataset(dataset_folders(wildcards.experiment)[0])


def all_dataset_files(wildcards):
    """The files of the datasets that an experiment trains on, in their order."""
    folders = dataset_folders(wildcards.experiment)
    return [file for folder in folders for file in files_of_dataset(folder)]


def data_options(wildcards, input):
    """Where `trm train` finds the datasets, in their order."""
    folders = [
        Path(file).parent for file in input.data if Path(file).name == "provenance.json"
    ]
    return " ".join(f"--data {folder}" for folder in folders)


def dataset_parts(name):
    """What is made of an experiment's datasets besides themselves."""
    return [
        f"{folder}/{part}"
        for folder in dataset_folders(name)
        for part in ("audit.json", "preview.png")
    ]


def init_files(wildcards):
    """What a training reads of the run that it starts from, where it does."""
    init = EXPERIMENTS[wildcards.experiment].training.init
    return [f"{init}/{part}" for part in ("model.safetensors", "config.yaml") if init]


def raw_files(wildcards):
    """The raw files of the dataset that is built."""
    return raw_files_of(DATASETS[wildcards.dataset])


def all_raw_files():
    """Those of all datasets that the chosen experiments train on, and the runs that they start from."""
    names = {other for name in CHOSEN for other in (name, *ancestors(name))}
    datasets = [dataset for name in names for dataset in EXPERIMENTS[name].datasets]
    return sorted({file for dataset in datasets for file in raw_files_of(dataset)})


def raw_option(wildcards, input):
    """Where `trm build` finds the raw files."""
    return f"--set dataset.raw={Path(input.raw[0]).parent}" if input.raw else ""


def dataset_experiment(wildcards):
    """The dataset section, as a command-line argument."""
    dataset = DATASETS[wildcards.dataset].model_dump(mode="json", exclude={"raw"})
    return json.dumps({"name": "dataset", "dataset": dataset})


def training_sections(name):
    """What shapes a run, as a command-line argument: editing anything else reruns nothing."""
    sections = EXPERIMENTS[name].model_dump(
        mode="json", include={"name", "dataset", "more_datasets", "model", "training"}
    )
    for section in (sections["dataset"], *sections["more_datasets"]):
        section.pop("raw")
    return json.dumps(sections)


def started_from(name):
    """A hash of what shapes the runs that a training starts from: see `shaped_by`."""
    return fingerprint(list(map(training_sections, ancestors(name))))[:16]


def shaped_by(names, scaling=False):
    """A hash of what shapes the runs of some experiments and their scores, for the params of rules that read them.

    With `scaling` also of the ways to scale, for rules that read what came of them.

    Without it a training that a changed configuration asks for, and that fails, would be forgotten: Snakemake does not
    miss the input of an output that is there.
    """
    return fingerprint(
        [
            (
                training_sections(name),
                started_from(name),
                evaluation_options(name),
                *(scaling_options(name) if scaling else []),
            )
            for name in names
        ]
    )[:16]


def about(names):
    """What tables and report say of experiments besides their runs, as a command-line argument."""
    found = {}
    for name in names:
        experiment = EXPERIMENTS[name]
        published = experiment.published and experiment.published.model_dump(
            by_alias=True, exclude_none=True
        )
        found[name] = {
            "description": experiment.description,
            "published": published,
            "base": BASES.get(name),
        }
    return json.dumps(found)


def about_seeds(names):
    """What `about` says and which seeds the experiments have: a report of some runs names those that it lacks."""
    found = json.loads(about(names))
    for name in names:
        found[name]["seeds"] = EXPERIMENTS[name].seeds
    return json.dumps(found)


def folders(files):
    """The folders that files lie in."""
    return sorted({str(Path(file).parent) for file in files})


def finished():
    """Options of `trm partial-report` for what there is: runs that are scored, datasets that are audited.

    And when the runs were scored. A score that is older than its run is that of the run before.
    """
    results, runs = Path(SMOKE or workflow.pathvars.apply("<results>")), []
    for name in CHOSEN:
        for path in run_folders(name):
            folder = results / path.removeprefix("<results>/")
            run, score = folder / "provenance.json", folder / "evaluation.json"
            there = (
                run.is_file()
                and score.is_file()
                and (folder / "predictions.npz").is_file()
            )
            if there and score.stat().st_mtime >= run.stat().st_mtime:
                runs.append(folder)
    parts = dict.fromkeys(part for name in CHOSEN for part in dataset_parts(name))
    made = [results / part.removeprefix("<results>/") for part in parts]
    datasets = dict.fromkeys(part.parent for part in made)
    whole = [
        folder
        for folder in datasets
        if all(part.is_file() for part in made if part.parent == folder)
    ]
    options = [f"--run {run}" for run in runs] + [
        f"--data {folder}" for folder in whole
    ]
    return options, [(run / "evaluation.json").stat().st_mtime_ns for run in runs]


# for workflow/report/figure.rst: captions as in report.html
if any(argument.partition("=")[0] == "--report" for argument in sys.argv):
    from trm.reporting.figures import caption

    config["figure_caption"] = lambda kind, runs: caption(kind, [*map(Path, runs)])


def resource(key):
    """A function of the wildcards that gives a resource of the training job."""
    return lambda wildcards: getattr(EXPERIMENTS[wildcards.experiment].resources, key)


def logging_options(wildcards):
    """Where the figures of a training go, as options of `trm train`."""
    logging = EXPERIMENTS[wildcards.experiment].logging.model_dump(mode="json")
    return " ".join(
        f"--set {shlex.quote(f'logging.{key}={json.dumps(value)}')}"
        for key, value in logging.items()
    )


def site(key):
    """What the profile says of the site: an entry of its default-resources, empty where there is none."""
    entries = workflow.resource_settings.default_resources or {}
    found = entries[key] if key in entries else ""
    return str(getattr(found, "raw", found)).strip("'\"")


def hand_overs():
    """Retries of a training on a cluster; none inside its job, which would begin with a spent walltime."""
    if not workflow.is_main_process:
        return 0
    return int(site("hand_overs")) if site("hand_overs") else None


def request(gpus, nodes=1):
    """What a job asks the queue for: `gpus` GPUs on each of `nodes` nodes, in the words of both plugins."""
    model, options = site("gpu_type"), site("gpu_options")
    per_node = ":".join(["gpu", *filter(None, [model]), str(gpus)])
    lsf_gpus = ":".join([f"-gpu num={gpus}", *filter(None, [options])])
    return {
        "nodes": nodes,
        "gpu": (
            gpus if nodes == 1 else 0
        ),  # of several nodes the plugin would ask one for all
        "gres": per_node if gpus and nodes > 1 else "",
        "gpu_model": model if gpus and nodes == 1 else "",
        "tasks": (
            0 if gpus else nodes
        ),  # one a node; with GPUs the plugin would take it for tasks a GPU
        "slurm_partition": site("gpu_partition" if gpus else "slurm_partition"),
        "lsf_queue": site("gpu_queue" if gpus else "lsf_queue"),
        "lsf_extra": " ".join(
            filter(None, [site("lsf_extra"), lsf_gpus if gpus else ""])
        ),
    }


def requests(gpus, nodes=lambda resources: 1):
    """The resources of a rule, of which `gpus` and `nodes` make the request from an experiment's resources.

    Those that are of no use here, such as queues without a profile, are left out.
    """

    def requested(name):
        resources = EXPERIMENTS[name].resources
        return request(gpus(resources), nodes(resources))

    used = {
        key for name in EXPERIMENTS for key, value in requested(name).items() if value
    }
    return {
        key: lambda wildcards, key=key: requested(wildcards.experiment)[key]
        for key in sorted(used | {"gpu", "nodes"})
    }


def launcher(gpus, nodes=lambda resources: 1):
    """A function of a job's wildcards that gives the command for its ranks, one a GPU: `trm`, or torchrun before it."""

    def launch(wildcards, threads):
        resources = EXPERIMENTS[wildcards.experiment].resources
        ranks = max(1, gpus(resources))
        if ranks * nodes(resources) == 1:
            return "trm"
        each = max(
            1, threads // ranks
        )  # Snakemake says to both libraries what all have together
        return (
            f"env OMP_NUM_THREADS={each} MKL_NUM_THREADS={each} python -m trm.torchrun"
            f" --nnodes {nodes(resources)} --nproc-per-node {ranks} -m trm"
        )

    return launch


def walltime(wildcards):
    """Minutes of a job: those of the experiment, or as many as the site allows; a training takes several walltimes."""
    minutes = EXPERIMENTS[wildcards.experiment].resources.minutes
    longest = site("longest_runtime")
    return min(minutes, int(longest)) if longest else minutes


def training_memory(wildcards, input):
    """Memory of a training: half as much again for each time it was killed, up to three times as much."""
    results = Path(input.data[0]).parents[2]
    root = results / "checkpoints" / wildcards.experiment / f"seed-{wildcards.seed}"
    base = EXPERIMENTS[wildcards.experiment].resources.mem_mb
    return base * (2 + min(4, killed(root))) // 2


def memory(wildcards, attempt):
    """Memory of what is done with a finished run: more at each attempt, up to three times as much."""
    return EXPERIMENTS[wildcards.experiment].resources.mem_mb * min(3, attempt)


def environment(wildcards):
    """The conda environment of what computes: the one with CUDA where the experiment asks for GPUs."""
    gpus = EXPERIMENTS[wildcards.experiment].resources.gpus
    return f"../../envs/{'cuda' if gpus else 'cpu'}.yaml"


def run_folders(name):
    """The runs of an experiment, one a seed."""
    return [f"<results>/runs/{name}/seed-{seed}" for seed in EXPERIMENTS[name].seeds]


def run_files(name):
    """What figures, tables and report read of an experiment's runs, but for test-time scaling."""
    parts = (
        "config.yaml",
        "metrics.jsonl",
        "provenance.json",
        "evaluation.json",
        "predictions.npz",
    )
    return [f"{folder}/{part}" for folder in run_folders(name) for part in parts]


def explored_files(wildcards):
    """What the explorer reads of an experiment's first run."""
    first = run_folders(wildcards.experiment)[0]
    files = run_files(wildcards.experiment)
    return [
        f"{first}/model.safetensors",
        *(file for file in files if file.startswith(f"{first}/")),
    ]


def scaling_files(name):
    """What came of test-time scaling in an experiment's runs, where it has any."""
    scaling = EXPERIMENTS[name].evaluation.scaling
    return [f"{folder}/scaling.json" for folder in run_folders(name) if scaling]


def figure_inputs(wildcards):
    """What a figure is drawn from."""
    scaling = wildcards.kind == "test-time-scaling"
    files = scaling_files(wildcards.experiment) if scaling else []
    return run_files(wildcards.experiment) + files


def figure_files(name):
    """The figures of an experiment."""
    experiment = EXPERIMENTS[name]
    votes = experiment.dataset.puzzle == "arc"
    some = {
        "test-time-scaling": experiment.evaluation.scaling,
        "pass-at-k": votes,
        "embedding-cosine": votes and experiment.model.puzzle_emb_ndim,
    }
    kinds = [kind for kind in FIGURES if some.get(kind, True)]
    return [f"<results>/figures/{name}-{kind}.svg" for kind in kinds]


def evaluation_options(name):
    """The evaluation section as options of `trm evaluate`, but for its ways to scale."""
    evaluation = EXPERIMENTS[name].evaluation
    options = evaluation.model_dump(
        mode="json", exclude_none=True, exclude={"scaling", "scaling_subset"}
    )
    return " ".join(
        f"--{key.replace('_', '-')} {value}" for key, value in options.items()
    )


def scaling_options(name):
    """What `trm scale` takes besides the options of `trm evaluate`, not quoted yet; a second subset replaces the first."""
    evaluation = EXPERIMENTS[name].evaluation
    ways = [
        f"--way={way.model_dump_json(exclude_defaults=True)}"
        for way in evaluation.scaling
    ]
    subset = min(
        filter(None, (evaluation.subset, evaluation.scaling_subset)), default=None
    )
    return ways + ([f"--subset={subset}"] if subset and ways else [])
