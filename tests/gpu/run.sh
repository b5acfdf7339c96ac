#!/usr/bin/env bash
# What only a GPU can show: every operation against the processors' kernels, greedy answers of whole
# models on both, then speed. Run from the repository root on the machine with the GPU. Ends with 1
# on any mismatch. Files it makes are gone when it ends.
#   tests/gpu/run.sh                  builds first (tests/gpu/pack.sh; needs our libraries)
#   tests/gpu/run.sh --prebuilt DIR   with what pack.sh collected in DIR
#   … --no-speed                      without the measurements
#   … --layers N                      of the measured mixture of experts (8; published: 48)
#   … --only-hybrid                   what concerns experts shared with the processors alone
set -uo pipefail

repo=$(cd "$(dirname "$0")/../.." && pwd)
cd "$repo" || exit 2
prebuilt=
speed=yes
layers=8
whole=yes
while [ $# -gt 0 ]; do
  case $1 in
    --prebuilt) prebuilt=$(cd "$2" && pwd) || exit 2; shift ;;
    --no-speed) speed= ;;
    --layers) layers=$2; shift ;;
    --only-hybrid) whole= ;;
    *) sed -n '2,9p' "$0" >&2; exit 2 ;;
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
unset CONCLAVE_DEVICE CONCLAVE_CUDA_MODULE CONCLAVE_CUDA_DIGESTS

started=$(date +%s)
step() { printf '\n=== %ss: %s\n' "$(($(date +%s) - started))" "$*"; }
failed=0
# A program that hangs must not take the machine's time with it.
attempt() { timeout "$1" "${@:2}" || { echo "FAIL ($?): ${*:2}"; failed=$((failed + 1)); }; }

if [ -n "$whole" ]; then
  step "operations"
  attempt 120 "$bin/conclave-gpu-check"
fi

step "models"
synth() {
  "$bin/conclave-synth" --shape "$1" --type "$2" --head-type "$3" --layers "$4" --vocab "$5" --out "$work/$6.gguf" "${@:7}"
}
synth qwen3moe-30b-a3b Q4_K Q6_K 2 2048 qwen3moe-Q4_K &
synth qwen3moe-30b-a3b BF16 BF16 2 2048 qwen3moe-BF16 &
if [ -n "$whole" ]; then
  synth llama-1b Q8_0 Q8_0 2 2048 llama-Q8_0 &
  synth llama-1b Q4_0 Q6_K 2 2048 llama-Q4_0 &
  synth qwen3-0.6b BF16 F16 2 2048 qwen3-BF16 &
  synth llama-1b Q5_K Q6_K 2 2048 llama-Q5_K &
fi
# With Q5_0 where Q4_K does not divide a row.
synth deepseek-v2-lite Q4_K Q6_K 3 2048 deepseek-v2-lite-Q4_K &
synth gpt-oss-20b MXFP4 Q8_0 2 2048 gpt-oss-MXFP4 &
if [ -n "$speed" ]; then
  synth qwen3moe-30b-a3b Q4_K Q6_K "$layers" 0 moe &
  synth qwen3moe-30b-a3b Q4_K Q6_K "$layers" 2048 moe-zipf --zipf 1 &
  [ -z "$whole" ] || synth llama-1b Q4_K Q6_K 0 0 dense &
fi
# One of every architecture and of their variants, as the tests of the processors use.
for golden in tests/golden/models/*.txt; do
  tiny=$(basename "$golden" .txt)
  "$bin/conclave-synth" --tiny "$tiny" --type F32 --head-type F32 --out "$work/tiny-$tiny.gguf" >"$work/tiny-$tiny.log" ||
    { cat "$work/tiny-$tiny.log"; failed=$((failed + 1)); }
done
wait
if [ -n "$whole" ]; then
  models=deploy/models/conclave-teacher.gguf
  for model in "$work"/{qwen3moe-Q4_K,llama-Q8_0,llama-Q4_0,llama-Q5_K,qwen3-BF16,deepseek-v2-lite-Q4_K,gpt-oss-MXFP4}.gguf \
    "$work"/tiny-*.gguf; do
    models+=,$model
  done
  # Weights in F32 go beside the models.
  TMPDIR=$work attempt 200 "$bin/conclave-gpu-check" --operations=false --models "$models"
  step "models: fast"
  TMPDIR=$work attempt 60 "$bin/conclave-gpu-check" --operations=false --numerics fast \
    --models "$work/qwen3moe-Q4_K.gguf,$work/llama-Q8_0.gguf,$work/llama-Q5_K.gguf,$work/gpt-oss-MXFP4.gguf"
fi

# Experts shared with the processors: none of them on the GPU, half, and of the large ones also most.
check_shared() {
  TMPDIR=$work attempt 120 "$bin/conclave-gpu-check" --operations=false --gpu-experts "$1" --models "$2"
}
if [ -z "$whole" ]; then
  step "hybrid: operations"
  attempt 60 "$bin/conclave-gpu-check" --operations=false --shared
fi
step "hybrid: models"
tinies=
for tiny in qwen2moe qwen3moe deepseek2 deepseek2_lite gpt-oss glm4moe minimax-m2 mixtral; do
  tinies+=${tinies:+,}$work/tiny-$tiny.gguf
done
check_shared 0 "$tinies"
check_shared 4 "$tinies"
large=$work/qwen3moe-BF16.gguf,$work/qwen3moe-Q4_K.gguf,$work/deepseek-v2-lite-Q4_K.gguf
check_shared 0 "$work/qwen3moe-BF16.gguf"
check_shared 40 "$large"
check_shared 16 "$work/gpt-oss-MXFP4.gguf"

if [ -n "$speed" ]; then
  # The same model on the processors alone, with parts of its bytes as the GPU's memory (and 1 GiB more
  # for what is no expert, the cache and scratch), and on the GPU alone.
  bytes=$(stat -c %s "$work/moe.gguf")
  hybrid() { attempt 60 "$bin/conclave-bench" --model "$work/moe.gguf" --probe=false --repeat 3 "$@"; }
  for budget in processors 0 25 50 75 all; do
    case $budget in
      processors) device=(--device cpu) ;;
      0) device=(--device cuda --gpu-experts 0) ;;
      all) device=(--device cuda) ;;
      *) device=(--device cuda --vram-budget $((bytes * budget / 100 + (1 << 30)))) ;;
    esac
    step "hybrid: speed: $budget"
    hybrid "${device[@]}" --prompt 512 --output 64 --step-tokens 512
    hybrid "${device[@]}" --prompt 0 --output 32 --sequences 8
    case $budget in
      0 | 25 | 50)
        step "hybrid: long prompts: $budget, exact and fast"
        for numerics in exact fast; do
          hybrid "${device[@]}" --prompt 2048 --output 0 --step-tokens 2048 --numerics $numerics
        done
        ;;
    esac
    if [ "$budget" = 50 ]; then
      export CONCLAVE_CUDA_GRAPHS=0
      step "hybrid: speed: $budget, no graphs"
      hybrid "${device[@]}" --prompt 0 --output 64
      unset CONCLAVE_CUDA_GRAPHS
    fi
  done
  # Some experts chosen more often than others, 40 % of them on the GPU: those that were first in the
  # file, and those that are chosen most. The prompts are what they are known from.
  for placement in static dynamic; do
    step "hybrid: experts by rank: $placement"
    attempt 60 "$bin/conclave-bench" --model "$work/moe-zipf.gguf" --probe=false --device cuda --numerics fast \
      --gpu-experts 51 --expert-placement $placement --expert-half-life 1024 --prompt 4096 --step-tokens 512 \
      --output 64 --repeat 3
  done
fi

if [ -n "$speed" ] && [ -n "$whole" ]; then
  step "speed: operations"
  attempt 100 "$bin/conclave-gpu-check" --operations=false --time
  for model in dense moe; do
    step "speed: $model"
    attempt 45 "$bin/conclave-bench" --model "$work/$model.gguf" --device cuda --probe=false \
      --prompt 512 --output 64 --step-tokens 512
    for numerics in exact fast; do
      attempt 45 "$bin/conclave-bench" --model "$work/$model.gguf" --device cuda --probe=false \
        --prompt 2048 --output 0 --step-tokens 2048 --numerics $numerics
    done
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
  # Choosing tokens: greedy, of few, of the whole distribution, and of a top_p that random weights
  # spread over most of the vocabulary; logits in part, then whole.
  for digests in 1 0; do
    export CONCLAVE_CUDA_DIGESTS=$digests
    for sequences in 16 64; do
      for settings in "0 0 1" "0.8 40 1" "0.8 0 1" "0.8 0 0.95"; do
        read -r temperature top_k top_p <<<"$settings"
        step "speed: logits in part: $digests, $sequences sequences, temperature $temperature, top_k $top_k, top_p $top_p"
        attempt 30 "$bin/conclave-bench" --model "$work/dense.gguf" --device cuda --probe=false --prompt 0 \
          --output 24 --sequences "$sequences" --repeat 2 --temperature "$temperature" --top-k "$top_k" --top-p "$top_p"
      done
    done
  done
  unset CONCLAVE_CUDA_DIGESTS
fi

step "done"
if [ "$failed" -gt 0 ]; then
  echo "$failed failed"
  exit 1
fi
echo "all as on the processors"
