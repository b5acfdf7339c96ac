#!/usr/bin/env python3
"""Writes blocks.golden: blocks of every format with the values they stand for, and values with the
blocks they become, both according to the `gguf` Python package.

    pip install gguf==0.19.0 numpy && python3 tests/golden/quant/regenerate.py

Layout, little-endian, per record until the end of the file:
    u32 type id, u32 direction (0 = dequantise, 1 = quantise), u32 elements, u32 bytes,
    the blocks (bytes), the values (elements × f32)
"""
import pathlib
import struct

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import quants

# Where the fp16 fields of a block begin: they get the values that are easy to get wrong.
HALVES = {T.Q4_0: [0], T.Q8_0: [0], T.Q4_K: [0, 2], T.Q6_K: [208]}
SIZES = {T.F16: (1, 2), T.BF16: (1, 2), T.Q4_0: (32, 18), T.Q8_0: (32, 34),
         T.Q4_K: (256, 144), T.Q6_K: (256, 210)}
# zero, -0, smallest and largest subnormal, smallest normal, 1, -2, next to infinity, its negative
SPECIAL = [0x0000, 0x8000, 0x0001, 0x03FF, 0x0400, 0x3C00, 0xC000, 0x7BFF, 0xFBFF]


def record(kind, direction, blocks, values):
    blocks = np.ascontiguousarray(blocks).view(np.uint8)
    return struct.pack("<IIII", kind, direction, values.size, blocks.size) + \
        blocks.tobytes() + values.astype("<f4").tobytes()


def dequantise_cases(rng, kind):
    elements, size = SIZES[kind]
    if elements == 1:
        halves = np.array(SPECIAL + list(rng.integers(0, 0x7C00, 119)), dtype="<u2")
        blocks = halves.view(np.uint8).reshape(-1, size)
    else:
        blocks = rng.integers(0, 256, (12, size), dtype=np.uint8)
        for i, block in enumerate(blocks):
            for at in HALVES[kind]:
                half = SPECIAL[(i + at) % len(SPECIAL)] if i < 9 else int(rng.integers(0x2000, 0x3C00))
                block[at:at + 2] = np.frombuffer(struct.pack("<H", half), dtype=np.uint8)
    return blocks, quants.dequantize(blocks.reshape(1, -1), kind)


def quantise_cases(rng, kind):
    values = rng.standard_normal((12, 32)).astype(np.float32)
    values[0] = 0
    values[1] *= 1e-30
    values[2] *= 1e4
    values[3] = np.linspace(-127, 127, 32)
    values[4, 5] = -1e-40
    values[5] = 0.5
    return quants.quantize(values, kind), values


def main():
    rng = np.random.default_rng(2)
    out = b""
    for kind in SIZES:
        out += record(kind, 0, *dequantise_cases(rng, kind))
    for kind in (T.F16, T.BF16, T.Q4_0, T.Q8_0):
        out += record(kind, 1, *quantise_cases(rng, kind))
    (pathlib.Path(__file__).parent / "blocks.golden").write_bytes(out)


if __name__ == "__main__":
    main()
