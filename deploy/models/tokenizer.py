#!/usr/bin/env python3
"""Byte-level BPE with the qwen2 pre-tokenizer: train it on the corpus, encode and decode. Standard library only."""
import argparse
import json
import random
import re
from collections import Counter
from pathlib import Path

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>",
           "<tool_response>", "</tool_response>", "<tools>", "</tools>"]
# qwen2's pattern with \p{L} and \p{N} spelt for the re module: letters are word characters that are neither digits
# nor the underscore. Every digit stands alone.
PATTERN = re.compile(r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
                     r"|(?:_|[^\r\n\w])?[^\W\d_]+|\d| ?(?:_|[^\s\w])+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
SPECIAL_PATTERN = re.compile("(" + "|".join(map(re.escape, SPECIAL)) + ")")


def byte_letters():
    """GPT-2's printable letter for each byte."""
    plain = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    letters = {byte: chr(byte) for byte in plain}
    for byte in range(256):
        if byte not in letters:
            letters[byte] = chr(256 + len(letters) - len(plain))
    return letters


LETTERS = byte_letters()
BYTES = {letter: byte for byte, letter in LETTERS.items()}


def to_letters(text):
    return "".join(LETTERS[byte] for byte in text.encode("utf-8"))


def merge_word(parts, pair, merged):
    out, index = [], 0
    while index < len(parts):
        if index + 1 < len(parts) and parts[index] == pair[0] and parts[index + 1] == pair[1]:
            out.append(merged)
            index += 2
        else:
            out.append(parts[index])
            index += 1
    return out


def train_merges(words, count):
    """The `count` most frequent merges; ties go to the smaller pair so that the result never depends on order."""
    splits = {word: list(word) for word in words}
    pairs, where = Counter(), {}
    for word, parts in splits.items():
        for pair in zip(parts, parts[1:]):
            pairs[pair] += words[word]
            where.setdefault(pair, set()).add(word)
    merges = []
    while len(merges) < count and pairs:
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        if pairs[best] < 2:
            break
        merges.append(best)
        for word in sorted(where.pop(best)):
            parts = splits[word]
            for pair in zip(parts, parts[1:]):
                pairs[pair] -= words[word]
            splits[word] = parts = merge_word(parts, best, best[0] + best[1])
            for pair in zip(parts, parts[1:]):
                pairs[pair] += words[word]
                where.setdefault(pair, set()).add(word)
        del pairs[best]
    return merges


class Tokenizer:
    def __init__(self, merges):
        self.merges = [tuple(merge) for merge in merges]
        self.tokens = [LETTERS[byte] for byte in range(256)] + ["".join(merge) for merge in self.merges] + SPECIAL
        self.ids = {token: index for index, token in enumerate(self.tokens)}
        self._ranks = {merge: rank for rank, merge in enumerate(self.merges)}
        self._cache = {}

    @classmethod
    def load(cls, path):
        return cls(json.loads(Path(path).read_text())["merges"])

    def save(self, path):
        Path(path).write_text(json.dumps({"merges": self.merges, "special": SPECIAL}, ensure_ascii=False, indent=0) + "\n")

    def _word_ids(self, word):
        parts = list(to_letters(word))
        while len(parts) > 1:
            pair = min(zip(parts, parts[1:]), key=lambda pair: self._ranks.get(pair, 1 << 30))
            if pair not in self._ranks:
                break
            parts = merge_word(parts, pair, pair[0] + pair[1])
        return [self.ids[part] for part in parts]

    def encode(self, text):
        ids = []
        for piece in SPECIAL_PATTERN.split(text):
            if piece in SPECIAL:
                ids.append(self.ids[piece])
                continue
            for word in PATTERN.findall(piece):
                found = self._cache.get(word)
                if found is None:
                    found = self._cache[word] = self._word_ids(word)
                    if len(self._cache) > 200000:
                        self._cache.clear()
                ids.extend(found)
        return ids

    def decode(self, ids):
        out = bytearray()
        for index in ids:
            token = self.tokens[index]
            out += token.encode() if token in SPECIAL else bytes(BYTES[letter] for letter in token)
        return out.decode("utf-8", errors="replace")


def corpus_words(seed, conversations):
    """Word counts of a sample of the corpus; the word lists make up most of its variety."""
    import chat
    import corpus

    rng, counts = random.Random(seed), Counter()
    weights = corpus.parse_weights("")
    for _ in range(conversations):
        text = "".join(piece for piece, _ in chat.segments(*corpus.conversation(rng, weights)))
        for piece in SPECIAL_PATTERN.split(text):
            if piece not in SPECIAL:
                counts.update(PATTERN.findall(piece))
    return {to_letters(word): count for word, count in counts.items() if len(word) > 1}


def main():
    parser = argparse.ArgumentParser(description="Train the tokenizer on a sample of the corpus.")
    parser.add_argument("--out", default="merges.json")
    parser.add_argument("--vocab", type=int, default=2048)
    parser.add_argument("--conversations", type=int, default=40000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    words = corpus_words(options.seed, options.conversations)
    merges = train_merges(words, options.vocab - 256 - len(SPECIAL))
    Tokenizer(merges).save(options.out)
    print(f"{len(words)} words, {len(merges)} merges → {options.out}")


if __name__ == "__main__":
    main()
