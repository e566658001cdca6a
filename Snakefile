# `snakemake` here runs the workflow in workflow/; see README.md.
configfile: "config/config.yaml"


module trm:
    snakefile:
        "workflow/Snakefile"
    config:
        config


use rule * from trm
