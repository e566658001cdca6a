# Checkpoints live outside the declared outputs, which Snakemake deletes before each attempt: a job that was stopped
# goes on from the last one. Status 75 says so; retries for clusters stand in their profiles.
rule train:
    input:
        data=all_dataset_files,
        init=init_files,
    output:
        model="<results>/runs/{experiment}/seed-{seed}/model.safetensors",
        config="<results>/runs/{experiment}/seed-{seed}/config.yaml",
        metrics="<results>/runs/{experiment}/seed-{seed}/metrics.jsonl",
        provenance="<results>/runs/{experiment}/seed-{seed}/provenance.json",
    log:
        "<logs>/train/{experiment}-seed-{seed}.log",
    benchmark:
        "<benchmarks>/train/{experiment}-seed-{seed}.tsv"
    conda:
        "../../envs/cpu.yaml"
    threads: resource("threads")
    resources:
        runtime=resource("runtime"),
        mem_mb=resource("mem_mb"),
        gpu=resource("gpus"),
        lsf_extra=lsf_extra,
        logging=logging_options,
    params:
        experiment=lambda wildcards: training_sections(wildcards.experiment),
        started_from=lambda wildcards: started_from(wildcards.experiment),
        data=data_options,
        folder=subpath(output.model, parent=True),
        checkpoints=subpath(output.model, ancestor=4),
    shell:
        # resources stand here, not in params: changing them must not train again
        "launcher=trm;"
        " if [ {resources.gpu} -gt 1 ]; then"
        "   launcher='torchrun --standalone --nproc-per-node {resources.gpu} -m trm';"
        " fi;"
        " exec $launcher train {params.experiment:q} {params.data} --out {params.folder} {resources.logging}"
        " --checkpoints {params.checkpoints}/checkpoints/{wildcards.experiment}/seed-{wildcards.seed}"
        " --seed {wildcards.seed} --time-budget {resources.runtime} 2> >(tee {log} >&2)"
