rule evaluate:
    input:
        dataset_files,
        rules.train.output,
    output:
        scores="<results>/runs/{experiment}/seed-{seed}/evaluation.json",
        predictions="<results>/runs/{experiment}/seed-{seed}/predictions.npz",
    log:
        "<logs>/evaluate/{experiment}-seed-{seed}.log",
    benchmark:
        "<benchmarks>/evaluate/{experiment}-seed-{seed}.tsv"
    conda:
        environment
    envmodules:
        *config["modules"],
    threads: resource("threads")
    resources:
        **requests(gpus=lambda resources: resources.gpus),
        launch=launcher(gpus=lambda resources: resources.gpus),
        runtime=walltime,
        mem_mb=memory,
    params:
        options=lambda wildcards: evaluation_options(wildcards.experiment),
        shaped_by=lambda wildcards: shaped_by([wildcards.experiment]),
        data=subpath(input[0], parent=True),
        folder=subpath(output.scores, parent=True),
    shell:
        "{resources.launch} evaluate {params.folder} --data {params.data} --out {params.folder} {params.options}"
        " > {log} 2> >(tee -a {log} >&2)"


# of ARC the variants of a task vote, which gives a submission and a table of tasks besides
use rule evaluate as evaluate_arc with:
    output:
        scores="<results>/runs/{experiment}/seed-{seed}/evaluation.json",
        predictions="<results>/runs/{experiment}/seed-{seed}/predictions.npz",
        submission="<results>/runs/{experiment}/seed-{seed}/submission.json",
        tasks="<results>/runs/{experiment}/seed-{seed}/tasks.csv",
    wildcard_constraints:
        experiment=one_of(TARGETS["arc"]),


ruleorder: evaluate_arc > evaluate


# runs beside `evaluate`, whose scores are those of a plain run
rule scale:
    input:
        dataset_files,
        rules.train.output,
    output:
        "<results>/runs/{experiment}/seed-{seed}/scaling.json",
    log:
        "<logs>/scale/{experiment}-seed-{seed}.log",
    benchmark:
        "<benchmarks>/scale/{experiment}-seed-{seed}.tsv"
    wildcard_constraints:
        experiment=one_of(name for name in EXPERIMENTS if scaling_options(name)),
    conda:
        environment
    envmodules:
        *config["modules"],
    threads: resource("threads")
    resources:
        **requests(gpus=lambda resources: min(1, resources.gpus)),
        runtime=walltime,
        mem_mb=memory,
    params:
        options=lambda wildcards: evaluation_options(wildcards.experiment),
        ways=lambda wildcards: scaling_options(wildcards.experiment),
        shaped_by=lambda wildcards: shaped_by([wildcards.experiment]),
        data=subpath(input[0], parent=True),
        folder=subpath(output[0], parent=True),
    shell:
        "trm scale {params.folder} --data {params.data} --out {params.folder} {params.options} {params.ways:q}"
        " > {log} 2> >(tee -a {log} >&2)"
