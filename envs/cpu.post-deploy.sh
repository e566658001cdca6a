#!/usr/bin/env bash
# Run by Snakemake in the new environment, from the folder of the workflow. On Linux pip prefers the smaller torch
# without CUDA, of the same version, that PyTorch's own index has.
set -euo pipefail
pip install --extra-index-url https://download.pytorch.org/whl/cpu -r requirements.lock
pip install --no-deps --no-build-isolation .
