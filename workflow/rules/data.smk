# on the node where Snakemake runs: those of the jobs may have no internet
rule raw_file:
    output:
        "<results>/raw/{puzzle}/{file}",
    log:
        "<logs>/download/{puzzle}-{file}.log",
    benchmark:
        "<benchmarks>/download/{puzzle}-{file}.tsv"
    retries: 2
    localrule: True
    conda:
        "../../envs/cpu.yaml"
    envmodules:
        *config["modules"],
    resources:
        runtime=120,
        mem_mb=1000,
    params:
        folder=subpath(output[0], parent=True),
    shell:
        "trm download {wildcards.puzzle} {wildcards.file} --out {params.folder} 2> {log}"


rule build:
    input:
        raw=raw_files,
    output:
        "<results>/datasets/{dataset}/provenance.json",
        "<results>/datasets/{dataset}/identifiers.json",
        expand(
            "<results>/datasets/{{dataset}}/{split}/dataset.json",
            split=["train", "test"],
        ),
        expand(
            "<results>/datasets/{{dataset}}/{split}/all__{array}.npy",
            split=["train", "test"],
            array=ARRAYS,
        ),
    log:
        "<logs>/build/{dataset}.log",
    benchmark:
        "<benchmarks>/build/{dataset}.tsv"
    conda:
        "../../envs/cpu.yaml"
    envmodules:
        *config["modules"],
    resources:
        runtime=60,
        mem_mb=4000,
    params:
        experiment=dataset_experiment,
        raw=raw_option,
        folder=subpath(output[0], parent=True),
    shell:
        "trm build {params.experiment:q} {params.raw} --out {params.folder} 2> {log}"


rule audit:
    input:
        rules.build.output,
    output:
        "<results>/datasets/{dataset}/audit.json",
    log:
        "<logs>/audit/{dataset}.log",
    benchmark:
        "<benchmarks>/audit/{dataset}.tsv"
    conda:
        "../../envs/cpu.yaml"
    envmodules:
        *config["modules"],
    resources:
        runtime=60,
        mem_mb=4000,
    params:
        folder=subpath(output[0], parent=True),
    shell:
        "trm audit {params.folder} --out {output} 2> {log}"


rule preview:
    input:
        rules.build.output,
    output:
        report(
            "<results>/datasets/{dataset}/preview.png",
            caption="../report/preview.rst",
            category="Datasets",
            labels={"dataset": "{dataset}"},
        ),
    log:
        "<logs>/preview/{dataset}.log",
    benchmark:
        "<benchmarks>/preview/{dataset}.tsv"
    conda:
        "../../envs/cpu.yaml"
    envmodules:
        *config["modules"],
    resources:
        runtime=30,
        mem_mb=2000,
    params:
        folder=subpath(output[0], parent=True),
    shell:
        "trm show {params.folder} --out {output} 2> {log}"
