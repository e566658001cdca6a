import json
import os
from pathlib import Path

from trm.config import puzzle_names
from trm.config import load as load_experiment
from trm.files import BadInput, fingerprint
from trm.puzzles import module as puzzle_module

ARRAYS = ["inputs", "labels", "puzzle_identifiers", "puzzle_indices", "group_indices"]
FIGURES = ["learning-curve", "accuracy-by-step", "gallery"]
RAW_DATA = config["raw_data"] or os.environ.get("TRM_RAW_DATA")


def load_experiments():
    """All experiment files of config/experiments, checked, by name."""
    try:
        files = sorted(Path("config/experiments").glob("*.yaml"))
        loaded = {file.stem: load_experiment(file, config["set"]) for file in files}
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
    experiment.dataset.name: experiment.dataset for experiment in EXPERIMENTS.values()
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


def dataset_of(wildcards):
    """Folder of the dataset that an experiment trains on."""
    return f"<results>/datasets/{EXPERIMENTS[wildcards.experiment].dataset.name}"


def dataset_files(wildcards):
    """The files of the dataset that an experiment trains on."""
    folder = dataset_of(wildcards)
    splits = [
        f"{folder}/{split}/{part}"
        for split in ("train", "test")
        for part in ("dataset.json", *(f"all__{array}.npy" for array in ARRAYS))
    ]
    return [f"{folder}/provenance.json", *splits]


def dataset_parts(name):
    """What is made of an experiment's dataset besides itself."""
    folder = f"<results>/datasets/{EXPERIMENTS[name].dataset.name}"
    return [f"{folder}/audit.json", f"{folder}/preview.png"]


def raw_files(wildcards):
    """The raw files a dataset is built from: those at hand, or downloads."""
    dataset = DATASETS[wildcards.dataset]
    folder = dataset.raw or (
        Path(RAW_DATA) / dataset.puzzle
        if RAW_DATA
        else f"<results>/raw/{dataset.puzzle}"
    )
    return [
        f"{folder}/{name}" for name in puzzle_module(dataset.puzzle).raw_files(dataset)
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
        mode="json", include={"name", "dataset", "model", "training"}
    )
    sections["dataset"].pop("raw")
    return json.dumps(sections)


def shaped_by(names):
    """A hash of what shapes the runs of some experiments and their scores, for the params of rules that read them.

    Without it a training that a changed configuration asks for, and that fails, would be forgotten: Snakemake does not
    miss the input of an output that is there.
    """
    return fingerprint(
        [(training_sections(name), evaluation_options(name)) for name in names]
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
    subset = f"--subset {evaluation.subset} " if evaluation.subset else ""
    return f"{subset}--batch-size {evaluation.batch_size}"
