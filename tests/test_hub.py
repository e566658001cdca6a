"""Published checkpoints go in and come out with the same bits; what does not fit is refused before anything is written.

tests/fixtures/parity holds weights that the published code drew, one set for each network.
"""

import json
import os
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from tests.conftest import ALONE, TINY, signals_kept
from trm.cli import main
from trm.config import Evaluation
from trm.data.layout import content_hash
from trm.evaluation.evaluate import evaluate
from trm.files import BadInput, read_json
from trm.hub import CLASSES, CONFIG, PREFIX, TOKENS, export_run, import_checkpoint, published_config, read_config
from trm.reporting.figures import draw_figure, kinds_of
from trm.reporting.results import read_results
from trm.reporting.tables import results_table
from trm.runs import read_run
from trm.tensors import read_tensors

PARITY = Path(__file__).parent / "fixtures" / "parity"
NAMES = sorted(path.stem for path in PARITY.glob("*.json"))
DELETE = object()

# Of the keys that the published trainer writes beside those of the network
TRAINER = {
    **{"beta1": 0.9, "beta2": 0.95, "checkpoint_every_eval": True, "checkpoint_path": "checkpoints/here"},
    **{"data_paths": ["data/sudoku-extreme-1k-aug-1000"], "data_paths_test": [], "ema": True, "ema_rate": 0.999},
    **{"epochs": 50000, "eval_interval": 5000, "eval_save_outputs": [], "evaluators": [], "freeze_weights": False},
    **{"global_batch_size": 768, "load_checkpoint": None, "lr": 1e-4, "lr_min_ratio": 1.0, "lr_warmup_steps": 2000},
    **{"min_eval_interval": 0, "project_name": "Sudoku", "puzzle_emb_lr": 1e-4, "puzzle_emb_weight_decay": 1.0},
    **{"run_name": "Sudoku mlp_t", "seed": 3, "weight_decay": 1.0},
}


class Checkpoint:
    """A published checkpoint in a folder: weights and configuration, to be changed and then written."""

    def __init__(self, folder, name="trm_mlp_t", step=4):
        meta = json.loads((PARITY / f"{name}.json").read_text())
        golden = np.load(PARITY / f"{name}.npz")
        self.folder, self.file = folder, folder / f"step_{step}"
        self.weights = {
            key.removeprefix("init/"): torch.tensor(golden[key]) for key in golden if key.startswith("init/")
        }
        sizes = ("batch_size", "seq_len", "num_puzzle_identifiers", "vocab_size")
        arch = {key: value for key, value in meta["config"].items() if key not in sizes}
        loss = {"name": "losses@ACTLossHead", "loss_type": meta["loss_type"]}
        self.config = {"arch": {**arch, "name": CLASSES[meta["module"]], "loss": loss}, **TRAINER}

    def set(self, key, value):
        """Change a key such as arch.mlp_t, or take it out."""
        *parents, last = key.split(".")
        tree = self.config
        for parent in parents:
            tree = tree[parent]
        if value is DELETE:
            del tree[last]
        else:
            tree[last] = value

    def write(self):
        self.folder.mkdir(exist_ok=True)
        (self.folder / CONFIG).write_text(yaml.dump(self.config))
        torch.save(self.weights, self.file)
        return self.file


@pytest.fixture
def checkpoint(tmp_path):
    return Checkpoint(tmp_path / "published")


@pytest.fixture(scope="session")
def data(tmp_path_factory, tiny_data):
    """Sudoku boards of 16 cells, said to be of the sizes of the fixtures: a vocabulary of 7, 5 identifiers."""
    folder = tmp_path_factory.mktemp("hub") / "data"
    shutil.copytree(tiny_data, folder)
    for split in ("train", "test"):
        metadata = read_json(folder / split / "dataset.json") | {"vocab_size": 7, "num_puzzle_identifiers": 5}
        (folder / split / "dataset.json").write_text(json.dumps(metadata))
    return folder


def assert_same_bits(found, expected):
    """Names in order, types and bytes."""
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert (name, found[name].dtype, found[name].shape) == (name, tensor.dtype, tensor.shape)
        assert torch.equal(found[name].contiguous().view(torch.uint8), tensor.contiguous().view(torch.uint8)), name


def load(path):
    return torch.load(path, weights_only=True)


def command(monkeypatch, capfd, *arguments):
    """Status and stderr of a command."""
    monkeypatch.setattr(sys, "argv", ["trm", *map(str, arguments)])
    capfd.readouterr()
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code or 0, capfd.readouterr().err


@pytest.mark.parametrize("name", NAMES)
def test_a_published_checkpoint_is_evaluated_and_comes_out_with_the_same_bits(name, tmp_path, data):
    checkpoint = Checkpoint(tmp_path / "published", name)
    run, again, out = tmp_path / "run", tmp_path / "again", tmp_path / "out" / "step_4"
    import_checkpoint(checkpoint.write(), None, run, data)
    result = evaluate(run, data, run, Evaluation(batch_size=20), ALONE)
    assert result["examples"] == 20
    assert result["seed"] == 3

    export_run(run, out)
    assert_same_bits(load(out), checkpoint.weights)
    import_checkpoint(out.parent, None, again, data)
    for file in ("model.safetensors", "config.yaml"):
        assert (again / file).read_bytes() == (run / file).read_bytes()
    assert read_run(again).provenance["seed"] == 3


def test_the_configuration_keeps_its_values(tmp_path, checkpoint):
    checkpoint.write()
    experiment, rest = read_config(checkpoint.folder / CONFIG, None, ["training.log_every=7"])
    assert experiment.name == "sudoku-mlp-t"
    assert rest == {"seed": 3}
    for key, value in checkpoint.config["arch"].items():
        if key not in ("name", "loss", "causal"):
            assert getattr(experiment.model, key) == value, key
    training = experiment.training.model_dump()
    shared = training.keys() & TRAINER.keys()
    assert len(shared) == 13
    assert {key: training[key] for key in shared} == {key: TRAINER[key] for key in shared}
    assert training["log_every"] == 7


def test_keys_that_the_published_trainer_has_defaults_for_may_be_missing(checkpoint):
    for key in ("ema", "ema_rate", "seed", "arch.puzzle_emb_len", "arch.forward_dtype", "run_name"):
        checkpoint.set(key, DELETE)
    checkpoint.set("eval_interval", None)
    checkpoint.write()
    experiment, rest = read_config(checkpoint.folder / CONFIG, None, None)
    assert (experiment.training.ema, experiment.training.eval_interval, rest) == (False, 50000, {"seed": 0})
    assert (experiment.model.puzzle_emb_len, experiment.model.forward_dtype) == (16, "bfloat16")
    assert experiment.name == "published"


def test_keys_that_forks_added_are_taken_over_or_shape_nothing(checkpoint):
    checkpoint.set("arch.puzzle_emb_dropout", 0.1)
    checkpoint.set("arch.grid_noise_prob", 0.0)
    checkpoint.set("arch.halt_max_steps_eval", 64)
    checkpoint.set("eval_max_augmentations", 256)
    checkpoint.set("puzzle_emb_reinit_strategy", "mean")
    checkpoint.write()
    experiment, _ = read_config(checkpoint.folder / CONFIG, None, None)
    assert experiment.training.puzzle_emb_dropout == 0.1
    assert experiment.model.halt_max_steps == checkpoint.config["arch"]["halt_max_steps"]


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("data/arc1concept-aug-1000", {"subsets": ["training", "evaluation", "concept"], "num_aug": 1000, "seed": 42}),
        ("arc2concept-aug-300/", {"subsets": ["training2", "evaluation2", "concept"], "test_sets": ["evaluation2"]}),
        ("data/sudoku-extreme-1k-aug-1000", {"subsample_size": 1000, "num_aug": 1000}),
        ("data/maze-30x30-hard-1k", {"puzzle": "maze", "size": 30, "num_aug": 0}),
    ],
)
def test_published_datasets_are_known_by_name(checkpoint, folder, expected):
    checkpoint.set("data_paths", [folder])
    checkpoint.write()
    experiment, _ = read_config(checkpoint.folder / CONFIG, None, None)
    assert experiment.dataset.model_dump().items() >= expected.items()


def test_a_run_of_ours_goes_out_and_comes_back(tmp_path, tiny_run, tiny_data):
    out, run = tmp_path / "out" / "weights", tmp_path / "run"
    config = yaml.safe_load(export_run(tiny_run, out).read_text())
    exported = load(out)
    assert next(iter(exported)) == f"{PREFIX}H_init"
    assert config["arch"]["name"] == CLASSES["trm"]
    assert config["data_paths"] == [f"data/{read_run(tiny_run).experiment.dataset.name}"]

    import_checkpoint(out, None, run, None)
    assert_same_bits(read_tensors(run / "model.safetensors")[0], read_tensors(tiny_run / "model.safetensors")[0])
    assert (run / "config.yaml").read_bytes() == (tiny_run / "config.yaml").read_bytes()
    facts = read_run(run).provenance
    assert facts["weights"] == {"rule": "published", "step": 6, "ema": True}
    result = evaluate(run, tiny_data, run, Evaluation(batch_size=20), ALONE)
    assert result["figures"] == read_json(tiny_run / "evaluation.json")["figures"]
    known = read_run(tiny_run).provenance["data"]["content_sha256"]
    assert result["data"]["content_sha256"] == known

    export_run(run, tmp_path / "twice" / "weights")
    assert_same_bits(load(tmp_path / "twice" / "weights"), exported)
    assert (tmp_path / "twice" / CONFIG).read_bytes() == (out.parent / CONFIG).read_bytes()


@pytest.mark.parametrize("prefix", ["", "model.inner.", PREFIX])
@pytest.mark.parametrize("suffix", ["", ".pt", ".safetensors"])
def test_names_keep_what_stood_before_them(tmp_path, checkpoint, prefix, suffix):
    path = checkpoint.write().with_name(f"step_4{suffix}")
    weights = {prefix + name.removeprefix(PREFIX): tensor for name, tensor in checkpoint.weights.items()}
    if suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path)
    import_checkpoint(path, None, tmp_path / "run", None)
    export_run(tmp_path / "run", tmp_path / "out" / "step_4")
    assert_same_bits(load(tmp_path / "out" / "step_4"), weights)


def test_starts_keep_the_type_of_the_activations(tmp_path, checkpoint):
    checkpoint.set("arch.forward_dtype", "bfloat16")
    for name in ("H_init", "L_init"):
        checkpoint.weights[PREFIX + name] = checkpoint.weights[PREFIX + name].bfloat16()
    import_checkpoint(checkpoint.write(), None, tmp_path / "run", None)
    export_run(tmp_path / "run", tmp_path / "out" / "step_4")
    assert_same_bits(load(tmp_path / "out" / "step_4"), checkpoint.weights)


@pytest.mark.parametrize(("key", "value"), [("H_layers", 1), ("one_step_gradient", True), ("no_ACT_continue", False)])
def test_an_ablation_that_the_published_code_cannot_compute_is_not_exported(tiny_run, tmp_path, key, value):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    tree = yaml.safe_load((run / "config.yaml").read_text())
    tree["model"][key] = value
    (run / "config.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(BadInput, match=rf"model\.{key}: {value}, expected"):
        export_run(run, tmp_path / "out" / "step_6")
    assert not (tmp_path / "out").exists()


def test_narrow_weights_are_kept_and_used_widened(tmp_path, checkpoint, data):
    narrow = {name: tensor.half() for name, tensor in checkpoint.weights.items()}
    checkpoint.weights = narrow
    import_checkpoint(checkpoint.write(), None, tmp_path / "narrow", data)
    export_run(tmp_path / "narrow", tmp_path / "out" / "step_4")
    assert_same_bits(load(tmp_path / "out" / "step_4"), narrow)

    checkpoint.weights = {name: tensor.float() for name, tensor in narrow.items()}
    import_checkpoint(checkpoint.write(), None, tmp_path / "wide", data)
    scores = [evaluate(tmp_path / run, data, tmp_path / run, Evaluation(), ALONE) for run in ("narrow", "wide")]
    assert scores[0]["by_step"] == scores[1]["by_step"]


def test_tied_weights_and_older_files_are_read(tmp_path, checkpoint):
    checkpoint.weights[f"{PREFIX}lm_head.weight"] = checkpoint.weights[PREFIX + TOKENS]
    torch.save(checkpoint.weights, checkpoint.write(), _use_new_zipfile_serialization=False)
    import_checkpoint(checkpoint.file, None, tmp_path / "run", None)
    weights, _ = read_tensors(tmp_path / "run" / "model.safetensors")
    assert torch.equal(weights["lm_head.weight"], checkpoint.weights[PREFIX + TOKENS])


def test_a_folder_stands_for_its_last_step(tmp_path):
    for step in (900, 1000):
        checkpoint = Checkpoint(tmp_path / "published", step=step)
        checkpoint.weights[f"{PREFIX}q_head.bias"].fill_(step)
        checkpoint.write()
    (tmp_path / "published" / "step_2000_all_preds.0").touch()
    import_checkpoint(tmp_path / "published", None, tmp_path / "run", None)
    weights, state = read_tensors(tmp_path / "run" / "model.safetensors")
    assert weights["q_head.bias"].tolist() == [1000, 1000]
    assert state["step"] == read_run(tmp_path / "run").provenance["steps"] == 1000


def test_an_imported_run_is_reported_like_any_other(tmp_path, checkpoint, data):
    runs, generated = [], ["dataset.size=4", "dataset.blanks=[6, 11]", "dataset.test_size=20"]
    for seed in (3, 4):
        checkpoint.set("seed", seed)
        runs.append(tmp_path / f"run-{seed}")
        import_checkpoint(checkpoint.write(), None, runs[-1], None, generated)
        result = evaluate(runs[-1], data, runs[-1], Evaluation(), ALONE)
        assert result["data"]["content_sha256"] == content_hash(data)
    table = results_table(runs, {})
    assert table["seed"].tolist() == ["3", "4", "mean"]
    assert table["seconds"].isna().all()
    for kind in kinds_of(read_results(runs[1:]), scaled=False):
        draw_figure(kind, runs[1:], tmp_path / kind)


def test_a_training_starts_from_an_imported_run(tmp_path, tiny_run, tiny_data, monkeypatch, capfd):
    export_run(tiny_run, tmp_path / "out" / "step_6")
    import_checkpoint(tmp_path / "out", None, tmp_path / "run", None)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    begin = ("--set", f"training.init={tmp_path / 'run'}", "--set", "training.lr=0", "--set", "training.ema=false")
    place = ("--data", tiny_data, "--out", tmp_path / "more", "--device", "cpu")
    with signals_kept():
        assert command(monkeypatch, capfd, "train", tmp_path / "tiny.yaml", *place, *begin)[0] == 0
    before, after = (read_tensors(folder / "model.safetensors")[0] for folder in (tiny_run, tmp_path / "more"))
    assert torch.equal(after["lm_head.weight"], before["lm_head.weight"])  # learnt nothing, at a rate of 0


# What is refused


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("arch", DELETE, "arch: None, expected a mapping of keys"),
        ("arch", [1], "arch: [1], expected a mapping of keys"),
        ("arch.loss", "x", "arch.loss: 'x', expected a mapping of keys"),
        ("arch.name", "recursive_reasoning.urm@URM", "arch.name: 'recursive_reasoning.urm@URM' is unknown"),
        ("arch.name", [1], "arch.name: [1] is unknown"),
        ("arch.hidden_size", DELETE, "arch.hidden_size: missing"),
        ("arch.hidden_size", "wide", "model.hidden_size: "),
        ("arch.depth", 3, "arch.depth: unknown key"),
        ("arch.loss.weight", 3, "arch.loss.weight: unknown key"),
        ("arch.no_ACT_continue", False, "arch.no_ACT_continue: False, expected True"),
        ("arch.causal", True, "arch.causal: True, expected False"),
        ("arch.loss.name", "losses@Other", "arch.loss.name: 'losses@Other', expected losses@ACTLossHead"),
        ("arch.loss.loss_type", "hinge", "model.loss_type: "),
        ("momentum", 0.9, "momentum: unknown key"),
        ("lr", DELETE, "lr: missing"),
        ("eval_interval", 7, "eval_interval 7 must divide epochs 50000"),
        ("seed", -1, "seed: -1, expected a number from 0 on"),
        ("data_paths", ["data/a", "data/b"], "data_paths: ['data/a', 'data/b'], expected one dataset"),
        ("data_paths", ["data/mine"], "data_paths: 'data/mine' is no dataset known by its name, expected --data DIR"),
        ("trm", {"made": "up"}, "trm.made: unknown key"),
        # contradicted by the weights
        ("arch.H_layers", 2, "H_level.layers.0.mlp_t.gate_up_proj.weight: no such tensor"),
        ("arch.L_layers", 3, "L_level.layers.2.mlp_t.gate_up_proj.weight: no such tensor, expected one of shape"),
        ("arch.L_layers", 1, "L_level.layers.1.mlp_t.gate_up_proj.weight: not a tensor of trm as configured"),
        ("arch.mlp_t", False, "L_level.layers.0.self_attn.qkv_proj.weight: no such tensor"),
        ("arch.hidden_size", 64, "H_init: shape [32], expected [64]"),
        ("arch.puzzle_emb_ndim", 16, "puzzle_emb.weights: shape [5, 32], expected [5, 16]"),
    ],
)
def test_bad_configurations_are_told_in_one_line(tmp_path, checkpoint, monkeypatch, capfd, key, value, words):
    checkpoint.set(key, value)
    code, error = command(monkeypatch, capfd, "import", checkpoint.write(), "--out", tmp_path / "run")
    assert code == 2
    assert words in error
    assert len(error.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["published"]


def _nan(weights):
    weights[f"{PREFIX}q_head.bias"][1] = torch.nan


def _replace(name, value):
    return lambda weights: weights.update({PREFIX + name: value})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weights: weights.pop(f"{PREFIX}lm_head.weight"), "lm_head.weight: no such tensor, expected one of"),
        (lambda weights: weights.pop(PREFIX + TOKENS), f"0 tensors called {TOKENS}, expected one"),
        (lambda weights: weights.clear(), "expected a state dict"),
        (lambda weights: weights.update(step=torch.zeros(1)), f"step: expected {PREFIX} before it"),
        (lambda weights: weights.update(step=3), "step: a int, expected a tensor"),
        (_replace("extra.weight", torch.zeros(2)), "extra.weight: not a tensor of trm as configured"),
        (_replace(TOKENS, torch.zeros(8, 32)), "lm_head.weight: shape [7, 32], expected [8, 32]"),
        (_replace("q_head.weight", torch.zeros(())), "q_head.weight: shape [], expected [2, 32]"),
        (_replace("puzzle_emb.weights", torch.zeros(0, 32)), "puzzle_emb.weights: shape [0, 32], expected [1, 32]"),
        (_replace("q_head.bias", torch.zeros(2, dtype=torch.int64)), "q_head.bias: strided of int64 on cpu, expected"),
        (_replace("q_head.bias", torch.zeros(2).to_sparse()), "q_head.bias: sparse_coo of float32 on cpu, expected"),
        (_nan, "q_head.bias: holds numbers that are not finite"),
        (_replace("q_head.bias", torch.tensor([0.1, 0.2], dtype=torch.float64)), "q_head.bias: float64 numbers that"),
    ],
)
def test_tensors_that_do_not_fit_are_told_in_one_line(tmp_path, checkpoint, monkeypatch, capfd, change, words):
    change(checkpoint.weights)
    code, error = command(monkeypatch, capfd, "import", checkpoint.write(), "--out", tmp_path / "run")
    assert code == 2
    assert words in error
    assert len(error.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["published"]


def test_the_dataset_decides_on_the_sizes(tmp_path, checkpoint, tiny_data):
    with pytest.raises(BadInput, match=r"embed_tokens.embedding_weight: shape \[7, 32\], expected \[6, 32\]"):
        import_checkpoint(checkpoint.write(), None, tmp_path / "run", tiny_data)


def test_networks_that_the_published_code_does_not_have_stay_here(tiny_experiment):
    sections = {"L_layers": 0, "H_layers": 1, "H_cycles": 1, "L_cycles": 1, "puzzle_emb_len": 0}
    model = tiny_experiment.model.model_copy(update={"name": "transformers_baseline", **sections})
    experiment = tiny_experiment.model_copy(update={"model": model})
    with pytest.raises(BadInput, match=r"model.mlp_t: True, expected False: the published transformers_baseline has"):
        published_config(experiment, {"seed": 0, "weights": {"step": 6}})


class Malicious:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"touch {self.trace}",)


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value, 2))])
def test_a_malicious_pickle_is_not_run(tmp_path, checkpoint, monkeypatch, capfd, save):
    trace = tmp_path / "trace"
    path = checkpoint.write()
    save({**checkpoint.weights, "x": Malicious(trace)}, path)
    code, error = command(monkeypatch, capfd, "import", path, "--out", tmp_path / "run")
    assert code == 2
    assert f"{path}: not loaded, for it " in error
    assert len(error.splitlines()) == 1
    assert not trace.exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("step_4", b""),
        ("step_4", b"hello, this is no checkpoint"),
        ("step_4", b"PK\x03\x04 nor a zip file"),
        ("step_4", lambda whole: whole[: len(whole) // 2]),
        ("step_4.safetensors", lambda whole: whole[:100]),
    ],
)
def test_files_that_are_not_whole_are_told_in_one_line(tmp_path, checkpoint, monkeypatch, capfd, name, content):
    path = checkpoint.write().with_name(name)
    path.write_bytes(content if isinstance(content, bytes) else content(checkpoint.file.read_bytes()))
    code, error = command(monkeypatch, capfd, "import", path, "--out", tmp_path / "run")
    assert code == 2
    assert f"{path}: not a whole " in error
    assert len(error.splitlines()) == 1


def test_a_network_that_was_never_published_is_refused(tiny_experiment, monkeypatch):
    monkeypatch.delitem(CLASSES, "trm")  # as for one of a user's own
    with pytest.raises(BadInput, match=r"model\.name: trm, expected a published network: trm_singlez"):
        published_config(tiny_experiment, {"seed": 0, "weights": {"step": 6}})


def test_other_things_than_a_state_dict_are_refused(tmp_path, checkpoint):
    path = checkpoint.write()
    torch.save(list(checkpoint.weights.values()), path)
    with pytest.raises(BadInput, match="holds a list, expected a state dict"):
        import_checkpoint(path, None, tmp_path / "run", None)
    torch.save({"model": checkpoint.weights}, path)
    with pytest.raises(BadInput, match="model: a dict, expected a tensor"):
        import_checkpoint(path, None, tmp_path / "run", None)


def test_places_that_are_taken_or_empty_are_refused(tmp_path, checkpoint, tiny_run):
    path = checkpoint.write()
    with pytest.raises(BadInput, match="is there already, expected a new folder"):
        import_checkpoint(path, None, checkpoint.folder, None)
    with pytest.raises(BadInput, match="no file step_NUMBER"):
        import_checkpoint(tmp_path, None, tmp_path / "run", None)
    with pytest.raises(BadInput, match="step_5: no such file"):
        import_checkpoint(path.with_name("step_5"), None, tmp_path / "run", None)
    with pytest.raises(BadInput, match="its name does not tell the step"):
        import_checkpoint(path.rename(path.with_name("best")), None, tmp_path / "run", None)
    with pytest.raises(BadInput, match="is there already and says something else"):
        export_run(tiny_run, checkpoint.folder / "step_4")
    with pytest.raises(BadInput, match="expected a file for the weights"):
        export_run(tiny_run, tmp_path / CONFIG)
