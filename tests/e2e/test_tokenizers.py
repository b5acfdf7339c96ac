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
import gguf_names  # noqa: E402

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


@pytest.mark.parametrize("names", gguf_names.NAMES, ids=lambda names: names.split()[0])
def test_gguf_name(names, texts, tool, tmp_path):
    """Every name of tokenizer.ggml.pre cuts as the expressions of its models' tokenizer.json."""
    tokenizer = gguf_names.make(*gguf_names.NAMES[names])
    tokenizer.encode_special_tokens = True
    expected = [e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=False)]
    path = tmp_path / "vocabulary.gguf"
    for index, name in enumerate(names.split()):
        gguf_names.gguf(path, name, tokenizer)
        some = len(texts) if index == 0 else 100  # the other names share its rules
        found = encode(tool, path, texts[:some])
        wrong = [text for text, a, b in zip(texts, expected, found) if a != b]
        assert len(found) == some and not wrong, (name, len(wrong), wrong[:3])
        lines = [" ".join(map(str, ids)) for ids in expected[:some]]
        assert [json.loads(line) for line in run(tool, path, lines, "--decode")] == texts[:some]


@pytest.mark.parametrize("name", gguf_names.REFUSED + ["nonsense"])
def test_gguf_names_that_are_refused(name, tool, tmp_path):
    path = tmp_path / "vocabulary.gguf"
    gguf_names.gguf(path, name, gguf_names.make([gguf_names.GPT2], False))
    done = subprocess.run([tool, path], capture_output=True, input=b"text")
    assert done.returncode == 1 and done.stdout == b""
    assert b"tokenizer.ggml.pre: " in done.stderr and name.encode() in done.stderr


PATHOLOGICAL = {"letter": "a", "space": " ", "marks": "\u0301", "digits": "7", "aab": "aab",
                "zwj": "👩\u200d👩\u200d👧", "newlines": "\n", "apostrophes": "'", "capitals": "Aa",
                "han": "好", "mixed spaces": "\u00a0 "}


@pytest.mark.parametrize("kind", PATHOLOGICAL)
@pytest.mark.parametrize("name", ["gpt-2", "llama-bpe", "gpt-4o", "deepseek-v3", "kimi-k2", "jais-2",
                                  "exaone-moe", "tiny_aya", "superbpe"])
def test_time_is_linear(kind, name, tool, tmp_path):
    """A megabyte of anything takes seconds at most, and four times of it about four times as long."""
    rules = next(rules for names, rules in gguf_names.NAMES.items() if name in names.split())
    path = tmp_path / "vocabulary.gguf"
    gguf_names.gguf(path, name, gguf_names.make(*rules))
    unit = PATHOLOGICAL[kind]

    def seconds(size):
        text = unit * (size // len(unit.encode()))
        best = 1e9
        for _ in range(2):
            begin = os.times().children_user
            done = subprocess.run([tool, path], capture_output=True, input=text.encode(), check=True)
            best = min(best, os.times().children_user - begin)
        back = subprocess.run([tool, path, "--decode"], capture_output=True, input=done.stdout,
                              check=True)
        assert back.stdout.decode() == text
        return best

    small, large = seconds(1 << 20), seconds(4 << 20)
    assert small < 5 and large < 6 * small + 0.5, (small, large)
