#!/usr/bin/env bash
# Prints the Python interpreter of a client family, after making its environment new when the
# family's requirements have changed.
#   venv.sh            the clients of requirements.txt, in .cache/venv
#   venv.sh FAMILY     those of requirements-FAMILY.txt, in .cache/venv-FAMILY
set -euo pipefail

repo=$(cd "$(dirname "$0")/../.." && pwd)
family=${1:-}
requirements=$repo/tests/e2e/requirements${family:+-$family}.txt
venv=$repo/.cache/venv${family:+-$family}
[ -f "$requirements" ] || { echo "venv.sh: no such file: $requirements" >&2; exit 2; }
if ! cmp -s "$requirements" "$venv/requirements.txt"; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install -q --disable-pip-version-check -r "$requirements" >&2
  cp "$requirements" "$venv/requirements.txt"
fi
echo "$venv/bin/python"
