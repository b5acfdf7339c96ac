#!/usr/bin/env python3
"""Writes unicode_data.cc, the tables behind unicode.h.

    pip install unicodedata2==16.0.0 tokenizers==0.23.3
    python3 generate_unicode_data.py > unicode_data.cc

Categories are those of Unicode 16, as the regular expressions of Hugging Face tokenizers see them.
Its normalisers and pre-tokenisers rest on several libraries of other ages; what those do with each
scalar value is asked of them, so that the tables say the same.
"""
import sys

import unicodedata2 as unicodedata
from tokenizers import Regex, normalizers, pre_tokenizers

CATEGORIES = ["Cn", "Cc", "Cf", "Co", "Cs", "Ll", "Lm", "Lo", "Lt", "Lu", "Mc", "Me", "Mn", "Nd",
              "Nl", "No", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "Sc", "Sk", "Sm", "So", "Zl",
              "Zp", "Zs"]
SCRIPTS = ["Arabic", "Armenian", "Bengali", "Cyrillic", "Devanagari", "Georgian", "Greek", "Han",
           "Hangul", "Hebrew", "Hiragana", "Katakana", "Khmer", "Latin", "Tamil", "Telugu", "Thai"]
HANGUL = range(0xAC00, 0xD7A4)  # decomposed by arithmetic
SCALARS = [cp for cp in range(0x110000) if not 0xD800 <= cp < 0xE000]
NFD, NFKD, NFC = normalizers.NFD(), normalizers.NFKD(), normalizers.NFC()


def rows(items, width=100):
    line = " "
    for item in items:
        if len(line) + len(item) > width:
            yield line
            line = " "
        line += item
    yield line


def table(declaration, items):
    print(declaration + " = {")
    for line in rows(items):
        print(line)
    print("};\n")


def ranges(scalars):
    made = []
    for cp in sorted(scalars):
        if made and made[-1][1] == cp - 1:
            made[-1][1] = cp
        else:
            made.append([cp, cp])
    return ["{0x%x,0x%x}," % (first, last) for first, last in made]


def categories():
    runs, last = [], None
    for cp in range(0x110000):
        category = CATEGORIES.index(unicodedata.category(chr(cp)))
        if category != last:
            runs.append((cp << 5) | category)
            last = category
    return runs


def lower_runs():
    """(first, count, step, delta): cp = first + k*step maps to cp + delta."""
    mapping = {}
    lower = normalizers.Lowercase()
    for cp in SCALARS:
        low = lower.normalize_str(chr(cp))
        if low != chr(cp) and len(low) == 1:
            mapping[cp] = ord(low) - cp
    runs = []
    for cp in sorted(mapping):
        delta = mapping[cp]
        if runs:
            first, count, step, run_delta = runs[-1]
            last = first + (count - 1) * step
            gap = cp - last
            if run_delta == delta and ((count == 1 and gap <= 2) or gap == step):
                runs[-1] = (first, count + 1, gap, delta)
                continue
        runs.append((cp, 1, 1, delta))
    return runs


def decompositions():
    """Full canonical and compatibility decompositions: (scalar, offset, canonical, compatible)
    with the two lengths; the scalars of both lie in one pool, equal ones once."""
    entries, pool = [], []
    for cp in SCALARS:
        if cp in HANGUL:
            continue
        canonical, compatible = NFD.normalize_str(chr(cp)), NFKD.normalize_str(chr(cp))
        if compatible == chr(cp):
            continue
        entries.append((cp, len(pool), len(canonical), len(compatible), canonical == compatible))
        pool += [ord(c) for c in canonical]
        if canonical != compatible:
            pool += [ord(c) for c in compatible]
    assert len(pool) < 1 << 16
    return entries, pool


def combining_classes():
    """(first, last, class) of what the normalisers reorder: newer marks they leave in place."""
    runs = []
    for cp in SCALARS:
        ccc = unicodedata.combining(chr(cp))
        # U+0345 is the only mark of class 240, which is the highest.
        if ccc == 0 or (ccc < 240 and NFD.normalize_str("\u0345" + chr(cp))[0] == "\u0345"):
            continue
        if runs and runs[-1][1] == cp - 1 and runs[-1][2] == ccc:
            runs[-1][1] = cp
        else:
            runs.append([cp, cp, ccc])
    return runs


def compositions():
    pairs = []
    for cp in SCALARS:
        parts = unicodedata.decomposition(chr(cp)).split()
        if len(parts) != 2 or parts[0].startswith("<"):
            continue
        first, second = (int(part, 16) for part in parts)
        if NFC.normalize_str(chr(first) + chr(second)) == chr(cp):
            pairs.append((first, second, cp))
    return sorted(pairs)


def cut_out(pre_tokenizer):
    """The scalars that a pre-tokeniser takes away."""
    gone = set()
    for i in range(0, len(SCALARS), 4096):
        block = SCALARS[i:i + 4096]
        kept = set()
        for _, (begin, end) in pre_tokenizer.pre_tokenize_str("".join(map(chr, block))):
            kept.update(block[begin:end])
        gone.update(set(block) - kept)
    return gone


def numerals():
    """What Digits sets apart."""
    digits, found = pre_tokenizers.Digits(individual_digits=True), set()
    for i in range(0, len(SCALARS), 4096):
        block = SCALARS[i:i + 4096]
        for piece, (begin, end) in digits.pre_tokenize_str("x" + "x".join(map(chr, block)) + "x"):
            if end - begin == 1 and begin % 2 == 1:
                found.add(ord(piece))
    found.discard(ord("x"))
    return found


def of_category(test):
    return {cp for cp in SCALARS if test(unicodedata.category(chr(cp)))}


def posix(name):
    return cut_out(pre_tokenizers.Split(Regex("[[:%s:]]" % name), "removed"))


def exceptions():
    """Where other parts of tokenizers see another category than Unicode 16: name, scalars."""
    def bert(**options):
        defaults = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False,
                        lowercase=False)
        return normalizers.BertNormalizer(**(defaults | options))
    ascii_signs = {cp for cp in range(0x21, 0x7F) if not chr(cp).isalnum()}
    punctuation = of_category(lambda c: c[0] == "P") | ascii_signs
    yield "Punctuation", cut_out(pre_tokenizers.Punctuation("removed")) ^ punctuation
    yield "Numeral", numerals() ^ of_category(lambda c: c[0] == "N")
    accents = normalizers.StripAccents()
    yield "Mark", {cp for cp in SCALARS if accents.normalize_str(chr(cp)) == ""} ^ of_category(
        lambda c: c[0] == "M")
    plain = bert(strip_accents=True)
    yield "Nonspacing", {
        cp for cp in SCALARS if NFD.normalize_str(chr(cp)) == chr(cp)
        and plain.normalize_str(chr(cp)) == ""} ^ {
            cp for cp in of_category(lambda c: c == "Mn") if NFD.normalize_str(chr(cp)) == chr(cp)}
    clean = bert(clean_text=True)
    dropped = {cp for cp in SCALARS if clean.normalize_str(chr(cp)) == ""}
    yield "Control", dropped ^ (
        of_category(lambda c: c in ("Cc", "Cf", "Co")) - {9, 10, 13} | {0, 0xFFFD})
    yield "Alphabetic", posix("alpha") ^ of_category(lambda c: c[0] == "L" or c == "Nl")
    yield "Lowercase", posix("lower") ^ of_category(lambda c: c == "Ll")
    yield "Uppercase", posix("upper") ^ of_category(lambda c: c == "Lu")


def main():
    print("// Generated by generate_unicode_data.py from Unicode " + unicodedata.unidata_version
          + "; do not edit.")
    print("// clang-format off")
    print('#include "engine/tokenizer/unicode_data.h"\n')
    print("namespace conclave::engine::unicode_data {\n")
    names = ["CategoryRun", "LowerRun", "Decomposition", "CombiningRun", "Composition", "Script"]
    table("const uint32_t kCategoryRuns[]", ["0x%x," % r for r in categories()])
    table("const LowerRun kLowerRuns[]", ["{0x%x,%d,%d,%d}," % r for r in lower_runs()])
    entries, pool = decompositions()
    table("const Decomposition kDecompositions[]", [
        "{%d,%d,%d,%d}," % (cp, at, n, 0 if same else m)
        for cp, at, n, m, same in entries])
    table("const uint32_t kDecomposed[]", ["%d," % cp for cp in pool])
    table("const CombiningRun kCombiningRuns[]", ["{0x%x,0x%x,%d}," % tuple(r)
                                                  for r in combining_classes()])
    table("const Composition kCompositions[]", ["{%d,%d,%d}," % pair for pair in compositions()])
    for name, scalars in exceptions():
        table("const ScalarRange k%sExceptions[]" % name, ranges(scalars))
        names.append(name + "Exception")
    for script in SCRIPTS:
        table("static const ScalarRange k%s[]" % script,
              ranges(cut_out(pre_tokenizers.Split(Regex(r"\p{%s}" % script), "removed"))))
    table("const Script kScripts[]", ['{"%s",k%s,sizeof(k%s)/sizeof(k%s[0])},' % (s, s, s, s)
                                      for s in SCRIPTS])
    for name in names:
        print("const size_t k%sCount = sizeof(k%ss) / sizeof(k%ss[0]);" % (name, name, name))
    print("\n}  // namespace conclave::engine::unicode_data")


if __name__ == "__main__":
    sys.exit(main())
