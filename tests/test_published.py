"""Every published configuration resolves to exactly the published values, and asks the queue for what it needs."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trm.config import Experiment, load_folder

ROOT = Path(__file__).parents[1]
EXPERIMENTS = {found.name: found for several in load_folder(ROOT / "config/experiments").values() for found in several}

# "All TRM"
TRM = {
    "model": {
        **{"name": "trm", "hidden_size": 512, "num_heads": 8, "expansion": 4, "L_layers": 2, "H_layers": 0},
        **{"halt_max_steps": 16, "halt_exploration_prob": 0.1, "puzzle_emb_ndim": 512, "puzzle_emb_len": 16},
        **{"forward_dtype": "bfloat16", "loss_type": "stablemax_cross_entropy", "relaxation": 1, "state_noise": 0},
        **{"random_starts": False, "no_ACT_continue": True, "one_step_gradient": False, "H_cycles": 3},
    },
    "training": {
        **{"global_batch_size": 768, "lr": 1e-4, "lr_min_ratio": 1, "lr_warmup_steps": 2000, "beta1": 0.9},
        **{"beta2": 0.95, "weight_decay": 1, "puzzle_emb_lr": 1e-4, "puzzle_emb_weight_decay": 1, "ema": True},
        **{"ema_rate": 0.999, "max_steps": None, "final_weights": "last", "trained": "all", "init": None},
        **{"curriculum": [], "supervision_decay": 1, "input_noise": 0, "puzzle_emb_dropout": 0, "lora_rank": None},
        **{"max_examples_per_puzzle": None, "freeze_weights_epochs": None, "init_puzzle_emb": None},
    },
}
MLP = {"mlp_t": True, "pos_encodings": "none"}
ATTENTION = {"mlp_t": False, "pos_encodings": "rope"}
LAYERS = {"L_layers": 4, "H_layers": 4, "H_cycles": 2, "L_cycles": 2, "puzzle_emb_len": 0}
HRM = {"name": "hrm", **LAYERS, **ATTENTION}
TRANSFORMER = {"L_layers": 0, "H_layers": 8, "H_cycles": 1, "L_cycles": 1, "puzzle_emb_len": 0, "num_heads": 12}
FIFTY = {"epochs": 50_000, "eval_interval": 5000}
TWENTY = {"epochs": 20_000, "eval_interval": 2000, "ema": False}
SUDOKU = {"puzzle": "sudoku", "size": 9, "subsample_size": 1000, "num_aug": 1000, "validation": 0, "blanks": None}
MAZE = {"puzzle": "maze", "size": 30, "num_aug": 7, "subsample_size": None, "test_size": None, "walls": None}
RATES = {"weight_decay": 0.1, "puzzle_emb_lr": 1e-2, "puzzle_emb_weight_decay": 0.1}
ARC = {"epochs": 100_000, "eval_interval": 10_000, **RATES}
ARC1 = {"puzzle": "arc", "subsets": ["training", "evaluation", "concept"], "test_sets": ["evaluation"], "num_aug": 1000}
ARC2 = {**ARC1, "subsets": ["training2", "evaluation2", "concept"], "test_sets": ["evaluation2"]}
EVALUATION2 = {**ARC2, "subsets": ["evaluation2"]}
HELD = {**ARC2, "subsets": ["evaluation2train", "evaluation2eval"], "test_sets": ["evaluation2eval"]}
SINGLE = {**ATTENTION, "L_cycles": 4, "puzzle_emb_len": 1}
LARGE = {"global_batch_size": 1536, "lr": 2e-4, "puzzle_emb_lr": 2e-2}
LORA = {"trained": "lora", "lora_rank": 1, "lora_alpha": 16, "init": "results/runs/arc2-attention/seed-0", **RATES}
CONTINUED = {"init": "results/runs/arc1-attention/seed-0", "init_puzzle_emb": "mean"}
CLEAN = {**ARC2, "subsets": ["evaluation2clean"], "test_sets": ["evaluation2clean"]}
MANUAL = {**ARC2, "subsets": ["manual_evaluation"], "test_sets": ["manual_evaluation"]}
TUNED = {**RATES, **CONTINUED, "global_batch_size": 384, "lr": 7e-5, "puzzle_emb_lr": 7e-3}
QUARTERS = {"epochs": 12_500, "eval_interval": 3125}
KAGGLE = {"global_batch_size": 96, "lr": 1.25e-5, "puzzle_emb_lr": 1.25e-3, "lr_warmup_steps": 200, "ema": False}
EMBEDDINGS = {**LORA, **KAGGLE, "epochs": 10_000, "trained": "puzzle_emb", "lora_rank": None, "lora_alpha": None}
QUEENS = {"epochs": 500, "eval_interval": 50, "lr_warmup_steps": 1000, "global_batch_size": 512}
ARITHMETIC = {"global_batch_size": 512, "epochs": 100, "lr_warmup_steps": 100, "weight_decay": 0.1}
HANOI = {**FIFTY, "global_batch_size": 128, "max_examples_per_puzzle": 1}
CHESS = {"global_batch_size": 512, "epochs": 1000, "puzzle_emb_lr": 5e-4, "lr_warmup_steps": 1000}
STAGES = [{"until": 0.3, "H_cycles": 1, "L_cycles": 2}, {"until": 0.6, "H_cycles": 2, "L_cycles": 4}]
SUDOKU_MLP = {**MLP, "L_cycles": 6}
HARD = {"epochs": 100, "eval_interval": 10, "ema": False, "global_batch_size": 2304, "lr": 3e-4, "lr_min_ratio": 0.1}
ALONE, FOUR, EIGHT = 1, 4, 8


def queens(variant: str, split: str) -> dict:
    return {"puzzle": "nqueens", "size": 12, "variant": variant, "split": split, "num_aug": 7}


def arithmetic(split: str) -> dict:
    return {"puzzle": "arithmetic", "split": split, "subsample_size": 100_000, "test_size": 10_000, "depth": 4}


# name -> (dataset, model, training, GPUs, published figure): what differs from TRM above
PUBLISHED = {
    "sudoku-extreme-mlp": (SUDOKU, SUDOKU_MLP, FIFTY, ALONE, 0.874),
    "sudoku-extreme-attention": (SUDOKU, {**ATTENTION, "L_cycles": 6}, FIFTY, ALONE, 0.747),
    "sudoku-extreme-act": (SUDOKU, {**SUDOKU_MLP, "no_ACT_continue": False}, FIFTY, ALONE, 0.861),
    "sudoku-extreme-separate": (SUDOKU, {**SUDOKU_MLP, "H_layers": 2}, FIFTY, ALONE, 0.824),
    "sudoku-extreme-no-ema": (SUDOKU, SUDOKU_MLP, {**FIFTY, "ema": False}, ALONE, 0.799),
    "sudoku-extreme-4-layers": (SUDOKU, {**MLP, "L_layers": 4, "L_cycles": 3}, FIFTY, ALONE, 0.795),
    "sudoku-extreme-one-step": (SUDOKU, {**SUDOKU_MLP, "one_step_gradient": True}, FIFTY, ALONE, 0.565),
    "sudoku-extreme-t2-n2": (SUDOKU, {**MLP, "H_cycles": 2, "L_cycles": 2}, FIFTY, ALONE, 0.737),
    "sudoku-extreme-t1-n2": (SUDOKU, {**MLP, "H_cycles": 1, "L_cycles": 2}, FIFTY, ALONE, 0.632),
    "sudoku-extreme-t2-n4": (SUDOKU, {**MLP, "H_cycles": 2, "L_cycles": 4}, FIFTY, ALONE, 0.819),
    "sudoku-extreme-t4-n8": (SUDOKU, {**MLP, "H_cycles": 4, "L_cycles": 8}, FIFTY, ALONE, 0.842),
    "sudoku-extreme-t6-n6": (SUDOKU, {**MLP, "H_cycles": 6, "L_cycles": 6}, FIFTY, ALONE, 0.858),
    "sudoku-extreme-singlez": (SUDOKU, {**SUDOKU_MLP, "name": "trm_singlez"}, FIFTY, ALONE, 0.719),
    "sudoku-extreme-hier6": (SUDOKU, {**SUDOKU_MLP, "name": "trm_hier6"}, FIFTY, ALONE, 0.776),
    "sudoku-extreme-hrm": (SUDOKU, HRM, TWENTY, EIGHT, 0.55),
    "sudoku-extreme-hrm-1gpu": (SUDOKU, HRM, {**TWENTY, "global_batch_size": 384, "lr": 7e-5}, ALONE, None),
    "sudoku-extreme-full-hrm": (
        {**SUDOKU, "subsample_size": None, "num_aug": 0},
        {**HRM, "L_cycles": 8, "halt_max_steps": 8, "pos_encodings": "learned", "loss_type": "softmax_cross_entropy"},
        {**HARD, "weight_decay": 0.1, "puzzle_emb_lr": 3e-4, "puzzle_emb_weight_decay": 0.1},
        *(EIGHT, None),
    ),
    "sudoku-extreme-transformer": (
        *(SUDOKU, {"name": "transformers_baseline", **TRANSFORMER, **ATTENTION}),
        *(TWENTY, ALONE, None),
    ),
    "sudoku-cgar": (SUDOKU, SUDOKU_MLP, {**FIFTY, "curriculum": STAGES, "supervision_decay": 0.7}, ALONE, 0.8602),
    "sudoku-cgar-depth": (SUDOKU, SUDOKU_MLP, {**FIFTY, "curriculum": STAGES}, ALONE, 0.8547),
    "sudoku-eqr": (
        SUDOKU,
        {**SUDOKU_MLP, "relaxation": 0.95, "state_noise": 0.01, "random_starts": True, "puzzle_emb_ndim": 0},
        *(FIFTY, ALONE, 0.864),
    ),
    "maze-hard": (MAZE, {**ATTENTION, "L_cycles": 4}, FIFTY, FOUR, 0.853),
    "maze-hard-1gpu": (MAZE, {**ATTENTION, "L_cycles": 4}, {**FIFTY, "global_batch_size": 128}, ALONE, None),
    "maze-hard-mlp": (MAZE, {**MLP, "L_cycles": 4}, FIFTY, FOUR, 0.0),
    "maze-hard-hrm": (MAZE, HRM, TWENTY, EIGHT, 0.745),
    "arc1-attention": (ARC1, {**ATTENTION, "L_cycles": 4}, ARC, FOUR, 0.446),
    "arc1-mlp": (ARC1, {**MLP, "L_cycles": 4}, ARC, FOUR, 0.296),
    "arc1-hrm": (ARC1, HRM, {**ARC, "ema": False}, EIGHT, 0.403),
    "arc2-attention": (ARC2, {**ATTENTION, "L_cycles": 4}, ARC, FOUR, 0.078),
    "arc2-mlp": (ARC2, {**MLP, "L_cycles": 4}, ARC, FOUR, 0.024),
    "arc2-hrm": (ARC2, HRM, {**ARC, "ema": False}, EIGHT, 0.05),
    "arc2-slim": (
        ARC2,
        {**ATTENTION, "L_cycles": 4, "hidden_size": 256, "puzzle_emb_ndim": 256, "puzzle_emb_len": 1},
        {**ARC, "eval_interval": 20_000, "global_batch_size": 1536, "lr": 4e-4, "puzzle_emb_lr": 4e-2},
        *(FOUR, None),
    ),
    "arc2-wide": (
        *(ARC2, {**ATTENTION, "L_cycles": 4, "hidden_size": 1024, "puzzle_emb_len": 1}),
        {**ARC, "epochs": 300_000, "lr": 5e-5, "puzzle_emb_lr": 5e-3},
        *(FOUR, None),
    ),
    "arc2-half-cycles": (
        *(ARC2, {**ATTENTION, "H_cycles": 2, "L_cycles": 2, "halt_max_steps": 8, "puzzle_emb_len": 1}),
        *({**ARC, "eval_interval": 2500}, EIGHT, None),
    ),
    "arc2-extended": (
        *({**HELD, "subsets": ["concept", "tama", "training2", *HELD["subsets"]]}, SINGLE),
        *({**ARC, **LARGE, "epochs": 200_000, "eval_interval": 5000}, EIGHT, None),
    ),
    "arc2-hard": (
        *({**HELD, "subsets": ["traininghard", *HELD["subsets"]]}, SINGLE),
        *({**ARC, **LARGE, "epochs": 1_000_000, "eval_interval": 25_000}, EIGHT, None),
    ),
    "arc2-several": ({**ARC2, "subsets": ["training2", "evaluation2"]}, {**ATTENTION, "L_cycles": 4}, ARC, FOUR, None),
    "arc2-continued": (
        *(ARC2, {**ATTENTION, "L_cycles": 4}),
        {**FIFTY, **RATES, **CONTINUED, "freeze_weights_epochs": 3125, "trained": "puzzle_emb"},
        *(FOUR, None),
    ),
    "arc2-fine-tuning": (CLEAN, {**ATTENTION, "L_cycles": 4}, {**TUNED, **QUARTERS}, FOUR, 0.0219),
    "arc2-fine-tuning-staged": (
        *(CLEAN, {**ATTENTION, "L_cycles": 4}),
        {**TUNED, **QUARTERS, "trained": "puzzle_emb", "freeze_weights_epochs": 3125},
        *(FOUR, 0.0307),
    ),
    "arc2-lora-manual": (
        *(MANUAL, {**ATTENTION, "L_cycles": 4}, {**LORA, **QUARTERS}),
        *(FOUR, None),
    ),
    "arc2-lora": (
        *(EVALUATION2, {**ATTENTION, "L_cycles": 4}, {**LORA, **QUARTERS}),
        *(FOUR, None),
    ),
    "arc2-lora-kaggle": (EVALUATION2, {**ATTENTION, "L_cycles": 4}, {**LORA, **KAGGLE, "epochs": 500}, FOUR, None),
    "arc2-post-training": (
        *(EVALUATION2, {**ATTENTION, "L_cycles": 4}),
        {**EMBEDDINGS, "eval_interval": 2500},
        *(ALONE, None),
    ),
    "arc2-post-training-manual": (
        *(MANUAL, {**ATTENTION, "L_cycles": 4}, {**EMBEDDINGS, "eval_interval": 1000}),
        *(ALONE, 0.065),
    ),
    "nqueens-12-many-published": (queens("many", "published"), SUDOKU_MLP, QUEENS, ALONE, 0.40),
    "nqueens-12-unique-published": (
        *(queens("unique", "published"), SUDOKU_MLP, {**QUEENS, "global_batch_size": 128}),
        *(ALONE, 0.97),
    ),
    "nqueens-12-many": (queens("many", "orbit"), SUDOKU_MLP, QUEENS, ALONE, None),
    "nqueens-12-unique": (
        queens("unique", "orbit"),
        *(SUDOKU_MLP, {**QUEENS, "global_batch_size": 128}, ALONE, None),
    ),
    "skyscrapers-6": (
        {
            "puzzle": "skyscrapers",
            "size": 6,
            "subsample_size": 2000,
            "test_size": 200,
            "num_aug": 7,
            "given": [0.0, 0.3],
        },
        *(SUDOKU_MLP, {"global_batch_size": 512, "epochs": 10_000, "lr": 2e-4, "puzzle_emb_lr": 2e-4}, ALONE, None),
    ),
    "hanoi-action": ({"puzzle": "hanoi", "encoding": "action"}, {**MLP, "L_cycles": 8}, HANOI, ALONE, 0.0),
    "hanoi-state": ({"puzzle": "hanoi", "encoding": "state"}, {**MLP, "L_cycles": 8}, HANOI, ALONE, 0.0),
    "arithmetic-published": (arithmetic("published"), {**MLP, "L_cycles": 8}, ARITHMETIC, ALONE, 0.432),
    "arithmetic": (arithmetic("clean"), {**MLP, "L_cycles": 8}, ARITHMETIC, ALONE, None),
    "chess": (
        *({"puzzle": "chess", "subsample_size": 200_000, "test_share": 0.1}, {**ATTENTION, "L_cycles": 6}, CHESS),
        *(ALONE, 0.112),
    ),
}
CAPS = {  # to vote
    **{"arc2-fine-tuning": 256, "arc2-fine-tuning-staged": 256, "arc2-lora": 256, "arc2-lora-manual": 256},
    **{"arc2-lora-kaggle": 8, "arc2-post-training": 256},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_configuration_resolves_to_exactly_its_values(name):
    found = EXPERIMENTS[name].model_dump(mode="json")
    dataset, model, training, _, figure = PUBLISHED[name]
    for section, expected in (
        ("dataset", dataset),
        ("model", TRM["model"] | model),
        ("training", TRM["training"] | training),
    ):
        assert {key: found[section][key] for key in expected} == expected
    assert found["evaluation"]["max_variants"] == CAPS.get(name)
    assert found["evaluation"]["subset"] is None
    published = found["published"]
    assert (published and [value for key, value in published.items() if key != "source" and value is not None]) == (
        None if figure is None else [figure]
    )


@pytest.mark.parametrize(
    ("name", "ways"),
    [
        (
            "sudoku-extreme-mlp",  # depth, PTRM, votes of symmetric twins
            [{"halt_max_steps": 64}, {"rollouts": 100, "latent_noise": 0.3}, {"rollouts": 16, "symmetries": True}],
        ),
        ("sudoku-eqr", [{"halt_max_steps": 64}, {"halt_max_steps": 64, "rollouts": 128, "random_starts": True}]),
    ],
)
def test_more_is_tried_of_the_same_weights_as_was_published(name, ways):
    scaling = EXPERIMENTS[name].evaluation.scaling
    assert [way.model_dump(exclude_defaults=True) for way in scaling] == ways


def test_no_experiment_is_a_copy_of_another():
    def shape(experiment: Experiment) -> str:
        return json.dumps(experiment.model_dump(mode="json", exclude={"name", "description", "published", "resources"}))

    shapes = {shape(experiment) for experiment in EXPERIMENTS.values()}
    assert len(shapes) == len(EXPERIMENTS)


def test_every_experiment_with_a_published_figure_is_in_the_table():
    published = {name for name, experiment in EXPERIMENTS.items() if experiment.published}
    assert published <= PUBLISHED.keys() <= EXPERIMENTS.keys()


@pytest.fixture(scope="module")
def planned(tmp_path_factory) -> dict[str, str]:
    """What a dry run prints of the training of every published experiment."""
    folder = tmp_path_factory.mktemp("planned")
    shutil.copytree(ROOT / "config", folder / "config")
    (folder / "config/smoke.yaml").unlink()
    raw = folder / "raw"
    files = {"sudoku": ["train.csv", "test.csv"], "maze": ["train.csv", "test.csv"]}
    files["chess"] = ["lichess_db_eval.jsonl.zst"]
    parts = ("challenges", "solutions")
    subsets = {name for experiment in EXPERIMENTS.values() for name in getattr(experiment.dataset, "subsets", [])}
    files["arc"] = [f"arc-agi_{subset}_{part}.json" for subset in subsets for part in parts]
    for puzzle, names in files.items():
        (raw / puzzle).mkdir(parents=True)
        for name in names:
            (raw / puzzle / name).touch()
    targets = [f"results/runs/{name}/seed-0/model.safetensors" for name in PUBLISHED]
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "64"]
    options = ["--workflow-profile", "none", "--dry-run", "--printshellcmds", "--config", f"raw_data={raw}"]
    done = subprocess.run(
        [*command, *options, "--", *targets],
        cwd=folder,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = re.split(r"\n(?=rule |\[)", done.stdout + done.stderr)
    return {match[1]: job for job in jobs if (match := re.search(r"wildcards: experiment=([\w-]+), seed=0", job))}


@pytest.mark.parametrize("name", PUBLISHED)
def test_its_dry_run_shows_the_gpus_and_the_command(name, planned):
    job, gpus = planned[name], PUBLISHED[name][3]
    resources = re.search(r"resources: (.*)", job)[1]
    assert f"gpu={gpus}" in resources.replace(" ", "").split(",")
    assert int(re.search(r"threads: (\d+)", job)[1]) == EXPERIMENTS[name].resources.threads
    shell = next(line for line in job.splitlines() if " train '{" in line)
    words = shlex.split(shell.partition(" 2> ")[0])
    launched = words[: words.index("train")]
    assert ("torchrun" in " ".join(launched)) == (gpus > 1)
    if gpus > 1:
        assert launched[launched.index("--nproc-per-node") + 1] == str(gpus)
    assert words[words.index("--out") + 1] == f"results/runs/{name}/seed-0"
    sections = json.loads(words[words.index("train") + 1])
    expected = EXPERIMENTS[name].model_dump(mode="json")
    assert sections["training"] == expected["training"]
    assert sections["model"] == expected["model"]
