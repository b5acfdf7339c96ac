#!/usr/bin/env bash
# clang-tidy over our own sources, with the compile commands of the dev build.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v clang-tidy-16 >/dev/null || { echo "clang-tidy-16 is not installed" >&2; exit 1; }
[ -f build/dev/compile_commands.json ] || cmake --preset dev >/dev/null
git ls-files '*.cc' | grep -v '^tests/' | xargs -P "$(nproc)" -n 4 \
  clang-tidy-16 -p build/dev --quiet
