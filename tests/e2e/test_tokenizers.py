"""conclave-tokenize against Hugging Face tokenizers: every family, on random text of all Unicode.

The number of texts a family is CONCLAVE_TOKENIZER_TEXTS (default 1000; 100000 takes a quarter of an
hour). The vocabularies are trained here, by tests/golden/tokenizers/families.py.
"""
import json
import os
import pathlib
import resource
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
@pytest.mark.parametrize("name", ["llama-bpe", "kimi-k2", "exaone-moe", "superbpe"])
def test_time_is_linear(kind, name, tool, tmp_path):
    """A megabyte of anything takes seconds at most, and about four times as long as a quarter."""
    rules = next(rules for names, rules in gguf_names.NAMES.items() if name in names.split())
    path = tmp_path / "vocabulary.gguf"
    gguf_names.gguf(path, name, gguf_names.make(*rules))
    unit = PATHOLOGICAL[kind]

    def seconds(size):
        text = unit * (size // len(unit.encode()))
        begin = os.times().children_user
        done = subprocess.run([tool, path], capture_output=True, input=text.encode(), check=True)
        took = os.times().children_user - begin
        back = subprocess.run([tool, path, "--decode"], capture_output=True, input=done.stdout,
                              check=True)
        assert back.stdout.decode() == text
        return took

    small, large = seconds(1 << 18), seconds(1 << 20)
    assert large < 8 and large < 6 * small + 0.5, (small, large)


FIXTURES = pathlib.Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "tokenizers"


def answers(texts, ids):
    texts = texts.read_text().split("\n__ggml_vocab_test__\n")
    lines = ids.read_text().split("\n")
    # A last separator ends the file without a text after it.
    return [(text, [int(i) for i in line.split()]) for text, line in zip(texts, lines)
            if text or line.strip()]


@pytest.mark.parametrize("name", sorted(path.name for path in FIXTURES.glob("*.gguf")))
def test_published_ids(name, tool):
    rows = answers(FIXTURES / (name + ".inp"), FIXTURES / (name + ".out"))
    assert len(rows) > 20
    found = encode(tool, FIXTURES / name, [text for text, _ in rows])
    assert found == [ids for _, ids in rows]
    for text, ids in rows[:5]:  # one text a run, as people call it
        done = subprocess.run([tool, FIXTURES / name], input=text.encode(), capture_output=True)
        assert done.stdout.decode() == " ".join(map(str, ids)) + "\n"


@pytest.mark.skipif(not (FIXTURES / "llama-3.2").exists(), reason="no ../shared/fixtures")
def test_published_ids_of_llama_3(tool, tmp_path):
    folder = FIXTURES / "llama-3.2"
    vocab = json.loads((folder / "vocab.json").read_text())
    merges = [line for line in (folder / "merges.txt").read_text().split("\n") if line]
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({
        "version": "1.0", "added_tokens": [], "normalizer": None, "post_processor": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": families.LLAMA3 % "{1,3}"},
             "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
             "use_regex": False}]},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "ignore_merges": True, "vocab": vocab, "merges": merges}}))
    rows = answers(folder / "cases.inp", folder / "cases.out")
    assert len(rows) > 20
    assert encode(tool, path, [text for text, _ in rows]) == [ids for _, ids in rows]


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    path = tmp_path_factory.mktemp("gpt2") / "vocabulary.gguf"
    gguf_names.gguf(path, "gpt-2", gguf_names.make([gguf_names.GPT2], False))
    return path


@pytest.mark.parametrize("text", [b"", b"\n", b"no newline", b"newline\n", b"\xff\xfe\x80", b"\x00",
                                  b"a\r\n\xe2\x82", b"x" * 3_000_000, "é".encode() * 100_000])
def test_tool_keeps_every_byte(text, gpt2, tool):
    ids = subprocess.run([tool, gpt2], input=text, capture_output=True, check=True).stdout
    assert ids.endswith(b"\n") and ids.count(b"\n") == 1
    back = subprocess.run([tool, gpt2, "--decode"], input=ids, capture_output=True, check=True)
    assert back.stdout == text


@pytest.mark.parametrize("arguments, stdin, status, complaint", [
    (["--decode"], b"1 2 x", 1, "ids[2]: 'x' must be an integer from 0 to "),
    (["--decode"], b"-1", 1, "ids[0]: '-1' must be"),
    (["--decode"], b"99999999999999999999", 1, "ids[0]: "), (["--decode"], b"1e3", 1, "ids[0]: "),
    (["--json-lines"], b"\"a\"\nb\n", 1, "line 2: "), (["--json-lines"], b"5\n", 1, "line 1: "),
    (["--json-lines", "--decode"], b"1\n77777777\n", 1, "line 2: ids[0]: "),
    (["--nonsense"], b"", 2, "nonsense"), (["another"], b"", 2, "usage: ")])
def test_tool_refuses_by_name(arguments, stdin, status, complaint, gpt2, tool):
    done = subprocess.run([tool, gpt2, *arguments], input=stdin, capture_output=True)
    assert done.returncode == status and complaint in done.stderr.decode(), done.stderr


def test_tool_without_a_vocabulary(tool, tmp_path):
    empty = tmp_path / "empty.json"
    empty.write_text("")
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    for path, complaint in [(tmp_path / "none.gguf", "none.gguf"), (empty, "empty.json: "),
                            (tmp_path / "none.json", "cannot be read"), (tmp_path, ""),
                            (broken, "gguf")]:
        done = subprocess.run([tool, path], input=b"x", capture_output=True)
        assert done.returncode == 1 and done.stdout == b"" and done.stderr
        assert complaint in done.stderr.decode(), done.stderr
    assert subprocess.run([tool], input=b"", capture_output=True).returncode == 2


# --- M14 and M13 of the loader's hostility list: bounded in memory and time

LIMIT = 400 << 20  # of address space: the program itself takes a good part


def limited(tool, path, text=b"x"):
    def lower():
        resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
        resource.setrlimit(resource.RLIMIT_CPU, (5, 5))

    return subprocess.run([tool, path], input=text, capture_output=True, preexec_fn=lower)


def bpe(**changes):
    file = {"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2},
                                        "merges": ["a b"]}}
    file.update(changes)
    return json.dumps(file)


def nested(inner, kind, member, depth):
    for _ in range(depth):
        inner = {"type": kind, member: [inner]}
    return inner


HOSTILE_JSON = {
    "merges of unknown tokens": bpe(model={"type": "BPE", "vocab": {"a": 0}, "merges": ["a x"]}),
    "an id of 2^31": bpe(model={"type": "BPE", "vocab": {"a": 2147483647}, "merges": []}),
    "an id of 2^63": bpe(model={"type": "BPE", "vocab": {"a": 1 << 63}, "merges": []}),
    "an id of 10^8": bpe(model={"type": "BPE", "vocab": {"a": 100_000_000}, "merges": []}),
    "an added id of 10^9": bpe(added_tokens=[{"id": 10**9, "content": "x", "special": True}]),
    "a long expression": bpe(pre_tokenizer={"type": "Split", "behavior": "Isolated", "invert": False,
                                            "pattern": {"Regex": "a" * 10**7}}),
    "a repetition of 10^9": bpe(pre_tokenizer={"type": "Split", "behavior": "Isolated",
                                               "invert": False, "pattern": {"Regex": "a{1000000000}"}}),
    "repetitions of repetitions": bpe(pre_tokenizer={
        "type": "Split", "behavior": "Isolated", "invert": False,
        "pattern": {"Regex": "(((((a{999}){999}){999}){999}){999}){999}"}}),
    "brackets without end": bpe(pre_tokenizer={"type": "Split", "behavior": "Isolated",
                                               "invert": False, "pattern": {"Regex": "(" * 16000}}),
    "normalizers in normalizers": bpe(normalizer=nested({"type": "NFC"}, "Sequence", "normalizers", 20)),
    "normalizers without end": '{"normalizer":' + '{"type":"Sequence","normalizers":[' * 10**5,
    "decoders in decoders": bpe(decoder=nested({"type": "ByteLevel"}, "Sequence", "decoders", 31)),
    "brackets": "[" * 2_000_000,
    "an empty token": bpe(model={"type": "BPE", "vocab": {"": 0}, "merges": []}),
    "no model": "{}",
    "a score that is none": bpe(model={"type": "Unigram", "unk_id": 0, "vocab": [["a", "x"]]}),
    "a charsmap that points out of itself": bpe(normalizer={
        "type": "Precompiled", "precompiled_charsmap": "BAAAAP////8="}),
}


# Odd, but read and run without harm.
HARMLESS = ["normalizers in normalizers", "decoders in decoders", "an empty token",
            "a charsmap that points out of itself"]


@pytest.mark.parametrize("name", HOSTILE_JSON)
def test_m14_hostile_tokenizer_json(name, tool, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(HOSTILE_JSON[name])
    done = limited(tool, path)
    assert done.returncode in (0, 1), (done.returncode, done.stderr[-300:])
    if done.returncode == 1:
        assert done.stderr.startswith(str(path).encode() + b": "), done.stderr
        assert len(done.stderr) < 2000
    assert (done.returncode == 0) == (name in HARMLESS), done.stderr


@pytest.mark.parametrize("name, header", [
    ("a header of 2^63", b"\xff" * 7 + b"\x7f"), ("a header beyond the file", (1 << 30).to_bytes(8, "little")),
    ("a shape of 2^80", {"t": {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 0]}}),
    ("a negative shape", {"t": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}),
    ("offsets past the end", {"t": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}),
    ("an unknown type", {"t": {"dtype": "Q9", "shape": [1], "data_offsets": [0, 4]}}),
    ("overlapping", {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
                     "b": {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]}}),
])
def test_m13_hostile_safetensors(name, header, tool, tmp_path):
    raw = header
    if isinstance(header, dict):
        text = json.dumps(header).encode()
        raw = len(text).to_bytes(8, "little") + text + b"\0" * 6
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tmp_path / "model.safetensors").write_bytes(raw)
    done = limited(tool, tmp_path)
    assert done.returncode == 1 and done.stderr, done


@pytest.mark.parametrize("shard", ["../../etc/passwd", "/etc/passwd", "a/../../x", "", "\u0000"])
def test_m13_hostile_index(shard, tool, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"t": shard}}))
    done = limited(tool, tmp_path)
    assert done.returncode == 1 and b"model.safetensors.index.json" in done.stderr, done.stderr
