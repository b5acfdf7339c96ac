#!/usr/bin/env python3
"""Writes streams.golden: what the `gguf` Python package makes of 100,000 seeded blocks of every
format, and of 100,000 blocks of seeded values for every format it can write.

    pip install gguf==0.19.0 numpy && python3 tests/golden/quant/regenerate.py

Blocks and results are too many to keep, so a line keeps a hash; quant_test.cc makes the same
streams. A line: direction, type, blocks, hash, and the offsets of the block's fp16 fields.

Everything is 64-bit arithmetic over word(seed, i) = splitmix64's finaliser of seed + (i+1)·GOLDEN:
  - bytes of block b of a type: words from b·W on, little-endian, W = ⌈bytes/8⌉, seed = type id;
  - then each fp16 field, the f-th: with p = (b >> 4f) mod 16, SPECIAL[p] if there is one (zero,
    subnormals, the neighbours of infinity, …), else as it is, infinities and NaN among them;
  - value i of the other direction: 24 bits of word(1000 + type id, i) in [-1, 1), of block b times
    2^(b mod 64 - 40); of every 16 blocks the first is zeros, the second constant, the third full of
    ties;
  - the hash of results r: Σ word(r[i], i) mod 2^64 over fp32 bits (NaN as 0x7fc00000) or bytes.
"""
import pathlib

import numpy as np
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as T
from gguf import quants

BLOCKS = 100_000
CHUNK = 4_000
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
SPECIAL = [0x0000, 0x8000, 0x0001, 0x03FF, 0x0400, 0x3C00, 0xC000, 0x7BFF, 0xFBFF]

# Where the fp16 fields of a block begin.
HALVES = {
    T.F16: [0],
    T.BF16: [],
    T.Q4_0: [0],
    T.Q4_1: [0, 2],
    T.Q5_0: [0],
    T.Q5_1: [0, 2],
    T.Q8_0: [0],
    T.Q2_K: [80, 82],
    T.Q3_K: [108],
    T.Q4_K: [0, 2],
    T.Q5_K: [0, 2],
    T.Q6_K: [208],
    T.IQ4_NL: [0],
    T.IQ4_XS: [0],
    T.MXFP4: [],
}
# Those the package can write.
WRITTEN = [T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.MXFP4]


def words(seed, first, count):
    index = np.arange(first + 1, first + count + 1, dtype=np.uint64)
    return mix(np.asarray(seed, dtype=np.uint64) + index * GOLDEN)


def mix(z):
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def blocks_of(kind, first, count):
    size = GGML_QUANT_SIZES[kind][1]
    per_block = -(-size // 8)
    raw = words(int(kind), first * per_block, count * per_block).view(np.uint8)
    blocks = raw.reshape(count, per_block * 8)[:, :size].copy()
    number = np.arange(first, first + count)
    for f, at in enumerate(HALVES[kind]):
        pick = (number >> (4 * f)) % 16
        for p, half in enumerate(SPECIAL):
            blocks[pick == p, at:at + 2] = [half & 255, half >> 8]
    return blocks


def values_of(kind, first, count):
    n = GGML_QUANT_SIZES[kind][0]
    raw = words(1000 + int(kind), first * n, count * n)
    unit = (raw >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)
    unit = unit.reshape(count, n)
    number = np.arange(first, first + count)
    unit[number % 16 == 0] = 0
    unit[number % 16 == 1] = unit[number % 16 == 1, :1]
    unit[number % 16 == 2] = np.floor(unit[number % 16 == 2] * 16) / 2
    return unit * np.exp2((number % 64 - 40).astype(np.float32)).reshape(-1, 1)


def hash_of(results, first):
    """Of results[i] at place first + i."""
    with np.errstate(over="ignore"):
        return int(words(results.astype(np.uint64), first, results.size).sum(dtype=np.uint64))


def bits_of(values):
    return np.where(np.isnan(values), np.uint32(0x7FC00000), values.view(np.uint32)).ravel()


def dequantize_line(kind):
    n = GGML_QUANT_SIZES[kind][0]
    total = 0
    for first in range(0, BLOCKS, CHUNK):
        values = quants.dequantize(blocks_of(kind, first, CHUNK), kind)
        total += hash_of(bits_of(np.ascontiguousarray(values, dtype=np.float32)), first * n)
    return line("dequantize", kind, total)


def quantize_line(kind):
    size = GGML_QUANT_SIZES[kind][1]
    total = 0
    for first in range(0, BLOCKS, CHUNK):
        blocks = quants.quantize(values_of(kind, first, CHUNK), kind)
        total += hash_of(np.ascontiguousarray(blocks).view(np.uint8).ravel(), first * size)
    return line("quantize", kind, total)


def line(direction, kind, total):
    fields = [direction, kind.name, BLOCKS, f"{total % 2**64:016x}", *HALVES[kind]]
    return " ".join(str(field) for field in fields) + "\n"


def main():
    np.seterr(all="ignore")
    lines = [dequantize_line(kind) for kind in HALVES]
    lines += [quantize_line(kind) for kind in WRITTEN]
    (pathlib.Path(__file__).parent / "streams.golden").write_text("".join(sorted(lines)))


if __name__ == "__main__":
    main()
