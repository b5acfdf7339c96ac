#!/usr/bin/env bash
# What only a GPU can show: every operation against the processors' kernels, greedy answers of whole
# models on both, then speed. Run from the repository root on the machine with the GPU. Ends with 1
# on any mismatch. Files it makes are gone when it ends.
#   tests/gpu/run.sh                  builds first (tests/gpu/pack.sh; needs our libraries)
#   tests/gpu/run.sh --prebuilt DIR   with what pack.sh collected in DIR
#   … --no-speed                      without the measurements
#   … --layers N                      of the measured mixture of experts (8; published: 48)
set -uo pipefail

repo=$(cd "$(dirname "$0")/../.." && pwd)
cd "$repo" || exit 2
prebuilt=
speed=yes
layers=8
while [ $# -gt 0 ]; do
  case $1 in
    --prebuilt) prebuilt=$(cd "$2" && pwd) || exit 2; shift ;;
    --no-speed) speed= ;;
    --layers) layers=$2; shift ;;
    *) sed -n '2,8p' "$0" >&2; exit 2 ;;
  esac
  shift
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -z "$prebuilt" ]; then
  tests/gpu/pack.sh "$work/pack" || exit 1
  prebuilt=$work/pack
fi
bin=$prebuilt/bin
export LD_LIBRARY_PATH=$prebuilt/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
unset CONCLAVE_DEVICE CONCLAVE_CUDA_MODULE

started=$(date +%s)
step() { printf '\n=== %ss: %s\n' "$(($(date +%s) - started))" "$*"; }
failed=0
# A program that hangs must not take the machine's time with it.
attempt() { timeout "$1" "${@:2}" || { echo "FAIL ($?): ${*:2}"; failed=$((failed + 1)); }; }

step "operations"
attempt 120 "$bin/conclave-gpu-check"

step "models"
synth() { "$bin/conclave-synth" --shape "$1" --type "$2" --head-type "$3" --layers "$4" --vocab "$5" --out "$work/$6.gguf"; }
synth qwen3moe-30b-a3b Q4_K Q6_K 2 2048 qwen3moe-Q4_K &
synth llama-1b Q8_0 Q8_0 2 2048 llama-Q8_0 &
synth llama-1b Q4_0 Q6_K 2 2048 llama-Q4_0 &
synth qwen3-0.6b BF16 F16 2 2048 qwen3-BF16 &
synth llama-1b Q5_K Q6_K 2 2048 llama-Q5_K &
# With Q5_0 where Q4_K does not divide a row.
synth deepseek-v2-lite Q4_K Q6_K 3 2048 deepseek-v2-lite-Q4_K &
synth gpt-oss-20b MXFP4 Q8_0 2 2048 gpt-oss-MXFP4 &
if [ -n "$speed" ]; then
  synth qwen3moe-30b-a3b Q4_K Q6_K "$layers" 0 moe &
  synth llama-1b Q4_K Q6_K 0 0 dense &
fi
# One of every architecture and of their variants, as the tests of the processors use.
for golden in tests/golden/models/*.txt; do
  tiny=$(basename "$golden" .txt)
  "$bin/conclave-synth" --tiny "$tiny" --type F32 --head-type F32 --out "$work/tiny-$tiny.gguf" >"$work/tiny-$tiny.log" ||
    { cat "$work/tiny-$tiny.log"; failed=$((failed + 1)); }
done
wait
models=deploy/models/conclave-teacher.gguf
for model in "$work"/{qwen3moe-Q4_K,llama-Q8_0,llama-Q4_0,llama-Q5_K,qwen3-BF16,deepseek-v2-lite-Q4_K,gpt-oss-MXFP4}.gguf \
  "$work"/tiny-*.gguf; do
  models+=,$model
done
# Weights in F32 go beside the models.
TMPDIR=$work attempt 200 "$bin/conclave-gpu-check" --operations=false --models "$models"

if [ -n "$speed" ]; then
  step "speed: operations"
  attempt 100 "$bin/conclave-gpu-check" --operations=false --time
  for model in dense moe; do
    step "speed: $model"
    attempt 45 "$bin/conclave-bench" --model "$work/$model.gguf" --device cuda --probe=false \
      --prompt 512 --output 64 --step-tokens 512
    attempt 45 "$bin/conclave-bench" --model "$work/$model.gguf" --device cuda --probe=false \
      --prompt 2048 --output 0 --step-tokens 2048
  done
  # Decoding with steps as graphs and without, in one run.
  for graphs in 1 0; do
    export CONCLAVE_CUDA_GRAPHS=$graphs
    step "speed: steps as graphs: $graphs"
    for model in dense moe; do
      attempt 45 "$bin/conclave-bench" --model "$work/$model.gguf" --device cuda --probe=false \
        --prompt 0 --output 256
      attempt 45 "$bin/conclave-bench" --model "$work/$model.gguf" --device cuda --probe=false \
        --prompt 0 --output 64 --sequences 16
    done
  done
  unset CONCLAVE_CUDA_GRAPHS
fi

step "done"
if [ "$failed" -gt 0 ]; then
  echo "$failed failed"
  exit 1
fi
echo "all as on the processors"
