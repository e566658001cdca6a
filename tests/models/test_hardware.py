"""Networks make the best of the machine, in types that it computes in, and the numbers stay those of the papers."""

import math

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.models.test_networks import ROWS, VOCABULARY, answer, batch, build, small
from trm import distribution
from trm.config import Model, Training
from trm.data.layout import read_split
from trm.distribution import compiles, pick_device
from trm.evaluation.inference import to_batch
from trm.files import BadInput
from trm.models import NETWORKS, act, hardware, losses
from trm.models.hardware import out_of_memory, suited, suited_dtype
from trm.models.losses import loss_and_metrics, widest
from trm.runs import FinishedRun, load_model, read_run
from trm.tensors import read_tensors, write_tensors
from trm.training.trainer import FLOAT16_SCALE, Trainer

CPU, CUDA, APPLE = torch.device("cpu"), torch.device("cuda", 0), torch.device("mps")
TRAINING = Training(global_batch_size=ROWS, lr=1e-3, lr_warmup_steps=0, epochs=1, eval_interval=1)


def trainer_of(dtype="float32", name="trm", training=TRAINING, **keys):
    return Trainer(build(small(name, forward_dtype=dtype, halt_exploration_prob=0.5, **keys)), training, total_steps=10)


def steps(trained, first, last):
    return [trained.step(t, batch(t), trained.exploration(t)) for t in range(first, last + 1)]


def copied(tensors):
    return {name: tensor.clone() for name, tensor in tensors.items()}


def assert_same_bits(found, expected):
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


# types of the activations


@pytest.mark.parametrize(
    ("device", "about", "of_bfloat16", "of_float16"),
    [
        ("cpu", (None, True), "bfloat16", "float16"),
        ("cpu", (None, False), "float32", "float32"),  # a laptop without AVX-512
        ("mps", (None,), "float32", "float32"),
        ("cuda", ((5, 2),), "float32", "float32"),  # Maxwell
        ("cuda", ((6, 1),), "float32", "float32"),  # Pascal: GTX 1080
        ("cuda", ((7, 0),), "float16", "float16"),  # Volta: V100
        ("cuda", ((7, 5),), "float16", "float16"),  # Turing: T4
        ("cuda", ((8, 0),), "bfloat16", "float16"),  # Ampere: A100
        ("cuda", ((9, 0),), "bfloat16", "float16"),  # Hopper: H100
        ("cuda", ((12, 0),), "bfloat16", "float16"),  # Blackwell
    ],
)
def test_every_device_computes_in_a_type_that_it_is_good_at(device, about, of_bfloat16, of_float16):
    assert suited_dtype("bfloat16", device, *about) == of_bfloat16
    assert suited_dtype("float16", device, *about) == of_float16
    assert suited_dtype("float32", device, *about) == "float32"


def test_a_configuration_is_suited_to_its_device_and_otherwise_stays_what_it_was(monkeypatch):
    config = Model()
    for native, dtype in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda native=native: native)
        assert suited(config, CPU) == config.model_copy(update={"forward_dtype": dtype})
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    on_turing = suited(config, CUDA)
    assert on_turing.forward_dtype == "float16"
    assert config.forward_dtype == "bfloat16"
    assert on_turing.model_copy(update={"forward_dtype": "bfloat16"}) == config


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_trains_in_every_type(name, dtype):
    trained = trainer_of(dtype, name)
    before = copied(trained.model.state_dict())
    for outputs in steps(trained, 1, 4):
        assert outputs.q[0].dtype == torch.float32
        assert torch.isfinite(outputs.loss)
        assert torch.isfinite(outputs.metrics).all()
    assert {tensor.dtype for tensor in trained.carry.state} == {getattr(torch, dtype)}
    for key, parameter in trained.model.named_parameters():
        assert parameter.dtype == torch.float32
        assert torch.isfinite(parameter).all()
        assert not torch.equal(parameter, before[key]), key


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("loss_type", ["softmax_cross_entropy", "stablemax_cross_entropy"])
def test_float16_has_the_gradients_of_float32(name, loss_type):
    half, full = (trainer_of(dtype, name, loss_type=loss_type) for dtype in ("float16", "float32"))
    assert (half.scale, full.scale) == (FLOAT16_SCALE, 1)
    for trained in (half, full):
        steps(trained, 1, 1)
    for ours, theirs, key in zip(half.parameters, full.parameters, full.names, strict=True):
        assert (ours.grad - theirs.grad).norm() <= 0.02 * theirs.grad.norm(), key
    torch.testing.assert_close(half.model.puzzle_emb.weights, full.model.puzzle_emb.weights)


def test_the_scale_keeps_small_gradients_from_vanishing_in_float16():
    """As in a batch of thousands of rows with small losses: a gradient a millionth as large."""
    full, scaled, bare = (trainer_of(dtype) for dtype in ("float32", "float16", "float16"))
    bare.scale = 1.0
    for trained in (full, scaled, bare):
        trained.config = TRAINING.model_copy(update={"global_batch_size": ROWS * 10**6})
        trained._part(1, slice(0, ROWS), *start(trained))
    expected, ours, theirs = (
        torch.cat([p.grad.flatten() for p in trained.parameters]) / trained.scale for trained in (full, scaled, bare)
    )
    assert (ours - expected).norm() < 0.05 * expected.norm()
    assert (theirs - expected).norm() > 0.5 * expected.norm()


def start(trained):
    rows = batch(1)
    return act.start(trained.model, rows), rows, (torch.zeros(ROWS, dtype=torch.bool), torch.zeros(ROWS).int())


@pytest.mark.parametrize("name", NETWORKS)
def test_the_scale_leaves_no_trace(name):
    """In float32 it changes no bit of anything, as a power of two."""
    plain, scaled = trainer_of(name=name), trainer_of(name=name)
    scaled.scale = FLOAT16_SCALE
    assert math.log2(FLOAT16_SCALE).is_integer()
    for ours, theirs in zip(steps(scaled, 1, 5), steps(plain, 1, 5), strict=True):
        assert torch.equal(ours.loss, theirs.loss)
        assert torch.equal(ours.metrics, theirs.metrics)
    assert_same_bits(scaled.tensors(), plain.tensors())


def test_a_restored_float16_training_takes_the_same_steps():
    undisturbed, killed, restored = (trainer_of("float16") for _ in range(3))
    steps(undisturbed, 1, 5)
    steps(killed, 1, 3)
    restored.restore(copied(killed.tensors()))
    steps(restored, 4, 5)
    assert_same_bits(restored.tensors(), undisturbed.tensors())


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_bfloat16_training_goes_on_in_another_type(name, dtype):
    """As when a job that was stopped on an A100 is started again on a V100, or on a GTX 1080."""
    before, after = trainer_of("bfloat16", name), trainer_of(dtype, name)
    steps(before, 1, 2)
    after.restore(copied(before.tensors()))
    for ours, theirs in zip(steps(after, 3, 4), steps(before, 3, 4), strict=True):
        assert ours.lr == theirs.lr
        torch.testing.assert_close(ours.loss, theirs.loss, rtol=0.05, atol=0)
    assert {tensor.dtype for tensor in after.carry.state} == {getattr(torch, dtype)}
    assert torch.equal(after.carry.batch.inputs, before.carry.batch.inputs)
    again = trainer_of(dtype, name)  # and from there on every bit counts again
    again.restore(copied(after.tensors()))
    steps(again, 5, 5)
    steps(after, 5, 5)
    assert_same_bits(again.tensors(), after.tensors())


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_weights_of_a_bfloat16_run_answer_in_another_type(dtype, tiny_run, tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "cpu_computes_in", lambda dtype: True)
    run, metadata = finished(tiny_run, tmp_path, "bfloat16"), read_split(tiny_data / "test").metadata
    theirs = load_model(run, metadata, CPU)
    ours = load_model(finished(tiny_run, tmp_path, dtype), metadata, CPU)
    rows = to_batch(read_split(tiny_data / "test"), np.arange(20), CPU)
    assert ours.H_init.dtype == getattr(torch, dtype)
    torch.testing.assert_close(ours.H_init.float(), theirs.H_init.float())
    a, b = answer(ours, rows), answer(theirs, rows)
    assert (a.predictions == b.predictions).mean() > 0.95
    np.testing.assert_allclose(a.q_halt, b.q_halt, atol=0.05)


def finished(run, folder, dtype):
    """The run as one in bfloat16 leaves it, to be used in `dtype`."""
    run = read_run(run)
    weights, _ = read_tensors(run.folder / "model.safetensors")
    starts = {name: tensor.bfloat16() for name, tensor in weights.items() if name in ("H_init", "L_init")}
    assert len(starts) == 2
    write_tensors(folder / "model.safetensors", {**weights, **starts}, {})
    model = run.experiment.model.model_copy(update={"forward_dtype": dtype})
    return FinishedRun(folder, run.experiment.model_copy(update={"model": model}), run.provenance)


# Apple's GPUs have no float64


class NoFloat64(TorchDispatchMode):
    """A device that has no float64: an operation that would make one fails."""

    def __torch_dispatch__(self, operation, types, arguments=(), keys=None):
        found = operation(*arguments, **(keys or {}))
        for tensor in torch.utils._pytree.tree_leaves(found):
            assert not (isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float64), operation
        return found


@pytest.fixture
def apple(monkeypatch):
    monkeypatch.setattr(losses, "widest", lambda device: widest(APPLE))


def test_sums_are_of_the_widest_type_that_a_device_has():
    assert (widest(CPU), widest(CUDA), widest(APPLE)) == (torch.float64, torch.float64, torch.float32)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("loss_type", losses.TOKEN_LOSSES)
def test_a_step_without_float64_is_the_same_up_to_rounding(name, loss_type, monkeypatch):
    training = TRAINING.model_copy(update={"supervision_decay": 0.7, "input_noise": 0.2, "puzzle_emb_dropout": 0.2})
    ours, theirs = (trainer_of(name=name, training=training, loss_type=loss_type) for _ in range(2))
    expected = steps(theirs, 1, 3)
    monkeypatch.setattr(losses, "widest", lambda device: widest(APPLE))
    with NoFloat64():
        found = steps(ours, 1, 3)
        answer(ours.model, batch(0))
    for a, b in zip(found, expected, strict=True):
        assert a.metrics.dtype == torch.float32
        assert b.metrics.dtype == torch.float64
        torch.testing.assert_close(a.metrics.double(), b.metrics, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(a.loss.double(), b.loss.double(), rtol=1e-5, atol=1e-5)
    for key, tensor in theirs.model.state_dict().items():
        torch.testing.assert_close(ours.model.state_dict()[key], tensor, rtol=1e-5, atol=1e-5, msg=key)


def test_a_network_in_noise_needs_no_float64(apple):
    eqr = {"relaxation": 0.95, "state_noise": 0.01, "random_starts": True}
    trained = trainer_of(**eqr)
    with NoFloat64():
        steps(trained, 1, 2)
        answer(trained.model, batch(0))


@pytest.mark.parametrize("loss_type", losses.TOKEN_LOSSES)
def test_losses_in_float32_are_those_in_float64_also_for_large_logits(loss_type, apple):
    generator = torch.Generator().manual_seed(0)
    labels = batch(0).labels
    for size in (0.1, 1, 30, 1000):
        logits = size * torch.randn(*labels.shape, VOCABULARY, generator=generator)
        q = size * torch.randn(ROWS, 2, generator=generator)
        rest = (labels, torch.ones(ROWS, dtype=torch.bool), torch.ones(ROWS, dtype=torch.int32))
        loss, figures = loss_and_metrics(loss_type, logits, q, *rest)
        assert figures.dtype == torch.float32
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(losses, "widest", widest)
            wide_loss, wide_figures = loss_and_metrics(loss_type, logits, q, *rest)
        assert wide_figures.dtype == torch.float64
        torch.testing.assert_close(loss.double(), wide_loss.double(), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(figures.double(), wide_figures, rtol=1e-5, atol=1e-5)


# what a GPU would have to be waited for


class NoWaiting(TorchDispatchMode):
    """A device whose numbers nobody may ask for: an operation fails that needs one, or as many as it says."""

    WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal", "bincount", "repeat_interleave")

    def __torch_dispatch__(self, operation, types, arguments=(), keys=None):
        name = str(operation).split(".")[1]
        assert not name.startswith(self.WAITS), operation
        if name.startswith("index"):  # a mask is an index as long as the device says
            leaves = torch.utils._pytree.tree_leaves(arguments[1:2])
            assert not any(isinstance(leaf, torch.Tensor) and leaf.dtype == torch.bool for leaf in leaves), operation
        return operation(*arguments, **(keys or {}))


@pytest.mark.parametrize("name", NETWORKS)
def test_no_step_waits_for_the_device(name):
    training = TRAINING.model_copy(update={"supervision_decay": 0.7, "input_noise": 0.2, "puzzle_emb_dropout": 0.2})
    trained = trainer_of(name=name, training=training.model_copy(update={"micro_batch": 3}))
    with NoWaiting():
        steps(trained, 1, 3)
        with pytest.raises(AssertionError, match="_local_scalar_dense"):
            trained.carry.steps.max().item()


# devices, compilers, memory


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_refused_in_one_line(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(BadInput, match=rf"^--device {name}: this machine has no [^\n]*, expected cpu or auto$"):
        pick_device(name)
    assert pick_device("auto") == pick_device("cpu") == CPU


def test_auto_is_the_best_device_there_is_and_on_cuda_the_one_of_the_rank(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device("auto") == APPLE
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto") == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert pick_device("auto") == pick_device("cuda") == torch.device("cuda", 3)
    assert pick_device("mps") == APPLE


class Machine:
    """What a machine has to compile with, all of it unless told otherwise."""

    def __init__(self, monkeypatch):
        self.capability, self.triton, self.compilers = (8, 0), True, {"gcc", "g++", "clang++"}
        for variable in ("CC", "CXX"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: self.capability)
        monkeypatch.setattr(distribution, "find_spec", lambda name: name if self.triton else None)
        monkeypatch.setattr(distribution.shutil, "which", lambda name: name if name in self.compilers else None)


@pytest.fixture
def machine(monkeypatch):
    return Machine(monkeypatch)


def test_blocks_are_compiled_by_themselves_on_cuda_alone(machine):
    assert compiles("auto", CUDA)
    assert not compiles("auto", CPU)
    assert not compiles("auto", APPLE)
    for device in (CPU, CUDA, APPLE):
        assert compiles(True, device)
        assert not compiles(False, device)


@pytest.mark.parametrize(
    ("lack", "device", "expected"),
    [
        ({"capability": (6, 1)}, CUDA, "a GPU of compute capability 7.0 or more on cuda"),
        ({"triton": False}, CUDA, "Triton on cuda"),
        ({"compilers": set()}, CUDA, "a compiler (gcc or clang) on cuda"),
        ({"compilers": {"gcc"}}, CPU, "a compiler (g++) on cpu"),
    ],
)
def test_what_is_missing_to_compile_is_said_in_one_line_and_auto_does_without(lack, device, expected, machine):
    for key, value in lack.items():
        setattr(machine, key, value)
    assert not compiles("auto", device)
    assert not compiles(False, device)
    with pytest.raises(BadInput) as caught:
        compiles(True, device)
    assert str(caught.value) == f"training.compile: true needs {expected}, expected auto or false"


def test_a_compiler_may_have_another_name(machine, monkeypatch):
    machine.compilers = {"gcc-13", "g++-13"}
    monkeypatch.setenv("CC", "gcc-13")
    monkeypatch.setenv("CXX", "g++-13")
    assert compiles("auto", CUDA)
    assert compiles(True, CPU)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"), True),
        (MemoryError("Unable to allocate 2.00 GiB for an array"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 5.56 GB). Tried to allocate 1.02 GB"), True),
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("could not create a primitive descriptor for a matmul primitive"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (4x16 and 32x16)"), False),
    ],
)
def test_want_of_memory_is_told_from_other_errors(error, expected):
    assert out_of_memory(error) == expected


def test_want_of_memory_on_the_cpu_is_what_torch_says_of_it():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert out_of_memory(caught.value)


def test_compiled_blocks_compute_what_they_compute_eagerly():
    """Made into machine code, at a small size; the parity test does it at every network's."""
    compiled, eager = trainer_of(), trainer_of()
    hardware.prepare(compiled.model, compiled=True, recomputes=False)
    for ours, theirs in zip(steps(compiled, 1, 2), steps(eager, 1, 2), strict=True):
        torch.testing.assert_close(ours.logits[0], theirs.logits[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours.metrics, theirs.metrics, rtol=1e-5, atol=1e-5)
    for key, tensor in eager.model.state_dict().items():
        torch.testing.assert_close(compiled.model.state_dict()[key], tensor, rtol=1e-5, atol=1e-5, msg=key)
