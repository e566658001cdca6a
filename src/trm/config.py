"""Experiments: one YAML file, checked key by key before anything runs.

`Experiment` = dataset + model + training + evaluation, with the published key names (SPEC of the papers' code) where
they exist. Unknown keys are errors. A puzzle declares the keys of its `dataset:` section in its own module.
"""

import copy
import difflib
import importlib
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from trm import trees
from trm.files import BadInput, fingerprint, read_yaml

Probability = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of an experiment: immutable, and it rejects keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class Dataset(Section):
    """What every puzzle's `dataset:` section has; each puzzle's module adds its own keys."""

    puzzle: str = Field(description="name of the module in trm/puzzles")
    raw: Path | None = Field(
        None, description="folder with the raw files under their upstream names; null: the download, or generate"
    )
    num_aug: int = Field(0, ge=0, description="symmetric variants of each training group, besides itself")
    augmentation: Literal["stored", "online"] = Field(
        "stored", description="stored: every variant on disk; online: made when its batch is drawn, the same ones"
    )
    validation: Rate = Field(0.0, description="share of the training groups set aside to choose weights by")
    seed: int = Field(0, ge=0, description="of sampling, generation and augmentation")

    @property
    def name(self) -> str:
        """Name of the built dataset: the puzzle and a hash of the keys that shape its content."""
        return f"{self.puzzle}-{fingerprint(self.model_dump(mode='json', exclude={'raw'}))[:8]}"

    @property
    def claims_clean(self) -> bool:
        """Whether no test problem, nor a symmetric twin of it, may stand in train; `trm audit` holds it to that."""
        return True


def _with_puzzle_keys(value: Any) -> Any:
    """A `dataset:` section, checked by the puzzle that it names."""
    if isinstance(value, dict):
        return dataset_section(value.get("puzzle")).model_validate(value)
    return value


PuzzleDataset = Annotated[SerializeAsAny[Dataset], BeforeValidator(_with_puzzle_keys)]

# What each network takes, where that is less than the key allows: from, to
UNDISTURBED = {"relaxation": (1, 1), "state_noise": (0, 0)}
PLAIN = {**UNDISTURBED, "one_step_gradient": (False, False)}
ONLY = {
    "trm": {"L_layers": (1, None)},
    "trm_singlez": {"L_layers": (1, None), "H_layers": (0, 0), **PLAIN},
    "trm_hier6": {"L_layers": (1, None), "H_layers": (0, 0), "L_cycles": (1, 6), **PLAIN},
    "hrm": {
        **{"L_layers": (1, None), "H_layers": (1, None), "puzzle_emb_len": (0, 0)},
        **{"no_ACT_continue": (True, True), **PLAIN},
    },
    "transformers_baseline": {
        **{"no_ACT_continue": (True, True), **PLAIN},
        **{"L_layers": (0, 0), "H_layers": (1, None)},
        **{"H_cycles": (1, 1), "L_cycles": (1, 1), "puzzle_emb_len": (0, 0)},
    },
}


class Model(Section):
    """The network. Published: hidden 512, 8 heads, expansion 4, 2 layers, H3 L6 (mazes and ARC: L4).

    HRM: 4 + 4 layers, H2 L2; the transformer: 8 layers, 12 heads.
    """

    model_config = ConfigDict(validate_default=True)  # a default may not suit every network

    name: Literal["trm", "trm_singlez", "trm_hier6", "hrm", "transformers_baseline"] = Field(
        "trm", description="which network: TRM, TRM with one z or with six, HRM, a plain transformer"
    )
    hidden_size: Count = Field(512, description="width D")
    num_heads: Count = Field(8, description="attention heads, hidden_size / num_heads wide; unused with mlp_t")
    expansion: Positive = Field(4.0, description="SwiGLU inner width over hidden_size, before rounding")
    L_layers: int = Field(2, ge=0, description="blocks in the stack that updates z, and in all but hrm y as well")
    H_layers: int = Field(
        0,
        ge=0,
        description="blocks in the stack that updates y: hrm's and the transformer's; trm: 0, the same as for z",
    )
    H_cycles: Count = Field(3, description="updates of y in a supervision step; only the last one has a gradient")
    L_cycles: Count = Field(6, description="updates of z before each update of y; trm_hier6: at most 6")
    mlp_t: bool = Field(False, description="mix positions by a SwiGLU over the sequence instead of attention")
    pos_encodings: Literal["none", "rope", "learned"] = Field("rope", description="none, rope or learned")
    puzzle_emb_ndim: int = Field(512, ge=0, description="width of a puzzle identifier's embedding; 0: none")
    puzzle_emb_len: int = Field(
        16,
        ge=0,
        description="positions it takes; 0: as many as puzzle_emb_ndim needs, always so in hrm and transformer",
    )
    halt_max_steps: Count = Field(16, description="supervision steps at most")
    halt_exploration_prob: Probability = Field(
        0.1, description="chance, at each training step, that a row must go on for a random number of steps"
    )
    no_ACT_continue: bool = Field(
        True, description="TRM's halting, by q_halt alone; false: with q_continue, learned by a further forward, as hrm"
    )
    one_step_gradient: bool = Field(
        False, description="only the last update of z and the last of y have a gradient, as in hrm; trm only"
    )
    forward_dtype: Literal["bfloat16", "float16", "float32"] = Field(
        "bfloat16",
        description="of the activations, or the best that the device has; weights are float32",
    )
    loss_type: Literal["stablemax_cross_entropy", "softmax_cross_entropy"] = Field(
        "stablemax_cross_entropy", description="stablemax in float64 (published) or softmax in float32"
    )
    relaxation: float = Field(
        1.0, gt=0, le=1, description="share of the way that an update takes its state; EqR: 0.95. 1: all of it"
    )
    state_noise: NonNegative = Field(
        0.0, description="deviation of the noise on every update, at evaluation too; EqR: 0.01"
    )
    random_starts: bool = Field(
        False, description="fresh puzzles start from noise of deviation 1, not from the network's vectors; EqR: true"
    )

    @property
    def prefix_len(self) -> int:
        """Positions before the tokens that hold the puzzle embedding."""
        if self.puzzle_emb_ndim == 0:
            return 0
        return self.puzzle_emb_len or -(-self.puzzle_emb_ndim // self.hidden_size)

    @field_validator(
        *("L_layers", "H_layers", "H_cycles", "L_cycles", "puzzle_emb_len"),
        *("relaxation", "state_noise", "no_ACT_continue", "one_step_gradient"),
    )
    @classmethod
    def _suits_the_network(cls, value: float, info: ValidationInfo) -> float:
        """A key that the network has no use for is refused, not ignored."""
        name = info.data.get("name")
        least, most = ONLY.get(name, {}).get(info.field_name, (0, None))
        if value < least or (most is not None and value > most):
            expected = f"{least}" if least == most else f"{least} or more" if most is None else f"{least} to {most}"
            raise ValueError(f"expected {expected}, not {value}, with model.name {name}")
        return value

    @model_validator(mode="after")
    def _fits(self) -> "Model":
        head, left = divmod(self.hidden_size, self.num_heads)
        if self.name == "transformers_baseline":
            left = 0  # published with 12 heads of 42, which do not fill its 512
        if not self.mlp_t and (left or head % 2 or not head):
            raise ValueError(f"hidden_size {self.hidden_size} must be a multiple of 2 * num_heads ({self.num_heads})")
        if self.puzzle_emb_ndim > self.prefix_len * self.hidden_size:
            raise ValueError(
                f"puzzle_emb_ndim {self.puzzle_emb_ndim} does not fit {self.prefix_len} positions of {self.hidden_size}"
            )
        if self.state_noise and not self.no_ACT_continue:
            raise ValueError(f"state_noise {self.state_noise}: expected 0 with no_ACT_continue false")
        return self


class Stage(Section):
    """A part of a curriculum: how deep the model recurses until a share of the training is done."""

    until: float = Field(gt=0, lt=1, description="share of the training")
    H_cycles: Count = Field(description="in place of the model's, and no more")
    L_cycles: Count = Field(description="in place of the model's, and no more")


class Training(Section):
    """Optimiser, schedule and plan. Steps are optimiser steps, epochs are passes over the training groups."""

    global_batch_size: Count = Field(768, description="rows of a step, over all ranks")
    epochs: Count = Field(50000, description="passes over the training groups, one variant of each a pass")
    eval_interval: Count = Field(5000, description="epochs between evaluations; divides epochs")
    max_steps: Count | None = Field(None, description="stop after this many optimiser steps; null: after `epochs`")
    max_examples_per_puzzle: Count | None = Field(
        None, description="examples drawn from a puzzle in one visit at most; null: all it has"
    )
    init: Path | None = Field(
        None, description="folder of a finished run whose weights the training starts from; null: from random ones"
    )
    init_puzzle_emb: Literal["keep", "mean", "normal"] | None = Field(
        None,
        description="with init, rows of the puzzle embedding: those of the run, all their mean, or normal with their "
        "mean and deviation; null: keep where there are as many rows, else mean",
    )
    micro_batch: Count | Literal["auto"] | None = Field(
        None, description="rows of a rank at a time, for the same update; auto: halved when memory runs out; null: all"
    )
    checkpoint_activations: bool = Field(False, description="less memory for a quarter more time: recompute blocks")
    compile: bool | Literal["auto"] = Field(
        "auto", description="compile the blocks with torch.compile; auto: on CUDA, where Triton runs"
    )
    checkpoint_every: Count = Field(1000, description="optimiser steps between checkpoints")
    log_every: Count = Field(50, description="optimiser steps between lines of metrics.jsonl")
    eval_subset: Count | None = Field(
        1024,
        description="test examples of the evaluations while training, evenly spaced, of ARC the first variants of each "
        "task; null: all",
    )
    final_weights: Literal["last", "best_validation"] = Field(
        "last", description="last: those of the last step (published); best_validation: of the best validation score"
    )
    lr: NonNegative = Field(1e-4, description="learning rate of AdamATan2")
    lr_min_ratio: Probability = Field(1.0, description="end of the cosine over lr; 1: constant")
    lr_warmup_steps: int = Field(2000, ge=0, description="steps of linear rise from 0")
    beta1: Rate = Field(0.9, description="decay of the mean of the gradients")
    beta2: Rate = Field(0.95, description="decay of the mean of their squares")
    weight_decay: NonNegative = Field(1.0, description="times lr, of every parameter")
    puzzle_emb_lr: NonNegative = Field(1e-4, description="learning rate of the puzzle embedding's sign descent")
    puzzle_emb_weight_decay: NonNegative = Field(1.0, description="times puzzle_emb_lr, of the rows in use")
    ema: bool = Field(True, description="evaluate and publish a moving average of the weights")
    ema_rate: Rate = Field(0.999, description="its decay a step")
    trained: Literal["all", "puzzle_emb", "lora"] = Field(
        "all",
        description="all weights; the puzzle embeddings alone; or all embeddings, and adapters beside linear layers",
    )
    freeze_weights_epochs: Count | None = Field(
        None, description="with puzzle_emb: epochs until the weights learn as well; null: never"
    )
    lora_rank: Count | None = Field(None, description="with lora: inner width of an adapter; published: 1")
    lora_alpha: Positive | None = Field(None, description="with lora: its scale, times lora_rank; published: 16")
    curriculum: list[Stage] = Field([], description="stages of less depth, in order; CGAR: two. Then the model's own")
    supervision_decay: float = Field(
        1.0, gt=0, le=1, description="weight of a supervision step's loss over that of the one before; CGAR: 0.7"
    )
    input_noise: Rate = Field(0.0, description="share of the input tokens exchanged for random ones; labels stay")
    puzzle_emb_dropout: Rate = Field(
        0.0,
        description="share of rows that take a step without their puzzle embedding, which the others have scaled up",
    )

    @model_validator(mode="after")
    def _divides(self) -> "Training":
        if self.epochs % self.eval_interval:
            raise ValueError(f"eval_interval {self.eval_interval} must divide epochs {self.epochs}")
        return self

    @model_validator(mode="after")
    def _recipe(self) -> "Training":
        if self.trained != "all" and self.init is None:
            raise ValueError(f"trained {self.trained} needs init, a run whose weights are worth keeping")
        for key in ("lora_rank", "lora_alpha"):
            if (getattr(self, key) is None) == (self.trained == "lora"):
                expected = "a number" if self.trained == "lora" else "null"
                raise ValueError(f"{key} {getattr(self, key)}: expected {expected} with trained {self.trained}")
        freeze = self.freeze_weights_epochs
        if freeze is not None and self.trained != "puzzle_emb":
            raise ValueError(f"freeze_weights_epochs {freeze}: expected null with trained {self.trained}")
        if freeze is not None and freeze >= self.epochs:
            raise ValueError(f"freeze_weights_epochs {freeze}: expected fewer than epochs {self.epochs}, or null")
        ends = [stage.until for stage in self.curriculum]
        if sorted(set(ends)) != ends:
            raise ValueError(f"curriculum: until {ends}, expected each above the one before")
        return self

    @model_validator(mode="after")
    def _starts_somewhere(self) -> "Training":
        if self.init_puzzle_emb and not self.init:
            raise ValueError(f"init_puzzle_emb {self.init_puzzle_emb} needs init, a run to take the embedding from")
        return self


class Scaling(Section):
    """A way to get more from the same weights at test time: further steps, or several runs to choose from."""

    halt_max_steps: Count | None = Field(None, description="supervision steps; null: those of the evaluation")
    rollouts: Count = Field(
        1, description="runs of each example; the first is the plain one, the others differ from it:"
    )
    latent_noise: NonNegative = Field(
        0.0, description="by noise of this deviation on the latent before every step (PTRM)"
    )
    random_starts: bool = Field(False, description="by a random state to start from (EqR)")
    symmetries: bool = Field(False, description="by a symmetry of the puzzle, undone in the answer")

    @model_validator(mode="after")
    def _differ(self) -> "Scaling":
        differ = bool(self.latent_noise or self.random_starts or self.symmetries)
        if differ != (self.rollouts > 1):
            expected = "2 or more to choose from" if differ else "latent_noise, random_starts or symmetries besides"
            raise ValueError(f"rollouts {self.rollouts}: expected {expected}")
        if not differ and self.halt_max_steps is None:
            raise ValueError("this is the plain run, expected halt_max_steps or rollouts")
        return self

    @property
    def name(self) -> str:
        """What it does, in words."""
        ways = (
            (self.latent_noise, f"latent noise {self.latent_noise:g}"),
            (self.random_starts, "random starts"),
            (self.symmetries, "symmetries"),
            (self.halt_max_steps, f"{self.halt_max_steps} steps"),
        )
        return ", ".join(words for given, words in ways if given)


class Evaluation(Section):
    """How `trm evaluate` scores a finished run."""

    subset: Count | None = Field(None, description="test examples, evenly spaced; null: the whole test set")
    batch_size: Count | None = Field(
        None, description="examples at a time; null: 512, or 64 on a CPU, whose caches hold no more"
    )
    max_variants: Count | None = Field(
        None, description="variants of each test problem at most, the first ones; null: all there are"
    )
    halt_max_steps: Count | None = Field(None, description="supervision steps; null: the model's halt_max_steps")
    early_exit: float | None = Field(
        None, gt=0, lt=1, description="halting probability at which an example is done; null: it takes every step"
    )
    scaling: list[Scaling] = Field([], description="test-time scaling, each way a curve of its own: `trm scale`, below")
    scaling_subset: Count | None = Field(
        None, description="test examples of the scaling, which costs many times a scoring; null, at most: `subset`"
    )


class Logging(Section):
    """Where the training's figures go besides metrics.jsonl. Editing it reruns nothing."""

    tensorboard: bool = Field(False, description="event files for TensorBoard in the folder of the checkpoints")
    wandb: Literal["off", "offline", "online"] = Field(
        "off",
        description="Weights & Biases; offline: in the folder of the checkpoints, the last run there for `wandb sync`",
    )
    project: str = Field("trm", min_length=1, description="of Weights & Biases")

    @field_validator("wandb", mode="before")
    @classmethod
    def _off_is_a_word(cls, value: Any) -> Any:
        return "off" if value is False else value  # what YAML makes of a bare off


class Resources(Section):
    """What the training job asks of the machine or the queue."""

    gpus: int = Field(0, ge=0, description="GPUs of the training on each node; more than one: one rank each")
    nodes: Count = Field(1, description="nodes of the training; more than one: in SLURM only")
    threads: Count = Field(2, description="CPU threads on each node")
    runtime: str = Field(
        "24h", pattern=r"^[1-9]\d*[mhd]$", description="walltime: 90m, 24h, 2d; a longer training takes several"
    )
    mem_mb: Count = Field(
        8000, description="main memory in MB on each node; half as much again each time a training was killed, up to 3x"
    )

    @property
    def minutes(self) -> int:
        """The walltime in minutes."""
        return int(self.runtime[:-1]) * {"m": 1, "h": 60, "d": 24 * 60}[self.runtime[-1]]


class Published(Section):
    """The figure to hold ours against, and where it stands."""

    exact_accuracy: Probability | None = Field(None, description="share of test puzzles solved whole")
    pass_at_2: Probability | None = Field(
        None, alias="pass@2", description="ARC's, in place of it: share of test inputs solved in two attempts"
    )
    source: str = Field(description="where it stands")

    @model_validator(mode="after")
    def _one_figure(self) -> "Published":
        if (self.exact_accuracy is None) == (self.pass_at_2 is None):
            raise ValueError("expected one of exact_accuracy and pass@2")
        return self


class Experiment(Section):
    """One file of config/experiments."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="of the file, without .yaml")
    description: str = Field("", description="what it is, in a sentence, for the report")
    dataset: PuzzleDataset = Field(description="the puzzle and its keys, below")
    more_datasets: list[PuzzleDataset] = Field(
        [], description="sections like `dataset`, to be trained on together with it; of its vocab_size and seq_len"
    )
    model: Model = Field(Model(), description="below")
    training: Training = Field(Training(), description="below")
    evaluation: Evaluation = Field(Evaluation(), description="below")
    logging: Logging = Field(Logging(), description="below")
    seeds: list[Annotated[int, Field(ge=0)]] = Field([0], min_length=1, description="one run for each")
    resources: Resources = Field(Resources(), description="below")
    published: Published | None = Field(None, description="below; null: nothing to compare with")

    @model_validator(mode="after")
    def _recipe_fits_the_model(self) -> "Experiment":
        training, model = self.training, self.model
        if model.puzzle_emb_ndim == 0 and (training.trained == "puzzle_emb" or training.puzzle_emb_dropout):
            key = "trained puzzle_emb" if training.trained == "puzzle_emb" else "puzzle_emb_dropout"
            raise ValueError(f"training.{key} needs model.puzzle_emb_ndim above 0")
        for stage in training.curriculum:
            for key in ("H_cycles", "L_cycles"):
                ours, most = getattr(stage, key), getattr(model, key)
                if ours > most:
                    raise ValueError(f"training.curriculum: {key} {ours}, expected at most the model's, {most}")
        return self

    @property
    def datasets(self) -> list[Dataset]:
        """All that it trains on, in order."""
        return [self.dataset, *self.more_datasets]

    @model_validator(mode="after")
    def _agrees(self) -> "Experiment":
        if self.published and self.published.pass_at_2 is not None and self.dataset.puzzle != "arc":
            raise ValueError(f"published.pass@2: {self.dataset.puzzle} has no attempts, expected exact_accuracy")
        if self.training.final_weights == "best_validation" and self.dataset.validation == 0:
            raise ValueError("training.final_weights best_validation needs dataset.validation above 0")
        names = [dataset.name for dataset in self.datasets]
        if len(set(names)) < len(names):
            raise ValueError("more_datasets: holds a dataset twice, expected different ones")
        return self


class ExperimentFile(Experiment):
    """One file of config/experiments: an experiment, and how it comes by its keys."""

    extends: str | None = Field(
        None,
        description="file beside it, without .yaml, that the experiment equals but for what stands here: keys one by "
        "one, another puzzle's dataset whole, a section that is null reset. Its own: description, published, sweep",
    )
    sweep: dict[str, list[Any]] = Field(
        {}, description="lists of values by key, as in model.L_cycles: [2, 4]; each combination is an experiment"
    )
    smoke: dict[str, Any] = Field(
        {}, description="sections with what a smoke run has otherwise than config/smoke.yaml says"
    )


class Workflow(Section):
    """config/config.yaml: what the workflow runs."""

    experiments: list[str] = Field(
        min_length=1, description="files of config/experiments, without .yaml; or combinations of a sweep, by name"
    )
    raw_data: str | None = Field(None, description="folder with one folder of raw files per puzzle; null: download")
    set: list[str] = Field([], description="overrides for every experiment: section.key=value")
    container: str | None = Field(
        None,
        description="image that jobs run in with --sdm apptainer: a file as envs/trm.def makes it, or docker://...",
    )
    modules: list[str] = Field([], description="environment modules that jobs load with --sdm env-modules")
    smoke: str | None = Field(
        None, description="folder of results for a run of all experiments, each as small as config/smoke.yaml has it"
    )
    pathvars: dict[str, str] = Field({}, description="Snakemake's path variables: results, logs, benchmarks")


def puzzle_names() -> list[str]:
    """The puzzles: every public module in trm/puzzles that declares a `Dataset` section."""
    folder = Path(__file__).parent / "puzzles"
    modules = (path for path in folder.glob("*.py") if not path.name.startswith("_"))
    return sorted(path.stem for path in modules if "\nclass Dataset(" in path.read_text(encoding="utf-8"))


def dataset_section(puzzle: Any) -> type[Dataset]:
    """The model of a puzzle's `dataset:` section. The puzzle is looked up by name: adding one is adding its module."""
    if puzzle not in puzzle_names():
        raise ValueError(f"puzzle {puzzle!r} is unknown, expected one of {', '.join(puzzle_names())}")
    return importlib.import_module(f"trm.puzzles.{puzzle}").Dataset


def json_schema(kind: str) -> dict[str, Any]:
    """JSON schema of a file: `experiment` (with the keys of every puzzle) or `config` (config/config.yaml)."""
    schema = (Workflow if kind == "config" else ExperimentFile).model_json_schema()
    if kind == "experiment":
        del schema["required"]  # they may stand in the file that it extends
        schema["$defs"]["Dataset"] = {"anyOf": [dataset_section(name).model_json_schema() for name in puzzle_names()]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def reference() -> str:
    """Every key of every file as Markdown tables: what config/README.md shows."""
    sections: list[tuple[str, type[BaseModel]]] = [
        ("config/config.yaml", Workflow),
        ("config/experiments/NAME.yaml", ExperimentFile),
        *((f"dataset: of {name}", dataset_section(name)) for name in puzzle_names()),
        ("model:", Model),
        ("training:", Training),
        ("training.curriculum: each stage", Stage),
        ("evaluation:", Evaluation),
        ("evaluation.scaling: each way", Scaling),
        ("logging:", Logging),
        ("resources:", Resources),
        ("published:", Published),
    ]
    parts = []
    for title, section in sections:
        rows = [f"### `{title}`", "", inspect.getdoc(section), "", "| key | default | what |", "| --- | --- | --- |"]
        for name, field in section.model_fields.items():
            default = "required" if field.is_required() else f"`{json.dumps(_plain(field.get_default()))}`"
            own = field if field.description else Dataset.model_fields.get(name, field)  # as of `puzzle:`
            rows.append(f"| `{field.alias or name}` | {default} | {own.description or ''} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts) + "\n"


def _plain(value: Any) -> Any:
    return {} if isinstance(value, BaseModel) else value


def load(path: Path, overrides: list[str] | None = None) -> Experiment:
    """Read and check the file of one experiment; `overrides` are `section.key=value` with YAML values."""
    file = trees.read(path)
    if file.sweep:
        raise BadInput(f"{path}: sweep: stands for {', '.join(file.combinations())}, expected one experiment")
    return check(file.keys, file.source, overrides)


def load_folder(
    folder: Path, overrides: list[str] | None = None, smoke: Path | None = None
) -> dict[str, list[Experiment]]:
    """The experiments in a folder, by the file that stands for them: one each or, of a sweep, each combination.

    `smoke` is the file of the most that a smoke run has of everything: with it the experiments are as small as that.
    """
    most = _read_most(smoke) if smoke else None
    found, places = {}, {}
    for path in sorted(folder.glob("*.yaml")):
        file = trees.read(path)
        found[path.stem] = []
        for name, keys in file.combinations().items():
            experiment = check(keys, file.source, overrides)
            if not file.sweep and experiment.name != path.stem:
                raise BadInput(f"{path}: name: {name}, expected {path.stem}")
            if most is not None:
                experiment = _smoke(experiment, file, most)
            if name in places:
                raise BadInput(f"{path}: stands for {name}, as {places[name]} does, expected names of their own")
            places[name] = path
            found[path.stem].append(experiment)
    return found


def _smoke(experiment: Experiment, file: trees.File, most: dict[str, Any]) -> Experiment:
    """The experiment with little of everything, and what its file asks for besides."""
    tree = trees.lowered(experiment.model_dump(mode="json", by_alias=True), most)
    return check(trees.merged(tree, file.smoke), lambda _: f"{file.source(('smoke',))}: smoke")


def _read_most(path: Path) -> dict[str, Any]:
    """The keys of config/smoke.yaml, each of which has to be one of some experiment; those of `dataset` are of all."""
    most = read_yaml(path)
    puzzles = [dataset_section(name) for name in puzzle_names()]
    known = {"model": [Model], "training": [Training], "evaluation": [Evaluation], "resources": [Resources]}
    known |= {"dataset": puzzles, "seeds": []}
    for section, keys in most.items():
        fields = {name for model in known.get(section, []) for name in model.model_fields}
        unknown = sorted(keys.keys() - fields) if isinstance(keys, dict) else []
        if section not in known or unknown:
            raise BadInput(f"{path}: {'.'.join([section, *unknown[:1]])}: unknown key, expected one of an experiment")
    return {**most, "more_datasets": most.get("dataset", {})}


def check(
    tree: dict[str, Any], where: str | Callable[[tuple], object], overrides: list[str] | None = None
) -> Experiment:
    """The experiment in `tree`; `where` names its source in errors, or that of the key at a location."""
    tree = copy.deepcopy(tree)
    for override in overrides or []:
        trees.override(tree, override)
    try:
        return Experiment.model_validate(tree)
    except ValidationError as error:
        source = where(_first(error)["loc"]) if callable(where) else where
        raise BadInput(f"{source}: {_explain(error, tree)}") from None


def check_evaluation(keys: dict[str, Any]) -> Evaluation:
    """The `evaluation:` section with these keys."""
    try:
        return Evaluation.model_validate(keys)
    except ValidationError as error:
        raise BadInput(_explain(error, {}, "evaluation")) from None


def _explain(error: ValidationError, tree: dict[str, Any], *section: str) -> str:
    """The first problem of a validation, of a section or of all, in one line: key, what is wrong, what was expected."""
    problem = _first(error)
    location = (*section, *problem["loc"])
    key = ".".join(map(str, location))
    if problem["type"] == "extra_forbidden":
        known = _keys_beside(location, tree)
        close = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
        return f"{key}: unknown key, {f'did you mean {close[0]}?' if close else 'expected one of ' + ', '.join(known)}"
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    given = "" if problem["type"] in ("missing", "value_error") else f", not {problem['input']!r}"
    return f"{key}: {message}{given}" if key else f"{message}{given}"


def _first(error: ValidationError) -> dict[str, Any]:
    # an unknown key often explains a missing one, so it comes first
    return min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")


def _keys_beside(location: tuple, tree: dict[str, Any]) -> list[str]:
    """The keys that are known where an unknown one stands."""
    if len(location) == 1:
        return list(ExperimentFile.model_fields)
    if location[0] == "dataset":
        return list(dataset_section(tree["dataset"]["puzzle"]).model_fields)
    if location[:2] == ("training", "curriculum"):
        return list(Stage.model_fields)
    if location[:2] == ("evaluation", "scaling"):
        return list(Scaling.model_fields)
    if location[0] == "more_datasets":
        return list(dataset_section(tree["more_datasets"][location[1]]["puzzle"]).model_fields)
    sections = {
        **{"model": Model, "training": Training, "evaluation": Evaluation},
        **{"logging": Logging, "resources": Resources},
    }
    fields = sections.get(location[0], Published).model_fields
    return [field.alias or name for name, field in fields.items()]
