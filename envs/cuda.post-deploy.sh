#!/usr/bin/env bash
# Run by Snakemake in the new environment, from the folder of the workflow. Where the driver is older than the CUDA that
# torch comes with (`trm doctor` tells), add: --extra-index-url https://download.pytorch.org/whl/cu126
set -euo pipefail
pip install -r requirements.lock
pip install --no-deps --no-build-isolation .
