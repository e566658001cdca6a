"""Published checkpoints in and out: a run of the papers' trainer becomes one of ours, and the other way round.

    CHECKPOINT/step_518071        its weights: a state dict, saved by PyTorch (or as safetensors, with that suffix)
    CHECKPOINT/all_config.yaml    how they came about

A run keeps every tensor with its type and its bits, and drops only what stands before all names alike, so that the way
back gives the published tensors again. The keys of all_config.yaml are ours in other sections. What that trainer has
no keys for goes into a section `trm`, which it does not read; a network that it cannot compute is not exported.
"""

import os
import re
import warnings
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import yaml
from torch import Tensor

from trm.config import Dataset, Experiment, Model, check, dataset_section
from trm.data.build import built_section
from trm.data.layout import content_hash, published_files, read_split
from trm.files import BadInput, atomic, atomic_folder, read_json, read_yaml, sha256, write_text
from trm.models import build_model
from trm.runs import read_run, write_run
from trm.tensors import read_tensors

CONFIG = "all_config.yaml"
PREFIX = "_orig_mod.model.inner."  # a loss around a model that holds the network, compiled
TYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
TOKENS = "embed_tokens.embedding_weight"  # the tensor that every network has

CLASSES = {
    "trm": "recursive_reasoning.trm@TinyRecursiveReasoningModel_ACTV1",
    "trm_singlez": "recursive_reasoning.trm_singlez@TinyRecursiveReasoningModel_ACTV1",
    "trm_hier6": "recursive_reasoning.trm_hier6@TinyRecursiveReasoningModel_ACTV1",
    "hrm": "recursive_reasoning.hrm@HierarchicalReasoningModel_ACTV1",
    "transformers_baseline": "recursive_reasoning.transformers_baseline@Model_ACTV2",
}
NETWORKS = {published: name for name, published in CLASSES.items()} | {
    "hrm.hrm_act_v1@HierarchicalReasoningModel_ACTV1": "hrm"  # as HRM's own code calls it
}
LOSS = "losses@ACTLossHead"

# Keys of both, under the same name
ARCH = (
    *("hidden_size", "num_heads", "expansion", "L_layers", "H_layers", "H_cycles", "L_cycles", "mlp_t"),
    *("pos_encodings", "puzzle_emb_ndim", "puzzle_emb_len", "halt_max_steps", "halt_exploration_prob", "forward_dtype"),
)
TRAINING = (
    *("global_batch_size", "epochs", "eval_interval", "lr", "lr_min_ratio", "lr_warmup_steps", "beta1", "beta2"),
    *("weight_decay", "puzzle_emb_lr", "puzzle_emb_weight_decay", "ema", "ema_rate"),
)

# What the published code takes where a key is not there, and what ours is where that code does not know it
DEFAULTS = {"puzzle_emb_ndim": 0, "puzzle_emb_len": 16, "mlp_t": False, "forward_dtype": "bfloat16"}
TRAINING_DEFAULTS = {"eval_interval": None, "ema": False, "ema_rate": 0.999}
LACKS: dict[str, dict[str, Any]] = {
    "hrm": {"puzzle_emb_len": 0},
    "transformers_baseline": {"L_layers": 0, "L_cycles": 1, "mlp_t": False, "puzzle_emb_len": 0},
}

# Published keys that ours has no choice of, at the only value that it computes
FIXED = {
    **{"causal": False, "no_ACT_continue": True, "rms_norm_eps": 1e-5, "rope_theta": 10000.0},
    **{"grid_token_dropout": 0.0, "grid_noise_prob": 0.0, "grid_noise_fraction": 0.0},
}
DROPOUT = "puzzle_emb_dropout"  # of `arch` there, of `training` here

# Published keys that do not shape the network: where things lay, when it was scored, which of its weights learned
IGNORED = {
    *("checkpoint_path", "checkpoint_every_eval", "checkpoint_every_n_steps", "load_checkpoint", "freeze_weights"),
    *("data_paths_test", "evaluators", "eval_save_outputs", "min_eval_interval", "entity", "project_name", "run_name"),
    *("freeze_weights_epochs", "puzzle_emb_reinit_strategy", "eval_max_augmentations", "halt_max_steps_eval"),
    *("dataloader_num_workers", "dataloader_prefetch_factor", "dataloader_pin_memory"),
    *("dataloader_persistent_workers",),
}

# Names of the published builders' folders -> the `dataset:` section that makes the same
FOLDERS: dict[str, dict[str, Any]] = {
    "arc1concept-aug-{}": {"puzzle": "arc", "subsets": ["training", "evaluation", "concept"]},
    "arc2concept-aug-{}": {
        **{"puzzle": "arc", "subsets": ["training2", "evaluation2", "concept"], "test_sets": ["evaluation2"]},
    },
    "sudoku-extreme-1k-aug-{}": {"puzzle": "sudoku", "subsample_size": 1000},
    "maze-30x30-hard-1k": {"puzzle": "maze"},
}

# Keys of a fine-tuning, which began from a run on this machine
FINE_TUNING = {"init", "init_puzzle_emb", "trained", "freeze_weights_epochs", "lora_rank", "lora_alpha"}


def import_checkpoint(
    checkpoint: Path, config: Path | None, out: Path, data: Path | None, overrides: list[str] | None = None
) -> Experiment:
    """Write a published checkpoint, a file or the folder that holds it, as a finished run to the folder `out`.

    `config` is its all_config.yaml, by default the one beside it; `data` the dataset it was trained on. Everything is
    checked before anything is written. Raises BadInput naming the key or the tensor that does not fit.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out}: is there already, expected a new folder for the run")
    if checkpoint.is_dir():
        checkpoint = _newest(checkpoint)
    config = config or checkpoint.with_name(CONFIG)
    experiment, rest = read_config(config, data, overrides)
    step = re.search(r"step_(\d+)", checkpoint.name)
    if step is None and "step" not in rest:
        raise BadInput(f"{checkpoint}: its name does not tell the step, expected step_NUMBER in it")
    weights, prefix = read_weights(checkpoint)
    parameters = check_weights(checkpoint, weights, experiment, data)
    steps = int(step[1]) if step else rest["step"]
    digest = sha256(checkpoint)
    facts = {
        "data": {
            "name": experiment.dataset.name,
            "content_sha256": data and content_hash(data),
            "published_files": data and published_files(data),
        },
        "fingerprint": digest[:16],
        "seed": rest["seed"],
        "device": "not known",
        "ranks": 1,
        "steps": steps,
        "weights": {"rule": "published", "step": steps, "ema": experiment.training.ema},
        "parameters": parameters,
        "seconds": None,
        "imported": {
            **{"file": checkpoint.name, "sha256": digest, "prefix": prefix},
            **{"config": config.name, "config_sha256": sha256(config)},
        },
    }
    with atomic_folder(out) as folder:
        write_run(folder, experiment, weights, Path(os.devnull), facts)  # of its training no metrics are known
    return experiment


def export_run(folder: Path, out: Path) -> Path:
    """Write a finished run as a published checkpoint to the file `out`; returns its all_config.yaml, beside it.

    Raises BadInput where the published code has no such network, or another all_config.yaml is there.
    """
    run = read_run(folder)
    path = folder / "model.safetensors"
    config, text = out.with_name(CONFIG), published_config(run.experiment, run.provenance)
    if out.name == CONFIG or out.is_dir():
        raise BadInput(f"{out}: expected a file for the weights")
    if config.exists() and config.read_bytes() != text.encode():
        raise BadInput(f"{config}: is there already and says something else, expected a folder of its own for {out}")
    weights, _ = read_tensors(path)
    check_weights(path, weights, run.experiment, None)
    prefix = run.provenance.get("imported", {}).get("prefix", PREFIX)
    names = _shapes(run.experiment.model, 1, 1)
    with atomic(out) as temporary, open(temporary, "wb") as file:
        torch.save({prefix + name: weights[name] for name in names}, file)
    write_text(config, text)
    return config


def read_config(path: Path, data: Path | None, overrides: list[str] | None) -> tuple[Experiment, dict[str, Any]]:
    """The experiment in an all_config.yaml, and what else it tells: `seed` and, of our exports, `step`."""
    config = read_yaml(path)
    ours = _mapping(config, "trm", path) if "trm" in config else {}
    arch = _mapping(config, "arch", path)
    loss = _mapping(arch, "loss", path, "arch.")
    _expect_known(path, "", config, {"arch", "data_path", "data_paths", "seed", "trm", *TRAINING, *IGNORED})
    _expect_known(path, "arch.", arch, {"name", "loss", *ARCH, *FIXED, DROPOUT, "halt_max_steps_eval"})
    _expect_known(path, "arch.loss.", loss, {"name", "loss_type"})
    _expect_known(path, "trm.", ours, {"name", "step", "dataset", "training"})
    for key, value in FIXED.items():
        if arch.get(key, value) != value:
            raise BadInput(f"{path}: arch.{key}: {arch[key]!r}, expected {value!r}: nothing else is computed here")
    if str(arch.get("name")) not in NETWORKS:
        raise BadInput(f"{path}: arch.name: {arch.get('name')!r} is unknown, expected one of {', '.join(NETWORKS)}")
    if loss.get("name") != LOSS:
        raise BadInput(f"{path}: arch.loss.name: {loss.get('name')!r}, expected {LOSS}")
    name = NETWORKS[arch["name"]]
    model = {"name": name, "loss_type": loss.get("loss_type")}
    model |= _take(path, "arch.", arch, ARCH, DEFAULTS | LACKS.get(name, {})) | LACKS.get(name, {})
    training = _take(path, "", config, TRAINING, TRAINING_DEFAULTS)
    if DROPOUT in arch:
        training[DROPOUT] = arch[DROPOUT]
    if training["eval_interval"] is None:
        training["eval_interval"] = training["epochs"]
    tree = {"name": ours.get("name", _plain_name(config.get("run_name"))), "model": model}
    tree["training"] = (_mapping(ours, "training", path, "trm.") if "training" in ours else {}) | training
    rest = {"seed": config.get("seed", 0), **{key: ours[key] for key in ("step",) if key in ours}}
    for key, value in rest.items():
        if type(value) is not int or value < 0:
            raise BadInput(f"{path}: {key}: {value!r}, expected a number from 0 on")
    return check(tree | _dataset(path, config, ours, data, overrides), str(path), overrides), rest


def published_config(experiment: Experiment, facts: dict[str, Any]) -> str:
    """all_config.yaml of a run, from its experiment and its provenance."""
    if experiment.model.name not in CLASSES:
        raise BadInput(f"model.name: {experiment.model.name}, expected a published network: {', '.join(CLASSES)}")
    model, training = experiment.model.model_dump(), experiment.training.model_dump(mode="json")
    lacks = LACKS.get(experiment.model.name, {})
    keys = [key for key in ARCH if key not in lacks]
    for key, field in Model.model_fields.items():
        only = lacks.get(key, field.get_default())
        if key not in (*keys, "name", "loss_type") and model[key] != only:
            name = experiment.model.name
            raise BadInput(f"model.{key}: {model[key]}, expected {only}: the published {name} has no such key")
    if experiment.model.name == "trm" and model["H_layers"]:
        raise BadInput(
            f"model.H_layers: {model['H_layers']}, expected 0: the published trm has one network for z and y"
        )
    arch = {"name": CLASSES[experiment.model.name], "loss": {"name": LOSS, "loss_type": model["loss_type"]}}
    arch |= {key: model[key] for key in keys}
    if experiment.model.name.startswith("trm"):
        arch["no_ACT_continue"] = True
    trm = {
        "name": experiment.name,
        "step": facts["weights"]["step"],
        "dataset": experiment.dataset.model_dump(mode="json", exclude={"raw"}),
        "training": {key: value for key, value in training.items() if key not in (*TRAINING, *FINE_TUNING)},
    }
    config = {
        "arch": arch,
        "data_paths": [f"data/{_folder_name(dataset)}" for dataset in experiment.datasets],
        "run_name": experiment.name,
        "seed": facts["seed"],
        **{key: training[key] for key in TRAINING},
        "trm": trm,
    }
    return yaml.safe_dump(config)


def read_weights(path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of a checkpoint by our names, and what stood before each name. They stay on the disk till used."""
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    loaded = read_tensors(path)[0] if path.suffix == ".safetensors" else _unpickled(path)
    if not isinstance(loaded, dict) or not loaded:
        raise BadInput(f"{path}: holds a {type(loaded).__name__}, expected a state dict: tensors by name")
    for name, tensor in loaded.items():
        if not isinstance(tensor, Tensor):
            raise BadInput(f"{path}: {name}: a {type(tensor).__name__}, expected a tensor as in a state dict")
    prefixes = [name.removesuffix(TOKENS) for name in loaded if str(name).endswith(TOKENS)]
    if len(prefixes) != 1:
        raise BadInput(f"{path}: {len(prefixes)} tensors called {TOKENS}, expected one")
    prefix = prefixes[0]
    for name in loaded:
        if not str(name).startswith(prefix):
            raise BadInput(f"{path}: {name}: expected {prefix} before it, as before {TOKENS}")
    weights, memory = {}, set()
    for name, tensor in loaded.items():
        place = tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided else None
        weights[name.removeprefix(prefix)] = tensor.detach().clone() if place in memory else tensor.detach()
        memory.add(place)  # tied tensors share theirs, which safetensors does not take
    return weights, prefix


def check_weights(path: Path, weights: dict[str, Tensor], experiment: Experiment, data: Path | None) -> int:
    """Hold tensors against the experiment's network; returns its number of trained weights, puzzle embeddings apart.

    Vocabulary, length of the boards and number of puzzle identifiers are those of the dataset in `data`, or else as
    the tensors have them. Raises BadInput on the first tensor that is missing, not expected or different.
    """
    model = experiment.model
    if data is None:
        vocab_size, seq_len, identifiers = *_sizes(model, weights), None
    else:
        metadata = read_split(data / "train").metadata
        vocab_size, seq_len = metadata.vocab_size, metadata.seq_len
        identifiers = metadata.num_puzzle_identifiers
    expected = _shapes(model, vocab_size, seq_len)
    for name, like in expected.items():
        if name not in weights:
            raise BadInput(f"{path}: {name}: no such tensor, expected one of shape {list(like.shape)}")
        found, shape = weights[name], list(like.shape)
        if name == "puzzle_emb.weights":
            rows = found.shape[0] if found.dim() else 0
            shape[0] = identifiers or max(1, rows)
        if list(found.shape) != shape:
            raise BadInput(f"{path}: {name}: shape {list(found.shape)}, expected {shape}")
        if found.layout != torch.strided or found.device.type != "cpu" or found.dtype not in TYPES:
            kind = f"{found.layout} of {found.dtype} on {found.device.type}".replace("torch.", "")
            raise BadInput(f"{path}: {name}: {kind}, expected a dense tensor of floating-point numbers")
        if not torch.isfinite(torch.stack(found.aminmax())).all():
            raise BadInput(f"{path}: {name}: holds numbers that are not finite, expected none")
        lossless = torch.promote_types(found.dtype, like.dtype) == like.dtype
        if not lossless and not found.to(like.dtype).to(found.dtype).equal(found):
            kinds = f"{found.dtype} numbers that {like.dtype} does not hold".replace("torch.", "")
            raise BadInput(f"{path}: {name}: {kinds}, expected such that it does")
    if extra := [name for name in weights if name not in expected]:
        raise BadInput(f"{path}: {extra[0]}: not a tensor of {model.name} as configured, expected none of this name")
    return sum(like.numel() for like in expected.values() if like.requires_grad)


def _shapes(model: Model, vocab_size: int, seq_len: int) -> dict[str, Tensor]:
    """A tensor without memory for each of the network, in the published order, for one puzzle identifier."""
    with torch.device("meta"):
        tensors = build_model(model, vocab_size, seq_len, 1).state_dict(keep_vars=True)
    names = sorted(tensors, key=lambda name: name.startswith("L_level."))  # which comes after H_level there
    return {name: tensors[name] for name in names}


def _sizes(model: Model, weights: dict[str, Tensor]) -> tuple[int, int]:
    """Vocabulary and length of the boards as the tensors have them; the length is 1 where no tensor depends on it."""

    def first(name: str) -> int:
        return weights[name].shape[0] if name in weights and weights[name].dim() else 1

    length = {"learned": first("embed_pos.embedding_weight")}.get(model.pos_encodings, 1)
    if model.mlp_t:
        level = "L" if model.L_layers else "H"
        length = first(f"{level}_level.layers.0.mlp_t.down_proj.weight")
    return max(1, first(TOKENS)), max(1, length - model.prefix_len)


def _newest(folder: Path) -> Path:
    """The checkpoint of the last step in a folder."""
    found = {path: re.fullmatch(r"step_(\d+)(\.pt|\.safetensors)?", path.name) for path in sorted(folder.iterdir())}
    steps = {path: int(match[1]) for path, match in found.items() if match}
    if not steps:
        raise BadInput(f"{folder}: no file step_NUMBER, expected a published checkpoint and its {CONFIG}")
    return max(steps, key=steps.get)


def _unpickled(path: Path) -> Any:
    """What PyTorch saved in a file; nothing but tensors and plain containers is ever made of it."""
    try:
        with warnings.catch_warnings(action="ignore"):  # they tell what the error says
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except UnpicklingError as error:
        blocked = re.search(r"GLOBAL (\S+)", str(error))
        what = f"asks for {blocked[1]}" if blocked else "holds what no tensor needs"
        raise BadInput(f"{path}: not loaded, for it {what}; expected a state dict: tensors alone") from None
    except OSError:
        raise
    except Exception:  # whatever the reader meets in a file that is none of its own
        raise BadInput(f"{path}: not a whole file of torch.save, expected a state dict") from None


def _mapping(tree: dict[str, Any], key: str, path: Path, above: str = "") -> dict[str, Any]:
    if not isinstance(tree.get(key), dict):
        raise BadInput(f"{path}: {above}{key}: {tree.get(key)!r}, expected a mapping of keys")
    return tree[key]


def _expect_known(path: Path, above: str, found: dict[str, Any], known: set[str]) -> None:
    if unknown := [key for key in found if key not in known]:
        raise BadInput(f"{path}: {above}{unknown[0]}: unknown key, expected those of the published trainer alone")


def _take(
    path: Path, above: str, found: dict[str, Any], keys: tuple[str, ...], defaults: dict[str, Any]
) -> dict[str, Any]:
    """The values of `keys`, or their defaults."""
    taken = {**defaults, **{key: found[key] for key in keys if key in found}}
    if missing := [key for key in keys if key not in taken]:
        raise BadInput(f"{path}: {above}{missing[0]}: missing, expected as the published trainer wrote it")
    return taken


def _plain_name(name: Any) -> str:
    """A name that an experiment can have: lower case, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", str(name or "").lower()).strip("-") or "published"


def _dataset(
    path: Path, config: dict[str, Any], ours: dict[str, Any], data: Path | None, overrides: list[str] | None
) -> dict[str, Any]:
    """The `dataset:` of an experiment: as `data` was built, as our export tells, or that of a published name."""
    paths = config.get("data_paths", [config.get("data_path")])  # HRM's own code has one alone
    if not isinstance(paths, list) or len(paths) != 1:
        # the puzzles of several have the same identifiers there, and so the same rows of the puzzle embedding
        raise BadInput(f"{path}: data_paths: {paths!r}, expected one dataset: several share their embeddings there")
    if data is not None and (data / "provenance.json").is_file():
        return {"dataset": built_section(data, read_json(data / "provenance.json")).model_dump(mode="json")}
    if "dataset" in ours:
        return {"dataset": ours["dataset"]}
    if section := _section_of(paths[0]):
        return {"dataset": section}
    if any(override.strip().startswith("dataset.") for override in overrides or []):
        return {}
    raise BadInput(
        f"{path}: data_paths: {paths[0]!r} is no dataset known by its name, expected --data DIR, built by trm, or "
        "--set dataset.puzzle=NAME"
    )


def _section_of(folder: Any) -> dict[str, Any] | None:
    """The `dataset:` section of a published folder, known by its name."""
    for name, section in FOLDERS.items():
        if match := re.fullmatch(name.replace("{}", r"(\d+)"), Path(str(folder)).name):
            return section | ({"num_aug": int(match[1])} if match.groups() else {})
    return None


def _folder_name(dataset: Dataset) -> str:
    """The published name of a dataset's folder; its own where there is none."""
    for name in FOLDERS:
        name = name.format(dataset.num_aug)
        section = _section_of(name)
        if section["puzzle"] == dataset.puzzle and dataset_section(dataset.puzzle)(**section).name == dataset.name:
            return name
    return dataset.name
