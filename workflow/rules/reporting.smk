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
        runs=lambda wildcards, input: sorted({str(Path(file).parent) for file in input}),
    shell:
        "trm figure {wildcards.kind} {params.runs} --out {output.svg} 2> {log}"


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
        runs=lambda wildcards, input: sorted({str(Path(file).parent) for file in input}),
        about=about(CHOSEN),
        shaped_by=shaped_by(CHOSEN),
    shell:
        "trm table {params.runs} --about {params.about:q} --out {output.csv} 2> {log}"


rule comparison:
    input:
        [file for name in CHOSEN for file in run_files(name)],
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
    conda:
        "../../envs/cpu.yaml"
    envmodules:
        *config["modules"],
    resources:
        runtime=30,
        mem_mb=2000,
    params:
        runs=lambda wildcards, input: sorted({str(Path(file).parent) for file in input}),
        shaped_by=shaped_by(CHOSEN),
    shell:
        "trm compare {params.runs} --out {output.csv} 2> {log}"


rule scaling_table:
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
    conda:
        "../../envs/cpu.yaml"
    envmodules:
        *config["modules"],
    resources:
        runtime=30,
        mem_mb=2000,
    params:
        runs=lambda wildcards, input: sorted({str(Path(file).parent) for file in input}),
        shaped_by=shaped_by(SCALED, scaling=True),
    shell:
        "trm scaling-table {params.runs} --out {output.csv} 2> {log}"


rule audit_table:
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
    conda:
        "../../envs/cpu.yaml"
    envmodules:
        *config["modules"],
    resources:
        runtime=30,
        mem_mb=2000,
    params:
        datasets=lambda wildcards, input: sorted(
            {str(Path(file).parent) for file in input}
        ),
    shell:
        "trm audit-table {params.datasets} --out {output.csv} 2> {log}"


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
        runs=lambda wildcards, input: sorted(
            {str(Path(file).parent) for file in input.runs}
        ),
        datasets=lambda wildcards, input: [
            f"--data {folder}"
            for folder in sorted({str(Path(file).parent) for file in input.datasets})
        ],
        figures=lambda wildcards, input: Path(input.figures[0]).parent,
        explorer=lambda wildcards, input: Path(input.explorer[0]).parent,
        scaling=lambda wildcards, input: [f"--scaling {file}" for file in input.scaling],
        about=about(CHOSEN),
        shaped_by=shaped_by(CHOSEN, scaling=True),
    shell:
        "trm report {params.runs} {params.datasets} --figures {params.figures} --explorer {params.explorer} --table {input.table}"
        " --comparisons {input.comparisons} {params.scaling} --about {params.about:q} --out {output} 2> {log}"


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
