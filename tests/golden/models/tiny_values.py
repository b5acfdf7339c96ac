"""The values of inference-worker/tools/synth_values.cc: functions of (seed, tensor name, index)."""

import numpy as np
import torch

MASK = (1 << 64) - 1
SEED = 1


def mix(x):
    """The finaliser of splitmix64, over an array of uint64."""
    x = np.asarray(x, dtype=np.uint64)
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def tensor_seed(name):
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) & MASK
    return mix(value ^ SEED)


def uniform(name, count):
    index = np.arange(count, dtype=np.uint64)
    with np.errstate(over="ignore"):
        bits = mix(tensor_seed(name) + index * np.uint64(0x9E3779B97F4A7C15))
    return (bits >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)


def matrix(name, *shape):
    scale = np.float32(np.sqrt(3.0 / shape[-1]))
    return torch.from_numpy((scale * uniform(name, int(np.prod(shape)))).reshape(shape))


def norm(name, n):
    return torch.from_numpy(np.float32(1) + np.float32(0.25) * uniform(name, n))


def bias(name, *shape, scale=0.25):
    values = np.float32(scale) * uniform(name, int(np.prod(shape)))
    return torch.from_numpy(values.reshape(shape))
