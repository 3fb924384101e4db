#!/usr/bin/env bash
# The package as a user gets it: its wheel, installed into an empty environment, trains and scores in an empty folder.
#
#     scripts/wheel_test.sh [PYTHON]
set -euo pipefail
cd "$(dirname "$0")/.."
python="${1:-python3}"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT

fail() { echo "wheel test: $*" >&2; exit 1; }

"$python" -m venv "$folder/environment"
export PATH="$folder/environment/bin:$PATH"
rm -rf build # setuptools would put what an earlier build left there into the wheel
python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$folder" .
wheel=("$folder"/*.whl)
content="$(python -m zipfile --list "${wheel[0]}")"
for name in sentiment_tune/py.typed sentiment_tune/recipes/*.json licenses/LICENSE; do
    grep --quiet --fixed-strings "$name " <<<"$content" || fail "${wheel[0]##*/} lacks $name"
done
python -m pip install --quiet --disable-pip-version-check -c constraints.txt "${wheel[0]}"

unset MLFLOW_TRACKING_URI MLFLOW_EXPERIMENT_NAME MLFLOW_EXPERIMENT_ID PYTHONPATH
export SENTIMENT_TUNE_CACHE="$folder/cache"
mkdir "$folder/empty"
cd "$folder/empty"
origin="$(python -c "import sentiment_tune; print(sentiment_tune.__file__)")"
[[ $origin == "$folder/environment/"* ]] || fail "$origin was imported, not the wheel"
recipe="$(sentiment-tune recipes cnn)" || fail "no recipe"
[[ $recipe == *'"model": "cnn"'* ]] || fail "the recipe of the cnn is '$recipe'"
sentiment-tune train --model embedding --data sample --epochs 1 --quiet || fail "no training"
score="$(sentiment-tune score "a fine film")" || fail "no score"
[[ $score =~ ^(positive|negative)\ \ p\(positive\)=[01]\.[0-9]{4}\ \ a\ fine\ film$ ]] || fail "the score is '$score'"
echo "${wheel[0]##*/} trains and scores on $(python --version): $score"
