# `snakemake` here runs the workflow in workflow/; see README.md.
from pathlib import Path


configfile: "config/config.yaml"


# `snakemake smoke`: the same rules on all experiments, each as small as config/smoke.yaml has it, in a folder apart.
# The report is of one experiment of each kind: their figures look alike.
if Path("config/smoke.yaml").is_file():

    module small:
        pathvars:
            results="results/smoke",
        snakefile:
            "workflow/Snakefile"
        config:
            {**config, "smoke": "results/smoke"}

    use rule * from small as smoke_*

    rule smoke:
        input:
            rules.smoke_runs.input,
            "results/smoke/report.html",
        localrule: True


module trm:
    snakefile:
        "workflow/Snakefile"
    config:
        config


use rule * from trm
