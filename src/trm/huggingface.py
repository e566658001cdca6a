"""Finished runs to the Hugging Face hub and back.

    REPOSITORY/model.safetensors, config.yaml, provenance.json, metrics.jsonl   the run, as trm/runs.py has it
    REPOSITORY/adapters.safetensors, evaluation.json                            where it has them
    REPOSITORY/README.md                                                        the model card, made from these

What comes from the hub was written by anyone. So exactly these names are taken, whatever else the repository lists, at
the commit and with the hashes that it tells; nothing in them is code or a pickle; and a run appears only after its
configuration, its provenance and every tensor were found to be ours. No path of the machine that trained it goes out
with the configuration, and none is accepted from there.
"""

import contextlib
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
import yaml
from pydantic import BaseModel, Field, ValidationError

from trm import puzzles
from trm.config import Experiment, load
from trm.evaluation.evaluate import headline
from trm.evaluation.metrics import Figure
from trm.files import BadInput, Fault, atomic_folder, read_json, read_text, sha256, write_json
from trm.hub import check_weights
from trm.models import build_model
from trm.runs import FinishedRun, check_shapes, read_run
from trm.tensors import read_tensors

if TYPE_CHECKING:
    from huggingface_hub import HfApi

SCHEME = "hf:"
WEIGHTS = "model.safetensors"
RUN = (WEIGHTS, "config.yaml", "provenance.json", "metrics.jsonl")
BESIDES = ("adapters.safetensors", "evaluation.json")
CARD = "README.md"
MOST = {".safetensors": 16 << 30}  # bytes; ARC-AGI-2 with all variants has 2.5 GB of embeddings
MOST_TEXT = 64 << 20

Name = Annotated[str, Field(pattern=r"^[^\x00-\x1f]{1,200}$")]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Number = Annotated[int, Field(ge=0)]


class Data(BaseModel):
    """What provenance.json says of a dataset."""

    name: Name
    content_sha256: Hash | None
    published_files: bool | None
    num_puzzle_identifiers: Annotated[int, Field(ge=1)] | None = None


class Weights(BaseModel):
    """What it says of the weights."""

    rule: Name
    step: Number
    ema: bool


class Provenance(BaseModel):
    """The keys of provenance.json that something here reads; it has others."""

    trm: Name
    data: Data
    more_data: list[Data] = []
    weights: Weights
    seed: Number
    steps: Number
    parameters: Number
    device: Name
    ranks: Annotated[int, Field(ge=1)]
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None


class Share(BaseModel):
    """A figure of evaluation.json."""

    value: Annotated[float, Field(ge=0, le=1)]
    low: Annotated[float, Field(ge=0, le=1)]
    high: Annotated[float, Field(ge=0, le=1)]
    count: Number


class Scores(BaseModel):
    """The keys of evaluation.json that the card reads."""

    data: Data
    weights: Weights
    seed: Number
    examples: Number
    of: Number
    figures: dict[Name, Share]


def push(folder: Path, repository: str, public: bool, revision: str | None, licence: str | None) -> str:
    """Upload a finished run to the hub, private unless `public`, to the branch `revision`; returns its address.

    The files of the run that the branch held before and that this run lacks are deleted there.
    """
    run = read_run(folder)
    names = [*RUN, *(name for name in BESIDES if (folder / name).exists())]
    with _named(folder, str(folder)):
        _check(folder, names)
    contents: dict[str, Path | bytes] = {name: folder / name for name in names}
    if (config := _without_paths(run.experiment)) is not None:
        contents["config.yaml"] = config
    hub, where = _hub(), f"{SCHEME}{repository}"
    with _told(where):
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        repository = hub.create_repo(repository, private=not public, exist_ok=True).repo_id
        if hub.model_info(repository).private == public:
            found, expected = ("private", "no --public") if public else ("public", "--public")
            raise BadInput(f"{where}: is there already and {found}, expected {expected}, or another repository")
        if revision is not None:
            hub.create_branch(repository, branch=revision, exist_ok=True)
        contents[CARD] = model_card(run, repository, revision, licence).encode()
        listed = {file.rfilename for file in hub.model_info(repository, revision=revision).siblings or []}
        commit = hub.create_commit(
            repository,
            [
                *(CommitOperationAdd(name, content) for name, content in contents.items()),
                *(CommitOperationDelete(name) for name in BESIDES if name in listed and name not in contents),
            ],
            commit_message=f"{run.experiment.name}, seed {run.provenance['seed']}",
            revision=revision,
        )
    return commit.commit_url


def import_run(address: str, out: Path) -> Experiment:
    """Write the run at hf:REPOSITORY[@REVISION] to the new folder `out`. Raises BadInput where it is none of ours."""
    repository, _, revision = address.removeprefix(SCHEME).partition("@")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out}: is there already, expected a new folder for the run")
    hub = _hub()
    with atomic_folder(out) as folder, _named(folder, address):
        with _told(address):
            info = hub.model_info(repository, revision=revision or None, files_metadata=True)
            listed = {file.rfilename: file for file in info.siblings or []}
            if missing := [name for name in RUN if name not in listed]:
                raise BadInput(f"{address}: no file {missing[0]}, expected a run that `trm push` wrote")
            names = [name for name in (*RUN, *BESIDES) if name in listed]
            for name in names:
                size, most = listed[name].size, MOST.get(Path(name).suffix, MOST_TEXT)
                if size is None or not 0 <= size <= most:
                    raise BadInput(f"{address}: {name}: {size} bytes, expected {most} at most")
            for name in names:
                hub.hf_hub_download(info.id, name, revision=info.sha, local_dir=folder)
        shutil.rmtree(folder / ".cache", ignore_errors=True)  # the library's notes on what it fetched
        for name in names:
            _check_hash(folder / name, listed[name])
        experiment = _check(folder, names)
        if _without_paths(experiment) is not None:
            raise BadInput(f"{folder}/config.yaml: dataset.raw or training.init is a path of a machine, expected none")
        told = {"repository": info.id, "commit": info.sha, "files": {name: sha256(folder / name) for name in names}}
        write_json(folder / "provenance.json", read_json(folder / "provenance.json") | {"hub": told})
    return experiment


def model_card(run: FinishedRun, repository: str, revision: str | None, licence: str | None) -> str:
    """README.md of a repository: what the hub reads, then figures, data, training, and how to use it."""
    from huggingface_hub import EvalResult, ModelCardData

    experiment, facts = run.experiment, run.provenance
    model, dataset = experiment.model, experiment.dataset
    path = run.folder / "evaluation.json"
    scores = read_json(path) if path.exists() else None
    figures = {name: Figure(**figure) for name, figure in scores["figures"].items()} if scores else {}
    # as "model-index", from which the hub shows figures; it takes no name without a result
    results = [
        EvalResult("puzzle-solving", dataset.puzzle, dataset.name, metric_type=name, metric_value=figure.value)
        for name, figure in figures.items()
    ]
    head = ModelCardData(
        license=licence,
        library_name="trm",
        tags=["trm", "recursive-reasoning", model.name, dataset.puzzle],
        **({"model_name": experiment.name, "eval_results": results} if results else {}),
    )
    address = f"{SCHEME}{repository}" + (f"@{revision}" if revision else "")
    identifiers = sum(data.get("num_puzzle_identifiers") or 0 for data in run.datasets)
    lines = ["---", head.to_yaml().strip(), "---", "", f"# {experiment.name}", ""]
    lines += [
        f"A network of the kind `{model.name}` for {dataset.puzzle}: {facts['parameters']:,} weights"
        + (f" and an embedding for each of {identifiers:,} puzzles" if identifiers > 1 else "")
        + f", trained by [trm](https://arxiv.org/abs/2510.04871) {facts['trm']} with seed {facts['seed']}.",
        "",
    ]
    if scores:
        data, told = scores["data"], _told_files(scores["data"])
        lines += [
            f"## Figures: {scores['examples']:,} of {scores['of']:,} test examples",
            "",
            "| figure | share, with 95 % interval and count |",
            "| --- | --- |",
            *(f"| {name} | {headline(figure)} |" for name, figure in figures.items()),
            "",
            f"Scored on {data['name']}, content SHA-256 `{data['content_sha256']}`, {told}.",
            "",
        ]
    lines += ["## Data", "", "| dataset | content SHA-256 | raw files |", "| --- | --- | --- |"]
    lines += [f"| {data['name']} | `{data['content_sha256']}` | {_told_files(data)} |" for data in run.datasets]
    seconds = facts["seconds"]
    time = "not known" if seconds is None else f"{seconds / 3600:.2f} hours"
    lines += [
        *("", "## Training", "", "| | |", "| --- | --- |"),
        f"| steps | {facts['steps']:,} of {experiment.training.global_batch_size:,} rows |",
        f"| weights | {facts['weights']['rule']}, of step {facts['weights']['step']:,}"
        f"{', averaged (EMA)' if facts['weights']['ema'] else ''} |",
        f"| compute | {time} on {facts['ranks']} x {facts['device']} |",
        *("", "config.yaml has every key, provenance.json versions, commit and command.", "", "## Use", ""),
        f"    trm import {address} --out run",
        "    trm build run/config.yaml --out data",
        "    trm evaluate run --data data --out run",
        "    trm solve run PUZZLE --data data",
        "",
        "`training.init=run` trains on from it.",
        "",
    ]
    return "\n".join(lines)


def _told_files(data: dict[str, Any]) -> str:
    return {True: "the published files", False: "other files than the published"}.get(
        data["published_files"], "generated, or not known whether published"
    )


def _check(folder: Path, names: list[str]) -> Experiment:
    """Hold the files of a run against what they should be. Raises BadInput."""
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise BadInput(f"{folder}: no file {missing[0]}, expected the folder of a finished run")
    experiment = load(folder / "config.yaml")
    facts = _parse(Provenance, folder / "provenance.json")
    told = [facts.data, *facts.more_data]
    if len(told) != len(experiment.datasets):
        raise BadInput(f"{folder}/provenance.json: {len(told)} datasets, expected {len(experiment.datasets)}")
    _check_tensors(folder / WEIGHTS, experiment, [data.num_puzzle_identifiers for data in told])
    for number, line in enumerate(read_text(folder / "metrics.jsonl").splitlines(), 1):
        if not isinstance(_json(line), dict):
            raise BadInput(f"{folder}/metrics.jsonl: line {number}: not a JSON object, expected a line of figures")
    if "adapters.safetensors" in names:
        _check_adapters(folder / "adapters.safetensors", experiment)
    if "evaluation.json" in names:
        scores = _parse(Scores, folder / "evaluation.json")
        if (scores.seed, scores.weights) != (facts.seed, facts.weights):
            raise BadInput(f"{folder}/evaluation.json: of other weights than the run's, expected `trm evaluate` of it")
    return experiment


def _check_tensors(path: Path, experiment: Experiment, identifiers: list[int | None]) -> None:
    """Whether the weights in `path` are those of the experiment's network, on the boards of its puzzle."""
    weights, _ = read_tensors(path)
    layers = experiment.model.L_layers + experiment.model.H_layers
    if layers > len(weights):  # or building them to compare might never end
        raise BadInput(f"{path}: {len(weights)} tensors, expected those of {layers} layers as in config.yaml")
    check_weights(path, weights, experiment, None)
    puzzle, dataset = puzzles.module(experiment.dataset.puzzle), experiment.dataset
    table = weights.get("puzzle_emb.weights")
    rows = 1 if table is None else len(table)
    if table is not None and None not in identifiers and rows != 1 + sum(n - 1 for n in identifiers):
        raise BadInput(f"{path}: {rows} puzzle embeddings, expected {1 + sum(n - 1 for n in identifiers)} of its data")
    with torch.device("meta"):
        model = build_model(experiment.model, puzzle.vocab_size(dataset), puzzle.seq_len(dataset), rows)
    check_shapes(path, weights, model, "its config.yaml")


def _check_adapters(path: Path, experiment: Experiment) -> None:
    """LoRA's A [rank, in] and B [out, rank], which are not used here, but handed on."""
    rank = experiment.training.lora_rank
    for name, tensor in read_tensors(path)[0].items():
        if tensor.dim() != 2 or rank not in tensor.shape or not torch.isfinite(tensor).all():
            raise BadInput(f"{path}: {name}: shape {list(tensor.shape)}, expected an adapter of rank {rank}")


def _parse(section: type[BaseModel], path: Path) -> Any:
    try:
        return section.model_validate(read_json(path))
    except ValidationError as error:
        problem = error.errors()[0]
        raise BadInput(f"{path}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _check_hash(path: Path, listed: Any) -> None:
    """Hold a file against the hash that the hub lists: SHA-256 of large files, Git's own of others."""
    if listed.lfs is not None:
        found, expected = sha256(path), listed.lfs.sha256
    else:
        data = path.read_bytes()
        found, expected = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(), listed.blob_id
    if found != expected:
        raise BadInput(f"{path}: hash {found}, expected {expected} as the repository lists it; nothing was kept")


def _without_paths(experiment: Experiment) -> bytes | None:
    """config.yaml without paths of this machine; None where it has none. `init` keeps its last folder's name."""
    tree = experiment.model_dump(mode="json", include={"name", "dataset", "more_datasets", "model", "training"})
    init = experiment.training.init
    leaves = init is not None and (init.is_absolute() or ".." in init.parts)
    if not leaves and all(dataset.raw is None for dataset in experiment.datasets):
        return None
    for dataset in (tree["dataset"], *tree["more_datasets"]):
        dataset["raw"] = None
    if leaves:
        tree["training"]["init"] = init.name
    return yaml.safe_dump(tree, sort_keys=False).encode()


def _hub() -> "HfApi":
    """The hub at HF_ENDPOINT, with the token of HF_TOKEN or of `hf auth login`."""
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.utils import disable_progress_bars
    except ModuleNotFoundError:
        raise BadInput("huggingface_hub is not installed, expected it: pip install 'trm[huggingface]'") from None
    if not sys.stderr.isatty():
        disable_progress_bars()
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="trm")


@contextlib.contextmanager
def _named(folder: Path, name: str) -> Iterator[None]:
    """Errors about the files in `folder` call it `name`, as the user knows it."""
    try:
        yield
    except BadInput as error:
        raise BadInput(str(error).replace(str(folder), name)) from None


@contextlib.contextmanager
def _told(where: str) -> Iterator[None]:
    """What the hub, the way to it and its library complain of, in one line."""
    from huggingface_hub import errors

    try:
        yield
    except errors.RevisionNotFoundError:
        raise BadInput(f"{where}: no such revision, expected a branch, a tag or a commit of it") from None
    except errors.RepositoryNotFoundError:  # the hub does not tell one from the other
        raise BadInput(f"{where}: no such repository, or a private one and no token for it (HF_TOKEN)") from None
    except errors.HfHubHTTPError as error:
        raise Fault(f"{where}: the hub says {error.response.status_code}: {_first(error)}") from None
    except ValueError as error:  # a name or a card that is refused before anything is sent
        raise BadInput(f"{where}: {_first(error)}") from None
    except (errors.HTTPError, OSError, RuntimeError) as error:
        raise Fault(f"{where}: {_first(error.__cause__ or error)}; expected the hub to answer") from None


def _first(error: BaseException) -> str:
    """What an error says, on one line and not at length."""
    return " ".join(str(error).split())[:300] or type(error).__name__
