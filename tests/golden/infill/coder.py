"""Small models that know marks for filling gaps, made here: a byte-level BPE as Qwen2.5-Coder has one,
random weights; and requests for them. All of it a function of the code alone.
"""
import json
import pathlib
import random
import struct
import subprocess
import sys

from tokenizers import AddedToken

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tokenizers"))
import families  # noqa: E402

# By the model's name: of Qwen2.5-Coder, trained on whole repositories, and of SantaCoder.
MARKS = {
    "coder": {"end": "<|endoftext|>", "prefix": "<|fim_prefix|>", "middle": "<|fim_middle|>",
              "suffix": "<|fim_suffix|>", "pad": "<|fim_pad|>", "repository": "<|repo_name|>",
              "file": "<|file_sep|>"},
    "gaps-only": {"end": "<|endoftext|>", "prefix": "<fim-prefix>", "middle": "<fim-middle>",
                  "suffix": "<fim-suffix>", "pad": "<fim-pad>"},
}
NUM_TOKENS = 24
HIDDEN, HEADS, FFN, LAYERS, CONTEXT = 48, 4, 96, 2, 4096

# As editors send them; every text ends or begins with its line.
FILES = [{"filename": "a.h", "text": "int add(int a, int b);\n"}, {"text": "привет, мир\n"}]
REQUESTS = {
    "gap": {"input_prefix": "def add(a, b):\n", "prompt": "    return ", "input_suffix": "\n"},
    "files": {"input_prefix": "#include \"a.h\"\n\nint twice(int x) {\n", "prompt": "  return ",
              "input_suffix": ";\n}\n", "input_extra": FILES},
    "nothing behind": {"input_prefix": "The water of\n", "prompt": "", "input_suffix": "",
                       "input_extra": FILES[:1]},
    "marks in the text": {"input_prefix": "x = '<|fim_suffix|>'\n", "prompt": "y",
                          "input_suffix": " <|file_sep|>\n", "input_extra": [
                              {"filename": "<|repo_name|>", "text": "<fim-prefix>\n"}]},
}


def llama_cpp_says_the_same(name, request):
    """Without other files it names a repository all the same, to models that know marks for one."""
    return "input_extra" in request or "repository" not in MARKS[name]


def tokenizer(name):
    made = families.byte_bpe([families.LLAMA3 % ""], specials=[])
    made.add_special_tokens([AddedToken(mark, special=True, normalized=False)
                             for mark in MARKS[name].values()])
    made.encode_special_tokens = True  # what stands in a text is text
    return made


def tensors(vocab):
    """(name, shape) of a llama."""
    yield "model.embed_tokens.weight", (vocab, HIDDEN)
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            yield at + f"self_attn.{name}.weight", (HIDDEN, HIDDEN)
        for name in ("gate_proj", "up_proj"):
            yield at + f"mlp.{name}.weight", (FFN, HIDDEN)
        yield at + "mlp.down_proj.weight", (HIDDEN, FFN)
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield at + f"{name}.weight", (HIDDEN,)
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (vocab, HIDDEN)


def write_folder(name, folder):
    """As Hugging Face has models."""
    made = tokenizer(name)
    rng = random.Random(11)
    header, data = {}, []
    at = 0
    for name, shape in tensors(made.get_vocab_size()):
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        scale = 1 if len(shape) == 1 else 0.35
        values = [1 + rng.gauss(0, 0.1) if len(shape) == 1 else rng.gauss(0, scale)
                  for _ in range(count)]
        data.append(struct.pack(f"<{count}f", *values))
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + 4 * count]}
        at += 4 * count
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(
        struct.pack("<Q", len(text)) + text + b"".join(data))
    (folder / "config.json").write_text(json.dumps({
        "model_type": "llama", "hidden_size": HIDDEN, "num_attention_heads": HEADS,
        "intermediate_size": FFN, "num_hidden_layers": LAYERS, "max_position_embeddings": CONTEXT,
        "vocab_size": made.get_vocab_size(), "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "eos_token_id": made.token_to_id("<|endoftext|>"), "tie_word_embeddings": False}))
    made.save(str(folder / "tokenizer.json"))


def write_gguf(name, folder, bin_dir):
    folder.mkdir(parents=True, exist_ok=True)
    write_folder(name, folder)
    path = folder / f"{name}.gguf"
    subprocess.run([pathlib.Path(bin_dir) / "conclave-convert", folder, path, "--type", "F32"],
                   check=True, capture_output=True)
    return path
