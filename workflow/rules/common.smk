import json
import os
import shlex
from pathlib import Path

from trm.config import puzzle_names
from trm.config import load as load_experiment
from trm.files import BadInput, fingerprint
from trm.puzzles import module as puzzle_module

ARRAYS = [
    "inputs",
    "labels",
    "puzzle_identifiers",
    "puzzle_indices",
    "group_indices",
    "variants",
]
FIGURES = ["learning-curve", "accuracy-by-step", "gallery"]
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
    """All experiment files of config/experiments, checked, by name."""
    try:
        files = sorted(Path("config/experiments").glob("*.yaml"))
        loaded = {
            file.stem: with_raw_data(load_experiment(file, config["set"]))
            for file in files
        }
        for name, experiment in loaded.items():
            if experiment.name != name:
                raise BadInput(
                    f"config/experiments/{name}.yaml: name: {experiment.name}, expected {name}"
                )
        for name in config["experiments"]:
            if name not in loaded:
                raise BadInput(
                    f"config: experiments: {name} is unknown, expected one of {', '.join(loaded)}"
                )
    except BadInput as error:
        raise WorkflowError(str(error)) from None
    return loaded


EXPERIMENTS = load_experiments()
CHOSEN = config["experiments"]
DATASETS = {
    dataset.name: dataset
    for experiment in EXPERIMENTS.values()
    for dataset in experiment.datasets
}
TARGETS = {name: [name] for name in EXPERIMENTS} | {
    puzzle: [
        name
        for name, experiment in EXPERIMENTS.items()
        if experiment.dataset.puzzle == puzzle
    ]
    for puzzle in puzzle_names()
}


wildcard_constraints:
    experiment="|".join(EXPERIMENTS),
    dataset="|".join(DATASETS),
    puzzle="|".join(puzzle_names()),
    seed=r"\d+",
    kind="|".join(FIGURES),


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


def ancestors(name):
    """The experiments that a training starts from a run of, nearest first; other folders stand for themselves."""
    found = [name]
    while init := EXPERIMENTS[found[-1]].training.init:
        *_, runs, parent, seed = ("", "", *Path(init).parts)
        if runs != "runs" or parent not in EXPERIMENTS or parent in found:
            break
        found.append(parent)
    return found[1:]


def raw_files(wildcards):
    """The raw files a dataset is built from: those at hand, or downloads."""
    dataset = DATASETS[wildcards.dataset]
    names = puzzle_module(dataset.puzzle).raw_files(dataset)
    return [
        f"{dataset.raw or f'<results>/raw/{dataset.puzzle}'}/{name}" for name in names
    ]


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


def shaped_by(names):
    """A hash of what shapes the runs of some experiments and their scores, for the params of rules that read them.

    Without it a training that a changed configuration asks for, and that fails, would be forgotten: Snakemake does not
    miss the input of an output that is there.
    """
    return fingerprint(
        [
            (training_sections(name), started_from(name), evaluation_options(name))
            for name in names
        ]
    )[:16]


def about(names):
    """What tables and report say of experiments besides their runs, as a command-line argument."""
    return json.dumps(
        {
            name: EXPERIMENTS[name].model_dump(
                mode="json", include={"description", "published"}
            )
            for name in names
        }
    )


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


def lsf_extra(wildcards):
    """Options of bsub for a training: LSF does not know the resource gpu, and warns a job only where asked to."""
    gpus = EXPERIMENTS[wildcards.experiment].resources.gpus
    request = f"-gpu num={gpus}:mode=exclusive_process " if gpus else ""
    return f"{request}-wa TERM -wt 5"


def run_folders(name):
    """The runs of an experiment, one a seed."""
    return [f"<results>/runs/{name}/seed-{seed}" for seed in EXPERIMENTS[name].seeds]


def run_files(name):
    """What figures, tables and report read of an experiment's runs."""
    parts = (
        "config.yaml",
        "metrics.jsonl",
        "provenance.json",
        "evaluation.json",
        "predictions.npz",
    )
    return [f"{folder}/{part}" for folder in run_folders(name) for part in parts]


def figure_files(name):
    """The figures of an experiment."""
    return [f"<results>/figures/{name}-{kind}.svg" for kind in FIGURES]


def evaluation_options(name):
    """The evaluation section as options of `trm evaluate`."""
    evaluation = EXPERIMENTS[name].evaluation
    options = evaluation.model_dump(mode="json", exclude_none=True)
    return " ".join(
        f"--{key.replace('_', '-')} {value}" for key, value in options.items()
    )
