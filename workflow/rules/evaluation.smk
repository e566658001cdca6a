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
        "../../envs/cpu.yaml"
    threads: resource("threads")
    resources:
        runtime=resource("runtime"),
        mem_mb=resource("mem_mb"),
        gpu=lambda wildcards: min(1, EXPERIMENTS[wildcards.experiment].resources.gpus),
    params:
        options=lambda wildcards: evaluation_options(wildcards.experiment),
        shaped_by=lambda wildcards: shaped_by([wildcards.experiment]),
        data=subpath(input[0], parent=True),
        folder=subpath(output.scores, parent=True),
    shell:
        "trm evaluate {params.folder} --data {params.data} --out {params.folder} {params.options}"
        " > {log} 2> >(tee -a {log} >&2)"
