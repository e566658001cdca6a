rule figure:
    input:
        figure_inputs,
    output:
        svg=report(
            "<results>/figures/{experiment}-{kind}.svg",
            caption="../report/figure.rst",
            category="Figures",
            subcategory="{experiment}",
            labels={"experiment": "{experiment}", "figure": "{kind}"},
        ),
        others=multiext("<results>/figures/{experiment}-{kind}", ".pdf", ".png", ".csv"),
    log:
        "<logs>/figure/{experiment}-{kind}.log",
    benchmark:
        "<benchmarks>/figure/{experiment}-{kind}.tsv"
    conda:
        "../../envs/cpu.yaml"
    envmodules:
        *config["modules"],
    resources:
        runtime=30,
        mem_mb=2000,
    params:
        shaped_by=lambda wildcards: shaped_by(
            [wildcards.experiment], scaling=wildcards.kind == "test-time-scaling"
        ),
        runs=lambda wildcards, input: folders(input),
    shell:
        "trm figure {wildcards.kind} {params.runs} --out {output.svg} 2> {log}"


# every table is a command of its own
rule table:
    input:
        [file for name in CHOSEN for file in run_files(name)],
    output:
        csv=report(
            "<results>/tables/results.csv",
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "results"},
        ),
        markdown="<results>/tables/results.md",
        latex="<results>/tables/results.tex",
    log:
        "<logs>/table/results.log",
    benchmark:
        "<benchmarks>/table/results.tsv"
    conda:
        "../../envs/cpu.yaml"
    envmodules:
        *config["modules"],
    resources:
        runtime=30,
        mem_mb=2000,
    params:
        command="table",
        # apart from the folders: Snakemake does not see a change in params that are made of the input
        about=[f"--about={about(CHOSEN)}"],
        folders=lambda wildcards, input: folders(input),
        shaped_by=shaped_by(CHOSEN),
    shell:
        "trm {params.command} {params.folders} {params.about:q} --out {output.csv} 2> {log}"


use rule table as ablation_table with:
    output:
        csv=report(
            "<results>/tables/ablations.csv",
            caption="../report/ablation.rst",
            category="Tables",
            labels={"table": "ablations"},
        ),
        markdown="<results>/tables/ablations.md",
        latex="<results>/tables/ablations.tex",
    log:
        "<logs>/ablation_table/ablations.log",
    benchmark:
        "<benchmarks>/ablation_table/ablations.tsv"
    params:
        command="ablation-table",


use rule table as comparison with:
    output:
        csv=report(
            "<results>/tables/comparisons.csv",
            caption="../report/comparison.rst",
            category="Tables",
            labels={"table": "comparisons"},
        ),
        markdown="<results>/tables/comparisons.md",
        latex="<results>/tables/comparisons.tex",
    log:
        "<logs>/comparison/comparisons.log",
    benchmark:
        "<benchmarks>/comparison/comparisons.tsv"
    params:
        command="compare",
        about=[],


use rule table as scaling_table with:
    input:
        [file for name in SCALED for file in run_files(name) + scaling_files(name)],
    output:
        csv=report(
            "<results>/tables/scaling.csv",
            caption="../report/scaling.rst",
            category="Tables",
            labels={"table": "test-time scaling"},
        ),
        markdown="<results>/tables/scaling.md",
        latex="<results>/tables/scaling.tex",
    log:
        "<logs>/scaling_table/scaling.log",
    benchmark:
        "<benchmarks>/scaling_table/scaling.tsv"
    params:
        command="scaling-table",
        about=[],
        shaped_by=shaped_by(SCALED, scaling=True),


use rule table as audit_table with:
    input:
        [
            part
            for name in CHOSEN
            for part in dataset_parts(name)
            if part.endswith(".json")
        ],
    output:
        csv=report(
            "<results>/tables/audit.csv",
            caption="../report/audit.rst",
            category="Tables",
            labels={"table": "audit"},
        ),
        markdown="<results>/tables/audit.md",
        latex="<results>/tables/audit.tex",
    log:
        "<logs>/audit_table/audit.log",
    benchmark:
        "<benchmarks>/audit_table/audit.tsv"
    params:
        command="audit-table",
        about=[],
        shaped_by=None,  # the datasets alone shape it


rule explore:
    input:
        dataset_files,
        run=explored_files,
    output:
        report(
            "<results>/explorer/{experiment}.html",
            caption="../report/explorer.rst",
            category="Explorer",
            labels={"experiment": "{experiment}"},
        ),
    log:
        "<logs>/explore/{experiment}.log",
    benchmark:
        "<benchmarks>/explore/{experiment}.tsv"
    conda:
        "../../envs/cpu.yaml"
    envmodules:
        *config["modules"],
    threads: resource("threads")
    resources:
        **requests(gpus=lambda resources: min(1, resources.gpus)),
        runtime=walltime,
        mem_mb=memory,
    params:
        shaped_by=lambda wildcards: shaped_by([wildcards.experiment]),
        data=subpath(input[0], parent=True),
        run=lambda wildcards, input: Path(input.run[0]).parent,
    shell:
        "trm explore {params.run} --data {params.data} --out {output} > {log} 2>&1"


rule html_report:
    input:
        runs=[file for name in CHOSEN for file in run_files(name)],
        datasets=[part for name in CHOSEN for part in dataset_parts(name)],
        figures=[figure for name in CHOSEN for figure in figure_files(name)],
        explorer=[f"<results>/explorer/{name}.html" for name in CHOSEN],
        table=rules.table.output.csv,
        comparisons=rules.comparison.output.csv,
        audit=rules.audit_table.output.csv,
        ablations=[rules.ablation_table.output.csv] if BASES else [],
        scaling=[rules.scaling_table.output.csv] if SCALED else [],
    output:
        report(
            "<results>/report.html",
            caption="../report/report.rst",
            category="Report",
            labels={"page": "report"},
        ),
    log:
        "<logs>/report/report.log",
    benchmark:
        "<benchmarks>/report/report.tsv"
    conda:
        "../../envs/cpu.yaml"
    envmodules:
        *config["modules"],
    resources:
        runtime=30,
        mem_mb=2000,
    params:
        runs=lambda wildcards, input: folders(input.runs),
        datasets=lambda wildcards, input: [
            f"--data {folder}" for folder in folders(input.datasets)
        ],
        figures=lambda wildcards, input: Path(input.figures[0]).parent,
        explorer=lambda wildcards, input: Path(input.explorer[0]).parent,
        more=lambda wildcards, input: [
            *(f"--ablations {file}" for file in input.ablations),
            *(f"--scaling {file}" for file in input.scaling),
        ],
        about=about(CHOSEN),
        shaped_by=shaped_by(CHOSEN, scaling=True),
    shell:
        "trm report {params.runs} {params.datasets} --figures {params.figures} --explorer {params.explorer} --table {input.table}"
        " --comparisons {input.comparisons} --audit {input.audit} {params.more} --about {params.about:q} --out {output} 2> {log}"


# of what is there when it is called: nothing is run for it, so it has no input that a rule makes, and what it found
# are params that no output takes part in, whose change Snakemake sees
rule partial_report:
    output:
        "<results>/partial/report.html",
    log:
        "<logs>/report/partial.log",
    conda:
        "../../envs/cpu.yaml"
    envmodules:
        *config["modules"],
    resources:
        runtime=60,
        mem_mb=2000,
    params:
        found=lambda wildcards: finished()[0],
        scored=lambda wildcards: finished()[1],
        about=about_seeds(CHOSEN),
    shell:
        "trm partial-report {params.found} --about {params.about:q} --out {output} 2> {log}"
