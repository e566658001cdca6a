"""Two seeds of a tiny experiment, really built, trained and scored, and everything drawn and written from them."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ALONE, signals_kept
from trm.config import Evaluation, Scaling, check
from trm.data.audit import audit
from trm.data.build import build
from trm.evaluation.evaluate import evaluate
from trm.evaluation.scaling import scale
from trm.files import write_json
from trm.reporting.audits import audits_table, write_audits
from trm.reporting.comparisons import comparisons, write_comparisons
from trm.reporting.figures import FIGURES, OF_VOTES, draw_figure
from trm.reporting.preview import preview
from trm.reporting.report import report
from trm.reporting.scaling import scaling_table, write_scaling_table
from trm.reporting.tables import results_table, write_table
from trm.training.loop import train

EXPERIMENT = {
    "name": "tiny",
    "dataset": {
        "puzzle": "sudoku",
        "size": 4,
        "blanks": [4, 8],
        "subsample_size": 60,
        "test_size": 20,
        "validation": 0.1,
    },
    "model": {
        "hidden_size": 16,
        "num_heads": 2,
        "H_cycles": 1,
        "L_cycles": 1,
        "L_layers": 1,
        "puzzle_emb_ndim": 0,
        "halt_max_steps": 3,
        "forward_dtype": "float32",
    },
    "training": {
        "global_batch_size": 16,
        "epochs": 20,
        "eval_interval": 2,
        "max_steps": 12,
        "log_every": 3,
        "lr": 1.0e-3,
        "lr_warmup_steps": 2,
    },
}
KINDS = [kind for kind in FIGURES if kind not in OF_VOTES]  # of a puzzle whose variants do not vote
WAYS = [Scaling(halt_max_steps=7), Scaling(rollouts=3, latent_noise=0.5)]
ABOUT = {
    "tiny": {
        "description": "Small <boards> & few steps",
        "published": {"exact_accuracy": 0.874, "source": "arXiv 2510.04871, table 4"},
    },
    "far-away": {"description": "not run", "published": None},
}


@dataclass
class Results:
    """What the stages before the report left behind."""

    data: Path
    runs: list[Path]
    figures: Path
    table: Path
    comparisons: Path
    scaling: Path
    report: Path


@pytest.fixture(scope="session")
def results(tmp_path_factory) -> Results:
    root = tmp_path_factory.mktemp("results")
    experiment, data = check(EXPERIMENT, "test"), root / "data"
    build(experiment.dataset, data)
    write_json(data / "audit.json", audit(data))
    preview(data, data / "preview.png")
    runs = [root / "runs" / f"seed-{seed}" for seed in (0, 1)]
    with signals_kept():
        for seed, run in enumerate(runs):
            assert train(experiment, data, run, root / "checkpoints", seed, None, "cpu") == 0
            evaluate(run, data, run, Evaluation(), ALONE)
            scale(run, data, run, Evaluation(scaling=WAYS), ALONE.device)
    figures, tables, page = root / "figures", root / "tables", root / "report.html"
    table, compared, scaled = tables / "results.csv", tables / "comparisons.csv", tables / "scaling.csv"
    for kind in KINDS:
        draw_figure(kind, runs, figures / f"tiny-{kind}.svg")
    write_table(results_table(runs, ABOUT), table)
    write_comparisons(comparisons(runs), compared)
    write_scaling_table(scaling_table(runs), scaled)
    write_audits(audits_table([data]), tables / "audit.csv")
    report(runs, [data], figures, table, compared, page, ABOUT, scaling=scaled, audit=tables / "audit.csv")
    return Results(data, runs, figures, table, compared, scaled, page)
