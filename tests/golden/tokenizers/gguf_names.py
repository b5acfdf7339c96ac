"""tokenizer.ggml.pre: the names of byte-level BPE families and the cutting rules their models'
tokenizer.json files have; and GGUF files that hold a vocabulary and no more."""
import json
import struct

from families import CASED, CONTRACTIONS, GPT2, KIMI, LLAMA3, SPECIALS, byte_bpe

DEEPSEEK3 = [r"\p{N}{1,3}", "[一-龥\u3040-\u309f\u30a0-\u30ff]+",
             '[!"' + r"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"
             r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
             r"|\s*[\r\n]+|\s+(?!\S)|\s+"]
O200K = CASED % (CONTRACTIONS + "?", CONTRACTIONS + "?", "{1,3}")
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
BAILING = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*"
           r"|\s*[\r\n]|\s+(?!\S)|\s+")
AYA = [r"\d{1,3}(?=(?:\d{3})*\b)", O200K]
DIGITS = [r"\p{N}", GPT2]
JAIS2 = (CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
         + "".join(r"|\s{%s}(?!\S)" % n for n in (512, 256, 128, 64, 32, 16, 8, 4, "1,2")) + r"|\s{1}")

# names → (rules, words that are tokens are taken whole)
NAMES = {
    "gpt-2 phi-2 olmo mpt jais jina-es jina-de jina-v1-en jina-v2-code jina-v2-de jina-v2-es "
    "roberta-bpe modern-bert gigachat a.x-4.0 mellum exaone4 trillion granite-docling":
        ([GPT2], False),
    "dbrx smaug-bpe chatglm-bpe": ([LLAMA3 % "{1,3}"], False),
    "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano glm4 glm5":
        ([LLAMA3 % "{1,3}"], True),
    "qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2":
        ([LLAMA3 % ""], False),
    "gpt-4o o200k llama4 kanana2 talkie minimax-m2": ([O200K], False),
    "granite-embed-multi-97m": ([O200K], True),
    "tekken": ([CASED % ("", "", "")], True),
    "starcoder refact command-r smollm codeshell exaone minerva-7b mellum2": (DIGITS, False),
    "deepseek-v3 hunyuan-dense hy_v4 joyai-llm": (DEEPSEEK3, False),
    "kimi-k2": ([KIMI], False),
    "qwen35": ([CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
                r"|\s*[\r\n]+|\s+(?!\S)|\s+"], False),
    "spark2_5": (DEEPSEEK3[:2] + [DEEPSEEK3[2].replace(r"+[\r\n]*|\s*[\r\n]+", r"+|[\r\n]"),
                                  r"\p{N}"], False),
    "youtu": (["[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+",
               CASED % (CONTRACTIONS + "?", CONTRACTIONS + "?", "")], True),
    "jais-2": ([JAIS2], False),
    "bloom gpt3-finnish poro-chat": ([BLOOM], False),
    "viking": ([BLOOM, r"\p{N}"], False),
    "chameleon": (["<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", r"([\t\n]|    |  )",
                   r"\p{N}", r"[\p{P}!-/:-@\[-`{-~]", GPT2], False),
    "tiny_aya cohere2moe": (AYA, False),
    "superbpe": ([r"\p{N}+", r"(?=(\d{3})+(?!\d))"], False),
    "bailingmoe bailingmoe2 llada-moe": ([BAILING], False),
    "seed-coder": ([(LLAMA3 % "{1}").replace(r"[^\s\p{L}\p{N}]+[\r\n]*", r"[^\s\p{L}\p{N}\r\n]+")],
                   False),
    "ufakzeka": ([(LLAMA3 % "").removeprefix(CONTRACTIONS + "|")], False),
    "laguna": ([r"[^\n]+|[\n]+", LLAMA3 % ""], False),
    "exaone-moe": ([CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}"
                    r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"], False),
    "minicpm5": ([r"\p{N}{1,3}", LLAMA3 % "+"], True),
}
# Known, and refused: not byte-level BPE, or without a public expression.
REFUSED = ["gemma4", "granite-embed-multi-311m", "sarvam-moe", "whitespace", "afmoe"]


def make(rules, whole_words):
    return byte_bpe(rules, **({"ignore_merges": True} if whole_words else {}))


def gguf(path, pre, tokenizer):
    """Writes the vocabulary of a byte-level BPE tokenizer as GGUF writes it."""
    model = json.loads(tokenizer.to_str())
    vocab = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    special = {token["id"]: 3 if token["special"] else 4 for token in model["added_tokens"]}
    merges = [" ".join(merge) if isinstance(merge, list) else merge
              for merge in model["model"]["merges"]]

    def text(value):
        raw = value.encode()
        return struct.pack("<Q", len(raw)) + raw

    def strings(values):
        return struct.pack("<IIQ", 9, 8, len(values)) + b"".join(map(text, values))

    pairs = {
        "general.architecture": struct.pack("<I", 8) + text("llama"),
        "tokenizer.ggml.model": struct.pack("<I", 8) + text("gpt2"),
        "tokenizer.ggml.pre": struct.pack("<I", 8) + text(pre),
        "tokenizer.ggml.tokens": strings([token for token, _ in vocab]),
        "tokenizer.ggml.token_type": struct.pack("<IIQ", 9, 5, len(vocab)) + b"".join(
            struct.pack("<i", special.get(number, 1)) for _, number in vocab),
        "tokenizer.ggml.merges": strings(merges),
        "tokenizer.ggml.bos_token_id": struct.pack("<II", 4, tokenizer.token_to_id(SPECIALS[1])),
        "tokenizer.ggml.eos_token_id": struct.pack("<II", 4, tokenizer.token_to_id(SPECIALS[2])),
    }
    with open(path, "wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)))
        for key, value in pairs.items():
            file.write(text(key) + value)
