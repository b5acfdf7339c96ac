#!/usr/bin/env python3
"""Writes the golden files of this folder with Hugging Face tokenizers and sentencepiece.

    pip install tokenizers==0.23.3 sentencepiece==0.2.3 && python3 regenerate.py

The vocabularies are tiny and trained here, on text written for the purpose. The BPE vocabulary is
trained without cutting the text into words first, so its merges cross every seam a pre-tokeniser
might cut at: the ids show where each family cuts.
"""
import io
import json
import pathlib
import random

import sentencepiece
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers,
                        pre_tokenizers as pre, processors, trainers)

FOLDER = pathlib.Path(__file__).parent
CORPUS = [
    "The quick brown fox doesn't jump over 12 lazy dogs; it can't, they'll see it.",
    "we've said: \"I'm sure you'd agree, they're fine\" — 3.14159, 2718, 100000.",
    "int main() {\n\treturn x == 0 ? foo(bar) : baz[1024];\n}\n\n\n",
    "Übergrößenträger façade naïve coöperate Ångström ŒUVRE", "нещо на Български, ещё раз",
    "猫は日本語を話せますか？はい。カタカナ 漢字", "대한민국 서울 안녕하세요", "שלום עולם مرحبا بالعالم",
    "🦙 llamas 👩‍🚀 emoji 🇧🇬 x² ½ Ⅷ ①", "   leading and trailing   ", "\r\n\r\n  \t \n x",
    "CamelCaseWords HTTPServer iPhone XMLHttpRequest", "a_b-c/d\\e <tag> $5.00 `code` ~x^2|y",
] * 3
EDGES = [
    "", " ", "  ", "\n", "\n\n", " \n", "\n ", "\t\n\t", "'S 'T 'RE don't DON'T ''s'", "'\u017fx 'lL",
    "1 12 123 1234 12345 1234567", "x1y22z333w4444", "a  b   c    d", "a\n b \n  c\n\n", "…!?¿/\n/\r\n//",
    "e\u0301 \u0301x !\u0301 \u0301", "\u00a0x\u2003y\u3000z\u0085w", "ＦＵＬＬ width１２３", "ǅ ǅa Aǅ ʰA aʰB",
    "\u200bzero\u200dwidth\ufeff", "\ue000private\U000f0000", "\U0001d400\U0001d7ce math",
    "ABCdef ABC def aBcD ÀÉî ПРИвет", "一二三abc四五 かなカナ가나", "<|im_end|> </s> [CLS]",
]
SPLITS = {
    "gpt-2": [None],
    "starcoder": ["digits", None],
    "llama-bpe": [r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
                  r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"],
    "qwen2": [r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
              r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"],
    "gpt-4o": [r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
               r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
               r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}"
               r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"],
    "tekken": [r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
               r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"
               r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"],
    "deepseek-coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥\u0800-一가-\ud7ff]+", r"\p{N}"],
    "deepseek-v3": [r"\p{N}{1,3}", "[一-龥\u3040-\u309f\u30a0-\u30ff]+",
                    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"
                    r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+"
                    r"|\s+(?!\S)|\s+"],
}


def random_texts(count, seed=7):
    rng = random.Random(seed)
    pools = [(0x20, 0x7F), (0x20, 0x7F), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x52F), (0x5D0, 0x6FF),
             (0x900, 0x97F), (0x1100, 0x11FF), (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x2150, 0x218F),
             (0x3040, 0x30FF), (0x4E00, 0x4E80), (0xAC00, 0xAC80), (0xFF00, 0xFF60),
             (0x1F600, 0x1F640)]
    for _ in range(count):
        text = ""
        for _ in range(rng.randrange(1, 30)):
            text += rng.choice([" ", "\n", "'s", "12", "A", "x", " "]) if rng.random() < 0.4 else chr(
                rng.randrange(*rng.choice(pools)))
        yield text


def pre_tokenizer(steps):
    made = []
    for step in steps:
        if step == "digits":
            made.append(pre.Digits(individual_digits=True))
        elif step is None:
            made.append(pre.ByteLevel(add_prefix_space=False, use_regex=True))
        else:
            made.append(pre.Split(Regex(step), "isolated"))
    if None not in steps:
        made.append(pre.ByteLevel(add_prefix_space=False, use_regex=False))
    return pre.Sequence(made)


def write(name, data):
    (FOLDER / name).write_text(json.dumps(data, ensure_ascii=True, indent=None,
                                          separators=(",", ":")).replace('],"', '],\n"') + "\n")


def bpe(texts):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(vocab_size=900, max_token_length=8, show_progress=False,
                                  initial_alphabet=pre.ByteLevel.alphabet())
    tokenizer.train_from_iterator(CORPUS, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    families = {}
    for family, steps in SPLITS.items():
        tokenizer.pre_tokenizer = pre_tokenizer(steps)
        families[family] = [tokenizer.encode(text).ids for text in texts]
    write("bpe.json", {"tokens": tokens, "merges": [" ".join(m) for m in model["merges"]],
                       "texts": texts, "families": families})
    tokenizer.pre_tokenizer = pre_tokenizer(SPLITS["qwen2"])
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens([AddedToken("<think>", special=False)])
    (FOLDER / "tokenizer_bpe.json").write_text(tokenizer.to_str() + "\n")


def wordpiece(texts):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre.BertPreTokenizer()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(CORPUS, trainers.WordPieceTrainer(
        vocab_size=420, show_progress=False, special_tokens=specials))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.decoder = decoders.WordPiece()
    vocab = tokenizer.get_vocab()
    plain = Tokenizer.from_str(tokenizer.to_str())
    plain.encode_special_tokens = True  # "[CLS]" in a text is text
    long_words = ["a" * 100, "a" * 101, "the" + "x" * 97]
    cases = texts + long_words
    write("wordpiece.json", {"tokens": sorted(vocab, key=vocab.get), "texts": cases,
                             "ids": [plain.encode(text).ids for text in cases]})
    (FOLDER / "tokenizer_wordpiece.json").write_text(tokenizer.to_str() + "\n")


def spm(texts):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=model, vocab_size=560, model_type="bpe",
        byte_fallback=True, character_coverage=0.98, normalization_rule_name="identity",
        remove_extra_whitespaces=False, add_dummy_prefix=True, minloglevel=2)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ids = range(processor.get_piece_size())
    types = [2 if processor.is_unknown(i) else 3 if processor.is_control(i) else
             6 if processor.is_byte(i) else 1 for i in ids]
    # sentencepiece replaces no special text, but treats NUL and lone surrogates its own way.
    texts = [text for text in texts if "\0" not in text]
    write("spm.json", {"tokens": [processor.id_to_piece(i) for i in ids], "types": types,
                       "scores": [processor.get_score(i) for i in ids], "texts": texts,
                       "ids": [processor.encode(text) for text in texts]})


def main():
    texts = EDGES + CORPUS[:13] + list(random_texts(60))
    bpe(texts)
    wordpiece(texts)
    spm(texts)


if __name__ == "__main__":
    main()
