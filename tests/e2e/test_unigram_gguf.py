"""conclave-tokenize on a Unigram vocabulary in GGUF (tokenizer "t5"), as embedding models of the
XLM-RoBERTa kind carry it, against sentencepiece and Hugging Face tokenizers.

sentencepiece trains the model here; it is written as the usual converters do: four special tokens of
the model's own in front, the others behind them, scores, types and the map of characters.
"""
import io
import json
import os
import pathlib
import struct
import subprocess
import sys

import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "golden" / "tokenizers"))
import families  # noqa: E402

COUNT = int(os.environ.get("CONCLAVE_TOKENIZER_TEXTS", "1000"))
SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]
UNKNOWN, CONTROL = 2, 3
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, INT8 = 4, 5, 6, 7, 8, 9, 1
SCALARS = {UINT32: "<I", INT32: "<i", FLOAT32: "<f", BOOL: "<?", INT8: "<b"}


def text(value):
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def scalar(kind, value):
    return text(value) if kind == STRING else struct.pack(SCALARS[kind], value)


def gguf(entries):
    """A file of metadata alone: (key, type, value), a list for an array of the type."""
    out = b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries))
    for key, kind, value in entries:
        out += text(key)
        if isinstance(value, list):
            out += struct.pack("<IIQ", ARRAY, kind, len(value))
            out += b"".join(scalar(kind, one) for one in value)
        else:
            out += struct.pack("<I", kind) + scalar(kind, value)
    return out


class Model:
    def __init__(self, **options):
        serialised = io.BytesIO()
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=iter(line.replace("\n", " ") for line in families.corpus()),
            model_writer=serialised, model_type="unigram", vocab_size=900, hard_vocab_limit=False, minloglevel=2,
            character_coverage=0.999, num_threads=1, **options)
        self.processor = sentencepiece.SentencePieceProcessor(model_proto=serialised.getvalue())
        self.proto = sentencepiece_model_pb2.ModelProto.FromString(serialised.getvalue())
        assert [p.piece for p in self.proto.pieces[:3]] == ["<unk>", "<s>", "</s>"]

    def vocabulary(self):
        """(text, score, type) by id."""
        special = [(name, 0.0, UNKNOWN if name == "<unk>" else CONTROL) for name in SPECIALS]
        rest = [(p.piece, p.score, p.type) for p in self.proto.pieces[3:]]
        return special + rest + [("<mask>", 0.0, CONTROL)]

    def write_gguf(self, path):
        spec = self.proto.normalizer_spec
        tokens, scores, types = zip(*self.vocabulary())
        ggml = "tokenizer.ggml."
        entries = [
            ("general.architecture", STRING, "bert"), (ggml + "model", STRING, "t5"),
            (ggml + "pre", STRING, "default"), (ggml + "tokens", STRING, list(tokens)),
            (ggml + "scores", FLOAT32, list(scores)), (ggml + "token_type", INT32, list(types)),
            (ggml + "add_space_prefix", BOOL, spec.add_dummy_prefix),
            (ggml + "remove_extra_whitespaces", BOOL, spec.remove_extra_whitespaces),
            (ggml + "bos_token_id", UINT32, 0), (ggml + "eos_token_id", UINT32, 2),
            (ggml + "unknown_token_id", UINT32, 3), (ggml + "add_bos_token", BOOL, True),
            (ggml + "add_eos_token", BOOL, True)]
        if spec.precompiled_charsmap:
            signed = struct.unpack(f"<{len(spec.precompiled_charsmap)}b", spec.precompiled_charsmap)
            entries.append((ggml + "precompiled_charsmap", INT8, list(signed)))
        path.write_bytes(gguf(entries))

    def sentencepiece_ids(self, texts):
        """Behind four special tokens instead of three; the unknown token is the last of them."""
        for ids in self.processor.EncodeAsIds(texts):
            yield [0] + [3 if i == 0 else i + 1 for i in ids] + [2]

    def tokenizer(self):
        """As the tokenizer.json of XLM-RoBERTa is made."""
        made = Tokenizer(models.Unigram([(t, s) for t, s, _ in self.vocabulary()], unk_id=3))
        made.normalizer = normalizers.Precompiled(self.proto.normalizer_spec.precompiled_charsmap)
        made.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
        made.decoder = decoders.Metaspace()
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>",
            special_tokens=[("<s>", 0), ("</s>", 2)])
        return made


def encode(request, path, texts):
    tool = pathlib.Path(request.config.getoption("--build-dir")) / "bin" / "conclave-tokenize"
    done = subprocess.run([tool, path, "--json-lines", "--add-special"], capture_output=True,
                          check=True, input="".join(json.dumps(t) + "\n" for t in texts).encode())
    return [[int(i) for i in line.split()] for line in done.stdout.decode().split("\n")[:-1]]


VARIANTS = {
    "xlm-roberta": {"normalization_rule_name": "nmt_nfkc"},
    "plain-spaces": {"normalization_rule_name": "nmt_nfkc_cf", "remove_extra_whitespaces": False,
                     "add_dummy_prefix": False},
    "no-map": {"normalization_rule_name": "identity"},
    "bytes": {"normalization_rule_name": "nmt_nfkc", "byte_fallback": True},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_sentencepiece(name, request, tmp_path):
    model = Model(**VARIANTS[name])
    model.write_gguf(tmp_path / "model.gguf")
    texts = list(families.texts(17, COUNT))
    expected = list(model.sentencepiece_ids(texts))
    found = encode(request, tmp_path / "model.gguf", texts)
    wrong = [t for t, a, b in zip(texts, expected, found) if a != b]
    assert len(found) == COUNT and not wrong, (len(wrong), wrong[:3])


@pytest.mark.parametrize("kind", ["gguf", "json"])
def test_tokenizers(kind, request, tmp_path):
    """Words of many languages from GGUF, all of Unicode from tokenizer.json: of stranger texts the two
    libraries themselves think differently."""
    model = Model(**VARIANTS["xlm-roberta"])
    path = tmp_path / ("model.gguf" if kind == "gguf" else "tokenizer.json")
    tokenizer = model.tokenizer()
    if kind == "gguf":
        model.write_gguf(path)
        texts = list(families.corpus(23, COUNT))
    else:
        tokenizer.save(str(path))
        texts = list(families.texts(19, COUNT))
    expected = [e.ids for e in tokenizer.encode_batch(texts)]
    found = encode(request, path, texts)
    wrong = [t for t, a, b in zip(texts, expected, found) if a != b]
    assert len(found) == COUNT and not wrong, (len(wrong), wrong[:3])
