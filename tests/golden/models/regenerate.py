#!/usr/bin/env python3
"""Writes the golden logits of the tiny models with Hugging Face transformers as the oracle.

    python3 regenerate.py [name ...]                 # <name>.txt; all of tiny_models.py without names
    python3 regenerate.py --folders DIR [name ...]   # DIR/<name>: config.json and safetensors instead

Needs torch, transformers and numpy; the test suite itself needs none of them.
"""

import argparse
import pathlib

import numpy as np
import torch
import transformers

import tiny_models
from tiny_values import mix

HERE = pathlib.Path(__file__).resolve().parent
PROMPT_TOKENS = 40
GREEDY_TOKENS = 64
MARGIN = 0.02


@torch.no_grad()
def greedy(model, prompt):
    """The appended tokens, the logits of the prompt, the smallest lead of a best token; None where
    a lead is below the margin."""
    tokens, lead, prompt_logits = list(prompt), float("inf"), None
    for _ in range(GREEDY_TOKENS):
        logits = model(torch.tensor([tokens])).logits[0]
        if prompt_logits is None:
            prompt_logits = logits.numpy().copy()
        best = torch.topk(logits[-1], 2).values
        lead = min(lead, (best[0] - best[1]).item())
        if lead < MARGIN:
            return None
        tokens.append(int(torch.argmax(logits[-1])))
    return tokens[len(prompt):], prompt_logits, lead


def rope_divisors(model, t):
    """By what each frequency is divided, as GGUF's rope_freqs.weight says it."""
    used = model.model.rotary_emb.inv_freq.double().numpy()
    plain = 10000.0 ** (-np.arange(0, t.head_dim, 2) / t.head_dim)
    return plain / used


def write(name):
    model, t = tiny_models.load(name)
    for attempt in range(20000):
        draws = mix(np.uint64(attempt * 1000) + np.arange(PROMPT_TOKENS, dtype=np.uint64))
        prompt = [int(x) for x in draws % np.uint64(t.vocab)]
        found = greedy(model, prompt)
        if found is not None:
            break
    else:
        raise SystemExit(f"{name}: no prompt without near ties")
    continuation, logits, lead = found
    path = HERE / f"{name}.txt"
    with path.open("w") as out:
        out.write(f"# transformers {transformers.__version__}, torch {torch.__version__}, "
                  f"smallest lead {lead:.4f}\n")
        out.write("prompt " + " ".join(map(str, prompt)) + "\n")
        out.write("greedy " + " ".join(map(str, continuation)) + "\n")
        if name == "llama3_rope":
            out.write("rope_freqs " + " ".join(f"{x:.9g}" for x in rope_divisors(model, t)) + "\n")
        for row in logits:
            out.write("logits " + " ".join(f"{x:.6g}" for x in row) + "\n")
    print(f"{path.name}: attempt {attempt}, lead {lead:.4f}, {path.stat().st_size} bytes", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folders", type=pathlib.Path, help="write the models themselves there")
    parser.add_argument("names", nargs="*", choices=[[], *tiny_models.MODELS])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.names or tiny_models.MODELS:
        if arguments.folders:
            tiny_models.load(name)[0].save_pretrained(arguments.folders / name)
        else:
            write(name)


if __name__ == "__main__":
    main()
