"""conclave-convert on folders with tokenizers of every kind: the ids of the GGUF file are those of
the tokenizer.json, or the folder is refused by what GGUF has no words for.
"""
import json
import os
import pathlib
import struct
import subprocess
import sys
import unicodedata

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "golden" / "tokenizers"))
import families  # noqa: E402

COUNT = int(os.environ.get("CONCLAVE_TOKENIZER_TEXTS", "1000"))
EXACT = ["gpt-2", "starcoder", "llama-3", "gpt-4o", "tekken", "deepseek-coder", "deepseek-v3",
         "kimi", "llama-2", "bert", "bert-cased"]
REFUSED = {
    "roberta": "add_prefix_space", "deepseek-llm": "these rules", "possessive": "these rules",
    "right-digits": "these rules", "added-tokens": "Lowercase", "no-fallback": "byte_fallback",
    "no-fallback-apart": "byte_fallback", "albert": "Replace", "unigram-bytes": "Nmt",
    "wordpiece": "BERT's"}
SIZES = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 1200,
         "num_hidden_layers": 1, "max_position_embeddings": 64}


@pytest.fixture(scope="module")
def made():
    return families.make()


@pytest.fixture(scope="module")
def texts():
    return list(families.texts(12, COUNT))


@pytest.fixture(scope="module")
def tools(request):
    return pathlib.Path(request.config.getoption("--build-dir")) / "bin"


@pytest.fixture()
def folder(tmp_path):
    """A llama of zeros without a tokenizer."""
    tensors = {"model.embed_tokens.weight": [1200, 8], "model.norm.weight": [8],
               "lm_head.weight": [1200, 8]}
    for name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                 "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"):
        tensors[f"model.layers.0.{name}.weight"] = [8, 8]
    for name in ("input_layernorm", "post_attention_layernorm"):
        tensors[f"model.layers.0.{name}.weight"] = [8]
    header, at = {}, 0
    for name, shape in tensors.items():
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(at))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", **SIZES}))
    return tmp_path


def convert(tools, folder):
    return subprocess.run([tools / "conclave-convert", folder, folder / "model.gguf"],
                          capture_output=True, text=True)


def ids(tools, path, texts):
    done = subprocess.run(
        [tools / "conclave-tokenize", path, "--json-lines", "--specials", "--add-special"],
        capture_output=True, check=True,
        input="".join(json.dumps(text) + "\n" for text in texts).encode())
    return [[int(i) for i in line.split()] for line in done.stdout.decode().split("\n")[:-1]]


def test_names(made):
    assert sorted(made) == sorted([*EXACT, *REFUSED, "qwen2", "falcon", "t5"])


@pytest.mark.parametrize("name", EXACT)
def test_exact(name, made, texts, tools, folder):
    made[name].save(str(folder / "tokenizer.json"))
    done = convert(tools, folder)
    assert done.returncode == 0 and not done.stderr, done.stderr
    expected = [e.ids for e in made[name].encode_batch(texts, add_special_tokens=True)]
    found = ids(tools, folder / "model.gguf", texts)
    wrong = [text for text, a, b in zip(texts, expected, found) if a != b]
    assert len(found) == COUNT and not wrong, wrong[:3]


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, made, tools, folder):
    made[name].save(str(folder / "tokenizer.json"))
    done = convert(tools, folder)
    assert done.returncode == 1 and not (folder / "model.gguf").exists()
    assert "GGUF has no word for" in done.stderr and REFUSED[name] in done.stderr


def test_exact_on_text_in_nfc(made, texts, tools, folder):
    made["qwen2"].save(str(folder / "tokenizer.json"))
    done = convert(tools, folder)
    assert done.returncode == 0 and "NFC" in done.stderr
    normal = [unicodedata.normalize("NFC", text) for text in texts]
    expected = [e.ids for e in made["qwen2"].encode_batch(normal, add_special_tokens=True)]
    found = ids(tools, folder / "model.gguf", normal)
    # Python's Unicode is older than that of the reference, and may leave something to compose.
    wrong = sum(a != b for a, b in zip(expected, found))
    assert wrong <= COUNT // 200


@pytest.mark.parametrize("name", ["falcon", "t5"])
def test_exact_but_for_what_the_note_says(name, made, tools, folder):
    made[name].save(str(folder / "tokenizer.json"))
    done = convert(tools, folder)
    assert done.returncode == 0 and done.stderr
    plain = ["the water of people", "Look at that, then write 12 words", "  two  spaces "]
    expected = [e.ids for e in made[name].encode_batch(plain, add_special_tokens=True)]
    assert ids(tools, folder / "model.gguf", plain) == expected


def test_more_tokens_than_rows(made, tools, folder):
    made["gpt-2"].save(str(folder / "tokenizer.json"))
    config = json.loads((folder / "config.json").read_text())
    data = (folder / "model.safetensors").read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    at = 0
    for entry in header.values():
        rows = 600 if entry["shape"][0] == 1200 else entry["shape"][0]
        size = 2 * rows * (entry["shape"][1] if len(entry["shape"]) > 1 else 1)
        entry["shape"][0], entry["data_offsets"] = rows, [at, at + size]
        at += size
    text = json.dumps(header).encode()
    data = struct.pack("<Q", len(text)) + text + bytes(at)
    (folder / "model.safetensors").write_bytes(data)
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 600}))
    done = convert(tools, folder)
    assert done.returncode == 1 and "the embedding table has 600 rows" in done.stderr
