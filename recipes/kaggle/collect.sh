#!/bin/sh
# With internet: everything that solve.sh needs, in one folder to upload as a Kaggle dataset.
#
#     recipes/kaggle/collect.sh RUN OUT      RUN: a pre-trained run on ARC; OUT: a new folder
#
# Run it under the notebook's version of Python, on Linux for x86-64, with a pip of its own (a virtual environment).
set -eu
run=$1 out=$2
root=$(cd "$(dirname "$0")/../.." && pwd)
for file in model.safetensors config.yaml provenance.json metrics.jsonl; do
    test -f "$run/$file" || { echo "collect.sh: $run/$file: no such file, expected those of a finished run" >&2; exit 2; }
done
mkdir "$out" # fails where it is there already

# the wheel, of a copy, for setuptools leaves its works where it runs; then all that it needs, at the lock's versions
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$root" && cp -R pyproject.toml README.md LICENSE src "$work")
python -m pip wheel --quiet --no-deps --wheel-dir "$out/wheels" "$work"
python -m pip wheel --quiet --constraint "$root/requirements.lock" --wheel-dir "$out/wheels" "$out"/wheels/trm-*.whl

mkdir "$out/run"
cp "$run/model.safetensors" "$run/config.yaml" "$run/provenance.json" "$run/metrics.jsonl" "$out/run"
cp "$root/recipes/kaggle/solve.sh" "$out"
du -sh "$out"
