"""A report of what is finished so far: tables, figures and page in one folder, apart from those of the whole."""

from pathlib import Path
from typing import Any

from trm.reporting.ablations import ablations, write_ablations
from trm.reporting.audits import audits_table, write_audits
from trm.reporting.comparisons import comparisons, write_comparisons
from trm.reporting.figures import draw_figure, kinds_of
from trm.reporting.report import report
from trm.reporting.results import by_experiment, read_results
from trm.reporting.scaling import scaling_table, write_scaling_table
from trm.reporting.tables import results_table, write_table

COMMAND = "snakemake partial"


def partial_report(runs: list[Path], datasets: list[Path], out: Path, about: dict[str, dict[str, Any]]) -> None:
    """Write the report of some runs and datasets to the HTML file `out`, and what it shows beside it.

    `about` is as for `report`; what it names and `runs` lack is marked as not finished. There may be no run.
    """
    figures, tables = out.parent / "figures", out.parent / "tables"
    scaled = [folder for folder in runs if (folder / "scaling.json").is_file()]
    for name, results in by_experiment(read_results(runs)).items():
        folders = [result.folder for result in results]
        own = [folder for folder in folders if folder in scaled]
        for kind in kinds_of(results, scaled=folders == own):
            draw_figure(kind, folders, figures / f"{name}-{kind}.svg")
        if folders != own:  # its figure needs all seeds, so its table waits for them too
            scaled = [folder for folder in scaled if folder not in own]
    write_table(results_table(runs, about), tables / "results.csv")
    write_comparisons(comparisons(runs), tables / "comparisons.csv")
    write_audits(audits_table(datasets), tables / "audit.csv")
    ablated = ablations(runs, about)
    if len(ablated):
        write_ablations(ablated, tables / "ablations.csv")
    if scaled:
        write_scaling_table(scaling_table(scaled), tables / "scaling.csv")
    report(
        runs,
        datasets,
        figures,
        tables / "results.csv",
        tables / "comparisons.csv",
        out,
        about,
        ablations=tables / "ablations.csv" if len(ablated) else None,
        scaling=tables / "scaling.csv" if scaled else None,
        audit=tables / "audit.csv",
        command=COMMAND,
    )
