#!/bin/sh
# Builds the wheel into the folder that is given: packaging/wheel.sh dist
# From a copy of what belongs in it: what an earlier build left in build/ would come along otherwise.
set -eu
cd "$(dirname "$0")/.."
mkdir -p "$1"
into=$(cd "$1" && pwd)
python=.venv/bin/python # it has pip; the one that PYTHON names, such as Debian's, may have none

source=$(mktemp -d)
trap 'rm -rf "$source"' EXIT
cp -R pyproject.toml README.md LICENSE common services conf docs "$source"
find "$source" -name __pycache__ -prune -exec rm -rf {} +
rm -f "$source/conf/clients.toml" # docs/access.md may have put it there
"$python" -m pip wheel --quiet --disable-pip-version-check --no-input --no-deps --wheel-dir "$into" "$source"
