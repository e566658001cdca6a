#!/usr/bin/env bash
# Run by Snakemake in the new environment, from the folder of the workflow.
set -euo pipefail
pip install -r requirements.lock
pip install --no-deps --no-build-isolation .
