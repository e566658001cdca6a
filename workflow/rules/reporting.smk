rule figure:
    input:
        lambda wildcards: run_files(wildcards.experiment),
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
    resources:
        runtime=30,
        mem_mb=2000,
    params:
        shaped_by=lambda wildcards: shaped_by([wildcards.experiment]),
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
    log:
        "<logs>/table/results.log",
    benchmark:
        "<benchmarks>/table/results.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        runtime=30,
        mem_mb=2000,
    params:
        runs=lambda wildcards, input: sorted({str(Path(file).parent) for file in input}),
        about=about(CHOSEN),
        shaped_by=shaped_by(CHOSEN),
    shell:
        "trm table {params.runs} --about {params.about:q} --out {output.csv} 2> {log}"


rule html_report:
    input:
        runs=[file for name in CHOSEN for file in run_files(name)],
        datasets=[part for name in CHOSEN for part in dataset_parts(name)],
        figures=[figure for name in CHOSEN for figure in figure_files(name)],
        table=rules.table.output.csv,
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
        about=about(CHOSEN),
        shaped_by=shaped_by(CHOSEN),
    shell:
        "trm report {params.runs} {params.datasets} --figures {params.figures} --table {input.table}"
        " --about {params.about:q} --out {output} 2> {log}"
