"""What an estimate says is what the training then takes, as far as that can be counted."""

import json

import pytest

from trm.bench.train import record
from trm.cli import app
from trm.config import check
from trm.files import BadInput
from trm.operations.estimate import estimate, gpus_of, lines, phases, small

from .conftest import EXPERIMENT


@pytest.fixture(scope="module")
def tiny(tiny_data):
    def of(*overrides):
        return estimate(check(EXPERIMENT, "tiny", list(overrides)), [tiny_data])

    return of


@pytest.mark.parametrize("model", ["trm", "hrm"])
def test_flops_of_a_step_are_those_of_its_batch(tiny, tiny_data, tmp_path, model):
    keys = [f"model.name={model}", *(["model.H_layers=1", "model.puzzle_emb_len=0"] if model == "hrm" else [])]
    products, _ = record(small(check(EXPERIMENT, "tiny", keys), [tiny_data], 8, 8, str(tmp_path)))
    assert tiny(*keys).step_flops == pytest.approx(sum(call.flops for call in products), rel=1e-4)


HRM = [
    "model.name=hrm",
    "model.H_layers=1",
    "model.puzzle_emb_len=0",
    "model.L_layers=2",
]  # few activations, many weights
SHALLOW = """training.curriculum=[{until: 0.5, H_cycles: 1, L_cycles: 1}]"""


@pytest.mark.parametrize(
    "keys",
    [[], HRM, [SHALLOW], ["training.micro_batch=20"], ["training.checkpoint_activations=true"]],
    ids=["plain", "hrm", "curriculum", "micro_batch", "checkpoint_activations"],
)
def test_memory_of_a_step_grows_by_its_rows(tiny, tiny_data, tmp_path, keys):
    wide = ["training.global_batch_size=400", "training.max_steps=1", "model.hidden_size=64", *keys]
    found = tiny(*wide).memory["a step"]
    experiment = phases(check(EXPERIMENT, "tiny", wide))[-1].experiment
    micro_batch = 20 if "training.micro_batch=20" in keys else 400
    assert found == pytest.approx(record(small(experiment, [tiny_data], 400, micro_batch, str(tmp_path)))[1], rel=0.05)


def test_steps_and_weights_are_those_of_the_run(tiny, tiny_run):
    facts = json.loads((tiny_run / "provenance.json").read_text())
    found = tiny()
    assert (found.steps, found.weights) == (facts["steps"], facts["parameters"])
    assert tiny("training.max_steps=null").steps == 4 * 60 // 8


def test_a_checkpoint_takes_what_it_is_said_to(tiny, tiny_run):
    for path in tiny_run.with_name("run.checkpoints").glob("*/step-*.safetensors"):
        header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
        sums = 8 * 8  # of the figures since the last line
        assert path.stat().st_size - header == pytest.approx(tiny().checkpoint_bytes, abs=sums)


def test_the_rest_of_the_disk_is_counted_too(tiny, tiny_data, tiny_run):
    found = tiny()
    assert found.dataset_bytes == sum(path.stat().st_size for path in tiny_data.rglob("*"))
    assert found.run_bytes == pytest.approx((tiny_run / "model.safetensors").stat().st_size, rel=0.1)
    assert found.checkpoints_kept == 3


def test_evaluations_on_the_way_are_counted_as_often_as_they_happen(tiny):
    whole, half = tiny("training.max_steps=null"), tiny("training.max_steps=15")
    assert whole.evaluation_flops == 2 * half.evaluation_flops
    assert whole.evaluation_flops == 2 * tiny("training.max_steps=null", "training.eval_subset=10").evaluation_flops
    assert tiny("evaluation.subset=5").test_flops * 4 == whole.test_flops
    assert tiny("evaluation.halt_max_steps=6").test_flops == 3 * whole.test_flops


def test_gpus_share_the_rows(tiny):
    one, four = tiny(), tiny("resources.gpus=2", "resources.nodes=2")
    assert four.gpus == 4
    assert four.memory["states of the rows"] * 4 == one.memory["states of the rows"]
    assert four.checkpoint_bytes == one.checkpoint_bytes
    assert four.hours(1e9) * 4 == pytest.approx(one.hours(1e9))
    with pytest.raises(BadInput, match="8 rows do not divide among 3 GPUs"):
        tiny("resources.gpus=3")


def test_a_curriculum_costs_less_than_its_full_depth(tiny):
    shallow = '[{"until": 0.5, "H_cycles": 1, "L_cycles": 1}]'
    found, full = tiny(f"training.curriculum={shallow}"), tiny()
    first = tiny("model.H_cycles=1", "model.L_cycles=1")
    assert found.step_flops == pytest.approx((first.step_flops + full.step_flops) / 2)
    assert found.evaluation_flops == full.evaluation_flops


def test_frozen_weights_cost_less(tiny, tiny_run):
    from_run = [f"training.init={tiny_run}"]
    frozen, full = tiny(*from_run, "training.trained=puzzle_emb"), tiny(*from_run)
    assert frozen.step_flops < full.step_flops
    thawed = tiny(*from_run, "training.trained=puzzle_emb", "training.freeze_weights_epochs=1")
    assert thawed.step_flops == pytest.approx(0.25 * frozen.step_flops + 0.75 * full.step_flops)


def test_phases_are_the_whole_training():
    stages = [{"until": 0.3, "H_cycles": 1, "L_cycles": 1}, {"until": 0.6, "H_cycles": 2, "L_cycles": 1}]
    tree = {"init": "run", "trained": "puzzle_emb", "freeze_weights_epochs": 1, "curriculum": stages}
    found = phases(check({**EXPERIMENT, "training": {**EXPERIMENT["training"], **tree}}, "tiny"))
    assert [phase.share for phase in found] == pytest.approx([0.25, 0.05, 0.3, 0.4])
    assert [phase.experiment.training.trained for phase in found] == ["puzzle_emb", "all", "all", "all"]
    assert [phase.experiment.model.H_cycles for phase in found] == [1, 1, 2, 2]


def test_hours_need_a_speed_and_jobs_the_walltime(tiny):
    found = tiny()
    assert "GPU hours: not known without a speed" in list(lines(found, None, None))[-1]
    speed = found.training_flops / (5 * 3600)  # five hours
    *_, hours, evaluation = lines(found, None, speed / 1e12)
    assert hours == "GPU hours: 5.00, which take 5h00m, in jobs of 2 h: 3"
    assert evaluation.startswith("evaluation: ")
    two = list(lines(tiny("resources.gpus=2"), None, speed / 1e12))[-2]
    assert two.startswith("GPU hours: 5.00, which take 2h30m on each of 2 GPUs")


def test_half_precision_of_gpus_is_counted_on_a_cpu(tiny):
    assert tiny("model.forward_dtype=float16").memory == tiny("model.forward_dtype=bfloat16").memory


def test_gpus_of_an_experiment_without_any():
    assert gpus_of(check(EXPERIMENT, "tiny")) == 1


def test_the_command_measures_this_device(place, monkeypatch, capsys):
    monkeypatch.chdir(place.root)
    app(["estimate", "config/experiments/tiny.yaml", "--measure", "--device", "cpu"], standalone_mode=False)
    first, *_, measured, hours, _ = capsys.readouterr().out.splitlines()
    assert first.startswith("tiny: ")
    assert first.endswith("6 steps of 8 rows")
    assert measured.startswith("measured: ")
    assert "a step of 8 rows on cpu" in measured
    assert hours.startswith("GPU hours: 0.00, which take 0m")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--measure", "--tflops", "100"], "expected --measure or --tflops"),
        (["--set", "dataset.seed=5"], "no dataset, expected that of tiny; run `snakemake datasets`"),
    ],
)
def test_what_cannot_be_estimated_is_told(place, monkeypatch, options, problem):
    monkeypatch.chdir(place.root)
    with pytest.raises(BadInput, match=problem):
        app(["estimate", "config/experiments/tiny.yaml", *options], standalone_mode=False)
