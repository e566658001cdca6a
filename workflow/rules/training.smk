# Checkpoints live outside the declared outputs, which Snakemake deletes before each attempt: a job that was stopped
# goes on from the last one. Status 75 says so; how often that may happen on a cluster stands in its profile.
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
    retries: hand_overs()
    conda:
        environment
    envmodules:
        *config["modules"],
    threads: resource("threads")
    resources:
        **requests(
            gpus=lambda resources: resources.gpus,
            nodes=lambda resources: resources.nodes,
        ),
        runtime=walltime,
        mem_mb=training_memory,
        logging=logging_options,
        launch=launcher(
            gpus=lambda resources: resources.gpus,
            nodes=lambda resources: resources.nodes,
        ),
    params:
        experiment=lambda wildcards: training_sections(wildcards.experiment),
        started_from=lambda wildcards: started_from(wildcards.experiment),
        data=data_options,
        folder=subpath(output.model, parent=True),
        checkpoints=subpath(output.model, ancestor=4),
    shell:
        # Resources stand here, not in params: changing them must not train again. In a SLURM job a step of its own gets
        # the signals of the queue, and has ranks on every node of the job; Snakemake's own step leaves behind a list of
        # one node, and CPUs that need not be those of another. A container has no srun: there the time budget alone
        # stops a training. Without a queue there is no walltime. tee outlives the signals, to tell what came of them.
        "exec ${{SLURM_JOB_ID:+$(command -v srun > /dev/null && echo env -u SLURM_JOB_NODELIST srun --overlap"
        " --nodes={resources.nodes} --ntasks={resources.nodes} --cpus-per-task={threads} --cpu-bind=none --wait=60)}}"
        " {resources.launch} train {params.experiment:q} {params.data} --out {params.folder} {resources.logging}"
        " --checkpoints {params.checkpoints}/checkpoints/{wildcards.experiment}/seed-{wildcards.seed}"
        " --seed {wildcards.seed} ${{SLURM_JOB_ID:+--time-budget {resources.runtime}}}"
        " ${{LSB_JOBID:+--time-budget {resources.runtime}}} 2> >(trap '' TERM INT HUP; exec tee {log} >&2)"
