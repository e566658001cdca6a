#!/bin/sh
# In the notebook, without internet: install, build the dataset of the challenges, fine-tune, answer.
#
#     sh /kaggle/input/trm/solve.sh CHALLENGES MINUTES [--set KEY=VALUE ...]
#
# CHALLENGES is the folder of arc-agi_test_challenges.json (SUBSET=test), MINUTES the time for the fine-tuning. Writes
# submission.json into the current folder. GPUS=2 uses two of them; VARIANTS says how many variants of a task vote.
set -eu
challenges=$1 minutes=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
subset=${SUBSET:-test}

python -m pip install --quiet --no-index --find-links "$here/wheels" trm

# the pre-trained run's own configuration, with the challenges for data and the published Kaggle LoRA for training
set -- \
    --set name=kaggle --set "dataset.raw='$challenges'" --set more_datasets=[] \
    --set "dataset.subsets=[$subset]" --set "dataset.test_sets=[$subset]" \
    --set "training={init: '$here/run', trained: lora, lora_rank: 1, lora_alpha: 16, global_batch_size: 96,
        epochs: 500, eval_interval: 500, eval_subset: 1, lr: 1.25e-5, lr_warmup_steps: 200, weight_decay: 0.1,
        puzzle_emb_lr: 1.25e-3, puzzle_emb_weight_decay: 0.1, ema: false, micro_batch: auto}" "$@"

trm() {
    if [ "${GPUS:-1}" -gt 1 ]; then
        torchrun --standalone --nproc-per-node "$GPUS" -m trm "$@"
    else
        python -m trm "$@"
    fi
}
python -m trm build "$here/run/config.yaml" --out data "$@"
trm train "$here/run/config.yaml" --data data --out tuned --time-budget "$minutes" --finish "$@"
trm evaluate tuned --data data --out . --max-variants "${VARIANTS:-8}"
