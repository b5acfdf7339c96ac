#!/usr/bin/env python3
"""Tokenizers of every kind, trained here on text made here, and random texts for them.

`make()` gives name → Tokenizer of Hugging Face tokenizers; `texts(seed, count)` the strings. Both
are functions of their arguments alone, so that two runs agree without keeping either.
"""
import base64
import json
import random
import struct

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers,
                        pre_tokenizers as pre, processors, trainers)

CASED = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%s"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%s"
         r"|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3 = CONTRACTIONS + (r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
                         r"|\s+(?!\S)|\s+")
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# Expressions no family of ours has a matcher for.
KIMI = (r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*"
        r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+"
        r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
POSSESSIVE = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++"
              r"[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s")
RIGHT_DIGITS = r"\d{1,3}(?=(?:\d{3})*\b)"
SPECIALS = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]

WORDS = ("the of and a to in is you that it he was for on are as with his they I at be this have "
         "from one had by word but not what all were we when your can said there use an each which "
         "she do how their if will up other about out many then them these so some her would make "
         "like him into time has look two more write go see number no way could people my than "
         "first water been call who oil its now find long down day did get come made may part "
         "naïve façade Übergröße crème brûlée señor coöperate Ångström привет мир спасибо здраво "
         "καλημέρα κόσμε שלום עולם مرحبا بالعالم 你好 世界 謝謝 こんにちは カタカナ 안녕하세요 서울 "
         "नमस्ते สวัสดี 🦙 👩‍🚀 😀 0 1 42 100 2024 3.14 foo(bar) return; x==y HTTPServer").split()


def corpus(seed=3, lines=600):
    rng = random.Random(seed)
    for _ in range(lines):
        line = ""
        for _ in range(rng.randrange(2, 14)):
            word = rng.choice(WORDS)
            line += rng.choice([word, word.capitalize(), word]) + rng.choice(
                [" ", " ", " ", " ", ", ", ". ", "  ", "\n", "'s ", "-", "! "])
        yield line


POOLS = [(0x20, 0x7F)] * 5 + [
    (0x00, 0x20), (0x7F, 0x100), (0x100, 0x250), (0x2B0, 0x370), (0x370, 0x530), (0x590, 0x700),
    (0x900, 0xE00), (0xE00, 0x1000), (0x1100, 0x1200), (0x1D00, 0x2000), (0x2000, 0x2100),
    (0x2100, 0x2C00), (0x3000, 0x3400), (0x4E00, 0x5000), (0xA000, 0xAC00), (0xAC00, 0xAE00),
    (0xF900, 0x10000), (0x10000, 0x12000), (0x1D400, 0x1D800), (0x1F000, 0x1FB00), (0x0, 0x110000)]


def texts(seed, count):
    """Words, spaces, special tokens and scalars of everywhere, up to 40 pieces a text."""
    rng = random.Random(seed)
    joints = [" ", " ", "  ", "\n", "\r\n", "\t", "'s", "'LL", "12", "1234567", "<|im_end|>", "<s>",
              "</s>", "é", "e\u0301", "\u00a0", "▁", "<0x41>", "##a", "[MASK]", "[mask]", "yes", "mAYbe", "word", "…"]
    for _ in range(count):
        text = ""
        for _ in range(rng.randrange(1, 40)):
            kind = rng.random()
            if kind < 0.25:
                text += rng.choice(joints)
            elif kind < 0.45:
                text += rng.choice(WORDS)
            else:
                scalar = rng.randrange(*rng.choice(POOLS))
                text += "\ufffd" if 0xD800 <= scalar < 0xE000 else chr(scalar)
        yield text


def byte_bpe(steps, normalizer=None, prefix_space=False, specials=SPECIALS, **options):
    tokenizer = Tokenizer(models.BPE(**options))
    tokenizer.pre_tokenizer = pre.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.train_from_iterator(corpus(), trainers.BpeTrainer(
        vocab_size=700, max_token_length=12, show_progress=False,
        initial_alphabet=sorted(pre.ByteLevel.alphabet())))
    made = [step if isinstance(step, pre.PreTokenizer) else pre.Split(Regex(step), "isolated")
            for step in steps]
    if not any(isinstance(step, pre.ByteLevel) for step in steps):
        made.append(pre.ByteLevel(add_prefix_space=prefix_space, use_regex=not steps))
    tokenizer.pre_tokenizer = pre.Sequence(made) if len(made) > 1 else made[0]
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(specials)
    tokenizer.add_tokens(["yes"])
    return tokenizer


def char_bpe(byte_fallback=True, alphabet=150, **options):
    """As llama 2 and mistral write theirs: spaces are replaced, characters are symbols."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=byte_fallback, **options))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    bytes_ = ["<0x%02X>" % i for i in range(256)] if byte_fallback else []
    tokenizer.train_from_iterator(corpus(), trainers.BpeTrainer(
        vocab_size=900, max_token_length=10, limit_alphabet=alphabet, show_progress=False,
        special_tokens=["<unk>", "<s>", "</s>"] + bytes_))
    text = json.loads(tokenizer.to_str())
    text["added_tokens"] = text["added_tokens"][:3]
    tokenizer = Tokenizer.from_str(json.dumps(text))
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
        decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def charsmap():
    """A character map as sentencepiece precompiles them, of a few rules."""
    rules = {"ﬁ": "fi", "①": "1", "\u00a0": " ", "\t": " ", "\n": " ", "\r": "", "é": "e", "…": "...",
             "Å": "A", "ü": "ue", "\u200b": "", "Ａ": "A", "e\u0301": "E"}
    texts, offsets = b"", {}
    for key, value in rules.items():
        offsets[key.encode()] = len(texts)
        texts += value.encode() + b"\0"
    trie = {}
    for key, value in offsets.items():
        node = trie
        for byte in key:
            node = node.setdefault(byte, {})
        node[None] = value
    units = [0] * 65536
    used = {0}

    def place(node, at):
        labels = sorted(0 if label is None else label for label in node)
        base = 1
        # An offset that fits the unit's 21 bits and leaves all children free.
        while any(base ^ label in used for label in labels):
            base += 1
        distance = at ^ base
        units[at] |= distance << 10 | (256 if None in node else 0)
        for label in labels:
            used.add(base ^ label)
        for label, child in node.items():
            if label is None:
                units[base] = child | 1 << 31
            else:
                units[base ^ label] |= label
                place(child, base ^ label)

    place(trie, 0)
    size = (max(used) | 255) + 1  # any byte may follow the last
    blob = struct.pack("<%dI" % size, *units[:size])
    return base64.b64encode(struct.pack("<I", len(blob)) + blob + texts).decode()


def unigram(normalizer, pre_tokenizer, decoder=None, byte_fallback=False):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC()])
    tokenizer.pre_tokenizer = pre.Metaspace()
    specials = ["<pad>", "</s>", "<unk>"] + (["<0x%02X>" % i for i in range(256)]
                                             if byte_fallback else [])
    tokenizer.train_from_iterator(corpus(), trainers.UnigramTrainer(
        vocab_size=700 + len(specials), show_progress=False, special_tokens=specials,
        unk_token="<unk>"))
    text = json.loads(tokenizer.to_str())
    # Training gives scores that differ in their last digits from run to run.
    text["model"]["vocab"] = [[t, round(s, 4)] for t, s in text["model"]["vocab"]]
    text["model"]["byte_fallback"] = byte_fallback
    text["added_tokens"] = text["added_tokens"][:3]
    text["normalizer"] = normalizer
    tokenizer = Tokenizer.from_str(json.dumps(text))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoder or decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


def wordpiece(normalizer, pre_tokenizer, processor, **decoder):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.train_from_iterator(corpus(), trainers.WordPieceTrainer(
        vocab_size=500, show_progress=False,
        special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]))
    tokenizer.post_processor = processor
    tokenizer.decoder = decoders.WordPiece(**decoder)
    tokenizer.add_special_tokens([AddedToken("[MASK]", lstrip=True, special=True)])
    return tokenizer


def added_tokens():
    """Every flag an added token may have."""
    tokenizer = byte_bpe([LLAMA3 % "{1,3}"], normalizers.Sequence(
        [normalizers.NFC(), normalizers.Lowercase()]))
    tokenizer.add_tokens([
        AddedToken("Maybe", normalized=True), AddedToken("word", single_word=True),
        AddedToken("the", single_word=True, normalized=False), AddedToken("12", lstrip=True),
        AddedToken("<s>x", rstrip=True), AddedToken("é", normalized=False, lstrip=True, rstrip=True),
        AddedToken("...", rstrip=True, normalized=False), AddedToken("x", single_word=True,
                                                                     lstrip=True, rstrip=True)])
    tokenizer.add_special_tokens([AddedToken("<|im_end|>", rstrip=True, special=True)])
    return tokenizer


def make():
    metaspace = pre.Metaspace
    bert = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made = {
        "gpt-2": byte_bpe([]),
        "roberta": byte_bpe([], prefix_space=True),
        "starcoder": byte_bpe([pre.Digits(True), pre.ByteLevel(False, use_regex=True)]),
        "llama-3": byte_bpe([LLAMA3 % "{1,3}"], ignore_merges=True),
        "qwen2": byte_bpe([LLAMA3 % ""], normalizers.NFC()),
        "gpt-4o": byte_bpe([CASED % (CONTRACTIONS + "?", CONTRACTIONS + "?", "{1,3}")]),
        "tekken": byte_bpe([CASED % ("", "", "")]),
        "falcon": byte_bpe([pre.Punctuation("contiguous"), pre.ByteLevel(False), pre.Digits(False),
                            "[0-9][0-9][0-9]"]),
        "deepseek-coder": byte_bpe(["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+",
                                    "[一-龥\u0800-一가-\ud7ff]+", pre.Digits(True)]),
        "deepseek-llm": byte_bpe(["[\r\n]", r"\s?[A-Za-zµÀ-ÖØ-öø-ƺ\u0370-\u0373Α-Ωα-ω]+",
                                  r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$",
                                  "[一-龥\u0800-一가-\ud7ff]+", pre.Digits(True)]),
        "deepseek-v3": byte_bpe([r"\p{N}{1,3}", "[一-龥\u3040-\u309f\u30a0-\u30ff]+",
                                 '[!"' + r"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"
                                 r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
                                 r"|\s*[\r\n]+|\s+(?!\S)|\s+"]),
        "kimi": byte_bpe([KIMI]),
        "possessive": byte_bpe([POSSESSIVE]),
        "right-digits": byte_bpe([RIGHT_DIGITS, pre.ByteLevel(False, use_regex=True)]),
        "added-tokens": added_tokens(),
        "llama-2": char_bpe(),
        "no-fallback": char_bpe(byte_fallback=False, fuse_unk=True),
        "no-fallback-apart": char_bpe(byte_fallback=False, alphabet=60),
        "t5": unigram({"type": "Precompiled", "precompiled_charsmap": charsmap()},
                      pre.Sequence([pre.WhitespaceSplit(), metaspace()])),
        "albert": unigram({"type": "Sequence", "normalizers": [
            {"type": "Replace", "pattern": {"String": "``"}, "content": "\""}, {"type": "NFKD"},
            {"type": "StripAccents"}, {"type": "Lowercase"},
            {"type": "Precompiled", "precompiled_charsmap": charsmap()},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]},
            metaspace(prepend_scheme="always")),
        "unigram-bytes": unigram({"type": "Sequence", "normalizers": [
            {"type": "Nmt"}, {"type": "NFKC"}, {"type": "Strip", "strip_left": True,
                                                "strip_right": True}]},
            metaspace(prepend_scheme="first", split=False), byte_fallback=True),
        "bert": wordpiece(normalizers.BertNormalizer(), pre.BertPreTokenizer(), bert),
        "bert-cased": wordpiece(normalizers.BertNormalizer(lowercase=False), pre.BertPreTokenizer(),
                                bert, cleanup=False),
        "wordpiece": wordpiece(normalizers.Sequence([
            normalizers.NFD(), normalizers.StripAccents(), normalizers.Strip()]),
            pre.Sequence([pre.Whitespace(), pre.Digits(False),
                          pre.Split("e", "merged_with_previous"),
                          pre.Split(Regex("[aou]"), "merged_with_next"),
                          pre.Split(Regex("[st]+"), "contiguous"),
                          pre.Split(Regex("[^x]+"), "removed", invert=True)]), bert),
    }
    made["roberta"].post_processor = processors.RobertaProcessing(
        *((t, made["roberta"].token_to_id(t)) for t in ("</s>", "<s>")))
    return made
