"""conclave-tokenize against Hugging Face tokenizers: every family, on random text of all Unicode.

The number of texts a family is CONCLAVE_TOKENIZER_TEXTS (default 1000; 100000 takes a quarter of an
hour). The vocabularies are trained here, by tests/golden/tokenizers/families.py.
"""
import json
import os
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "golden" / "tokenizers"))
import families  # noqa: E402

COUNT = int(os.environ.get("CONCLAVE_TOKENIZER_TEXTS", "1000"))
# Families whose ids say all of a text: what comes back is what went in.
EXACT = ["gpt-2", "starcoder", "llama-3", "gpt-4o", "tekken", "deepseek-coder", "deepseek-llm",
         "deepseek-v3", "kimi", "possessive", "right-digits", "falcon"]


@pytest.fixture(scope="module")
def made():
    return families.make()


@pytest.fixture(scope="module")
def texts():
    return list(families.texts(11, COUNT))


@pytest.fixture(scope="module")
def tool(request):
    return pathlib.Path(request.config.getoption("--build-dir")) / "bin" / "conclave-tokenize"


def run(tool, path, lines, *flags):
    done = subprocess.run([tool, path, "--json-lines", *flags], capture_output=True, check=True,
                          input="".join(line + "\n" for line in lines).encode())
    return done.stdout.decode().split("\n")[:-1]


def encode(tool, path, texts, *flags):
    lines = run(tool, path, [json.dumps(text) for text in texts], *flags)
    return [[int(i) for i in line.split()] for line in lines]


NAMES = ["gpt-2", "roberta", "starcoder", "llama-3", "qwen2", "gpt-4o", "tekken", "falcon",
         "deepseek-coder", "deepseek-llm", "deepseek-v3", "kimi", "possessive", "right-digits",
         "added-tokens", "llama-2", "no-fallback", "no-fallback-apart", "t5", "albert",
         "unigram-bytes", "bert", "bert-cased", "wordpiece"]


def test_names(made):
    assert sorted(made) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_family(name, made, texts, tool, tmp_path):
    tokenizer = made[name]
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    expected = [e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=True)]
    found = encode(tool, path, texts, "--specials", "--add-special")
    wrong = [text for text, a, b in zip(texts, expected, found) if a != b]
    assert len(found) == COUNT and not wrong, wrong[:3]
    tokenizer.encode_special_tokens = True  # special tokens in a text are text
    expected = [e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=False)]
    tokenizer.encode_special_tokens = False
    found = encode(tool, path, texts)
    wrong = [text for text, a, b in zip(texts, expected, found) if a != b]
    assert not wrong, wrong[:3]
    if name == "added-tokens":
        return  # the reference decodes an added "é" as the byte E9
    lines = [" ".join(map(str, ids)) for ids in expected]
    back = [json.loads(line) for line in run(tool, path, lines, "--decode")]
    assert back == tokenizer.decode_batch(expected, skip_special_tokens=True)
    if name in EXACT:
        assert back == texts
