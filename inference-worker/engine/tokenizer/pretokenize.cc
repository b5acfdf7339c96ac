#include "engine/tokenizer/pretokenize.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <span>
#include <string>

#include "engine/tokenizer/pretokenize_rules.h"
#include "engine/tokenizer/unicode.h"

namespace conclave::engine {
namespace {

using Text = ScannedText;
using Stage = CutStage;

// A matcher gives the end of the match that begins at `at`, or `at` when there is none. `end` is
// the end of the piece, where the expression sees the end of its text.
using Matcher = size_t (*)(const Text& text, size_t at, size_t end);

// Matches are pieces, and so is what lies between two of them.
template <Matcher kMatch>
void SplitBy(const Text& text, size_t begin, size_t end, std::vector<size_t>* ends) {
  size_t piece = begin;
  for (size_t at = begin; at < end;) {
    const size_t match_end = kMatch(text, at, end);
    if (match_end == at) {
      ++at;
      continue;
    }
    if (piece < at) ends->push_back(at);
    ends->push_back(match_end);
    piece = at = match_end;
  }
  if (piece < end) ends->push_back(end);
}

template <typename Predicate>
size_t RunEnd(size_t at, size_t end, Predicate holds) {
  while (at < end && holds(at)) ++at;
  return at;
}

// --- parts shared by the families
// -----------------------------------------------------------------

// 's|'t|'re|'ve|'m|'ll|'d after `at`; ſ is the one letter outside ASCII that folds onto these.
size_t Contraction(const Text& t, size_t at, size_t end, bool any_case) {
  if (at + 1 >= end || t.scalars[at] != '\'') return at;
  const auto letter = [&](size_t i) -> uint32_t {
    if (i >= end) return 0;
    const uint32_t scalar = t.scalars[i];
    if (!any_case) return scalar;
    if (scalar == 0x17F) return 's';
    return scalar >= 'A' && scalar <= 'Z' ? scalar + 32 : scalar;
  };
  const uint32_t first = letter(at + 1), second = letter(at + 2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 2;
  const bool two = (first == 'r' && second == 'e') || (first == 'v' && second == 'e') ||
                   (first == 'l' && second == 'l');
  return two ? at + 3 : at;
}

// \s+(?!\S)|\s+ : a run of spaces leaves its last one to the word that follows.
size_t Spaces(const Text& t, size_t at, size_t end) {
  const size_t run = RunEnd(at, end, [&](size_t i) { return t.Space(i); });
  return run == end || run - at <= 1 ? run : run - 1;
}

// \s*[\r\n]+|\s+(?!\S)|\s+ : and newlines end a piece.
size_t SpacesAndNewlines(const Text& t, size_t at, size_t end) {
  const size_t run = RunEnd(at, end, [&](size_t i) { return t.Space(i); });
  for (size_t i = run; i > at; --i) {
    if (t.Newline(i - 1)) return i;
  }
  return Spaces(t, at, end);
}

size_t Numbers(const Text& t, size_t at, size_t end, size_t at_most) {
  return RunEnd(at, std::min(end, at + at_most), [&](size_t i) { return t.Number(i); });
}

// --- gpt-2
// ------------------------------------------------------------------------------------------

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
size_t Gpt2(const Text& t, size_t at, size_t end) {
  if (const size_t contraction = Contraction(t, at, end, false); contraction > at) {
    return contraction;
  }
  const size_t word = t.scalars[at] == ' ' && at + 1 < end ? at + 1 : at;
  if (t.Letter(word)) return RunEnd(word, end, [&](size_t i) { return t.Letter(i); });
  if (t.Number(word)) return RunEnd(word, end, [&](size_t i) { return t.Number(i); });
  if (t.Other(word)) return RunEnd(word, end, [&](size_t i) { return t.Other(i); });
  return Spaces(t, at, end);
}

// --- llama-3 and qwen2
// ------------------------------------------------------------------------------

// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,n}| ?[^\s\p{L}\p{N}]+[\r\n]*
// |\s*[\r\n]+|\s+(?!\S)|\s+
size_t Llama3Like(const Text& t, size_t at, size_t end, size_t numbers_max) {
  if (const size_t contraction = Contraction(t, at, end, true); contraction > at) {
    return contraction;
  }
  const auto letter = [&](size_t i) { return t.Letter(i); };
  if (t.Letter(at)) return RunEnd(at, end, letter);
  if (t.Number(at)) return Numbers(t, at, end, numbers_max);
  if (!t.Newline(at) && at + 1 < end && t.Letter(at + 1)) return RunEnd(at + 1, end, letter);
  const size_t word = t.scalars[at] == ' ' && at + 1 < end ? at + 1 : at;
  if (t.Other(word)) {
    const size_t run = RunEnd(word, end, [&](size_t i) { return t.Other(i); });
    return RunEnd(run, end, [&](size_t i) { return t.Newline(i); });
  }
  return SpacesAndNewlines(t, at, end);
}
size_t Llama3(const Text& t, size_t at, size_t end) { return Llama3Like(t, at, end, 3); }
size_t Qwen2(const Text& t, size_t at, size_t end) { return Llama3Like(t, at, end, 1); }

// --- gpt-4o, tekken and kimi-k2
// ------------------------------------------------------------------------------

struct CasedRules {
  size_t numbers_max;
  bool contractions;
  bool slashes;    // go on with a run of other characters, as newlines do
  bool han_apart;  // runs of Han are words of their own
};

bool Han(const Text& t, size_t i) {
  static const unicode_data::Script* const kScript = FindScript("Han");
  return IsOfScript(t.scalars[i], *kScript);
}

// [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}], without \p{Han} where that is apart
template <CasedRules kRules>
bool UpperLike(const Text& t, size_t i) {
  const bool cased = (t.Letter(i) && t.categories[i] != Category::kLl) || t.Mark(i);
  return cased && !(kRules.han_apart && Han(t, i));
}
// [\p{Ll}\p{Lm}\p{Lo}\p{M}], the same
template <CasedRules kRules>
bool LowerLike(const Text& t, size_t i) {
  const Category c = t.categories[i];
  const bool cased = c == Category::kLl || c == Category::kLm || c == Category::kLo || t.Mark(i);
  return cased && !(kRules.han_apart && Han(t, i));
}

// upper*lower+ from `at`, as a backtracking matcher finds it; `at` when there is none.
template <CasedRules kRules>
size_t UpperThenLower(const Text& t, size_t at, size_t end) {
  const size_t upper = RunEnd(at, end, [&](size_t i) { return UpperLike<kRules>(t, i); });
  const size_t lower = RunEnd(upper, end, [&](size_t i) { return LowerLike<kRules>(t, i); });
  if (lower > upper) return lower;
  for (size_t i = upper; i > at; --i) {
    if (LowerLike<kRules>(t, i - 1)) return i;
  }
  return at;
}
// upper+lower* from `at`.
template <CasedRules kRules>
size_t UpperMaybeLower(const Text& t, size_t at, size_t end) {
  const size_t upper = RunEnd(at, end, [&](size_t i) { return UpperLike<kRules>(t, i); });
  if (upper == at) return at;
  return RunEnd(upper, end, [&](size_t i) { return LowerLike<kRules>(t, i); });
}

// [^\r\n\p{L}\p{N}]?upper*lower+ | [^\r\n\p{L}\p{N}]?upper+lower*
template <CasedRules kRules>
size_t CasedWord(const Text& t, size_t at, size_t end) {
  const bool prefix = !t.Newline(at) && !t.Letter(at) && !t.Number(at) && at + 1 < end;
  for (const auto word : {&UpperThenLower<kRules>, &UpperMaybeLower<kRules>}) {
    if (prefix) {
      if (const size_t match = word(t, at + 1, end); match > at + 1) return match;
    }
    if (const size_t match = word(t, at, end); match > at) return match;
  }
  return at;
}

// ([\p{Han}]+|)<cased word>(contraction)?|\p{N}{1,n}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+
// |\s+(?!\S)|\s+
template <CasedRules kRules>
size_t Cased(const Text& t, size_t at, size_t end) {
  if (kRules.han_apart && Han(t, at)) {
    return RunEnd(at, end, [&](size_t i) { return Han(t, i); });
  }
  if (const size_t word = CasedWord<kRules>(t, at, end); word > at) {
    return kRules.contractions ? Contraction(t, word, end, true) : word;
  }
  if (t.Number(at)) return Numbers(t, at, end, kRules.numbers_max);
  const size_t word = t.scalars[at] == ' ' && at + 1 < end ? at + 1 : at;
  if (t.Other(word)) {
    const size_t run = RunEnd(word, end, [&](size_t i) { return t.Other(i); });
    return RunEnd(run, end, [&](size_t i) {
      return t.Newline(i) || (kRules.slashes && t.scalars[i] == '/');
    });
  }
  return SpacesAndNewlines(t, at, end);
}
constexpr CasedRules kGpt4oRules = {3, true, true, false};
constexpr CasedRules kTekkenRules = {1, false, true, false};
constexpr CasedRules kKimiRules = {3, true, false, true};

// --- single classes
// ---------------------------------------------------------------------------------

// [\r\n]
size_t OneNewline(const Text& t, size_t at, size_t) { return t.Newline(at) ? at + 1 : at; }
// \p{N}
size_t OneNumber(const Text& t, size_t at, size_t) { return t.Number(at) ? at + 1 : at; }
// \p{N}+
size_t NumberRun(const Text& t, size_t at, size_t end) { return Numbers(t, at, end, end - at); }
// \p{N}{1,3}
size_t ThreeNumbers(const Text& t, size_t at, size_t end) { return Numbers(t, at, end, 3); }
// [0-9][0-9][0-9]
size_t ThreeDigits(const Text& t, size_t at, size_t end) {
  const auto digit = [&](size_t i) { return t.scalars[i] >= '0' && t.scalars[i] <= '9'; };
  return at + 3 <= end && RunEnd(at, at + 3, digit) == at + 3 ? at + 3 : at;
}
// [\p{P}\$\+<=>\^~\|]+
size_t PunctuationRun(const Text& t, size_t at, size_t end) {
  return RunEnd(at, end, [&](size_t i) {
    return t.Punctuation(i) ||
           (t.scalars[i] < 0x80 && t.scalars[i] != 0 &&
            std::string_view("$+<=>^~|").find(static_cast<char>(t.scalars[i])) !=
                std::string_view::npos);
  });
}
// [\p{P}\$\+<=>\^~\|`]+
size_t PunctuationRunWithBacktick(const Text& t, size_t at, size_t end) {
  size_t run = at;
  for (;;) {
    const size_t next = run < end && t.scalars[run] == '`' ? run + 1 : PunctuationRun(t, run, end);
    if (next == run) return run;
    run = next;
  }
}

// --- deepseek
// ---------------------------------------------------------------------------------------

// \s?<class>+
template <typename Predicate>
size_t MaybeSpaceThenRun(const Text& t, size_t at, size_t end, Predicate holds) {
  const size_t word = t.Space(at) && at + 1 < end ? at + 1 : at;
  const size_t run = RunEnd(word, end, holds);
  return run == word ? at : run;
}

// [一-龥ࠀ-一가-퟿]+
size_t DeepseekCjk(const Text& t, size_t at, size_t end) {
  return RunEnd(at, end, [&](size_t i) {
    const uint32_t s = t.scalars[i];
    return (s >= 0x800 && s <= 0x9FA5) || (s >= 0xAC00 && s <= 0xD7FF);
  });
}
// \s?\p{L}+
size_t SpaceLetters(const Text& t, size_t at, size_t end) {
  return MaybeSpaceThenRun(t, at, end, [&](size_t i) { return t.Letter(i); });
}
// \s?\p{P}+
size_t SpacePunctuation(const Text& t, size_t at, size_t end) {
  return MaybeSpaceThenRun(t, at, end, [&](size_t i) { return t.Punctuation(i); });
}

// The letters deepseek-llm names one by one: those with case, as of an older Unicode.
struct ScalarRange {
  uint32_t first;
  uint32_t last;
};
constexpr ScalarRange kDeepseekLetters[] = {
    {0x41, 0x5A},       {0x61, 0x7A},       {0xB5, 0xB5},       {0xC0, 0xD6},
    {0xD8, 0xF6},       {0xF8, 0x1BA},      {0x1BC, 0x1BF},     {0x1C4, 0x293},
    {0x295, 0x2AF},     {0x370, 0x373},     {0x376, 0x377},     {0x37B, 0x37D},
    {0x37F, 0x37F},     {0x386, 0x386},     {0x388, 0x38A},     {0x38C, 0x38C},
    {0x38E, 0x3A1},     {0x3A3, 0x3F5},     {0x3F7, 0x481},     {0x48A, 0x52F},
    {0x531, 0x556},     {0x10A0, 0x10C5},   {0x13A0, 0x13F5},   {0x13F8, 0x13FD},
    {0x1C90, 0x1CBA},   {0x1CBD, 0x1CBF},   {0x1D00, 0x1D2B},   {0x1D6B, 0x1D77},
    {0x1D79, 0x1D9A},   {0x1E00, 0x1F15},   {0x1F18, 0x1F1D},   {0x1F20, 0x1F45},
    {0x1F48, 0x1F4D},   {0x1F50, 0x1F57},   {0x1F59, 0x1F59},   {0x1F5B, 0x1F5B},
    {0x1F5D, 0x1F5D},   {0x1F5F, 0x1F7D},   {0x1F80, 0x1FB4},   {0x1FB6, 0x1FBC},
    {0x1FBE, 0x1FBE},   {0x1FC2, 0x1FC4},   {0x1FC6, 0x1FCC},   {0x1FD0, 0x1FD3},
    {0x1FD6, 0x1FDB},   {0x1FE0, 0x1FEC},   {0x1FF2, 0x1FF4},   {0x1FF6, 0x1FFC},
    {0x2102, 0x2102},   {0x2107, 0x2107},   {0x210A, 0x2113},   {0x2115, 0x2115},
    {0x2119, 0x211D},   {0x2124, 0x2124},   {0x2126, 0x2126},   {0x2128, 0x2128},
    {0x212A, 0x212D},   {0x212F, 0x2134},   {0x2139, 0x2139},   {0x213C, 0x213F},
    {0x2145, 0x2149},   {0x214E, 0x214E},   {0x2183, 0x2184},   {0x2C00, 0x2C7B},
    {0x2C7E, 0x2CE4},   {0x2CEB, 0x2CEE},   {0x2CF2, 0x2CF3},   {0xA640, 0xA66D},
    {0xA680, 0xA69B},   {0xA722, 0xA76F},   {0xA771, 0xA787},   {0xA78B, 0xA78E},
    {0xAB70, 0xABBF},   {0xFB00, 0xFB06},   {0xFB13, 0xFB17},   {0xFF21, 0xFF3A},
    {0xFF41, 0xFF5A},   {0x10400, 0x1044F}, {0x104B0, 0x104D3}, {0x104D8, 0x104FB},
    {0x10C80, 0x10CB2}, {0x10CC0, 0x10CF2}, {0x118A0, 0x118DF}, {0x1E900, 0x1E943},
};
bool DeepseekLetter(uint32_t scalar) {
  const auto* range =
      std::upper_bound(std::begin(kDeepseekLetters), std::end(kDeepseekLetters), scalar,
                       [](uint32_t s, const ScalarRange& r) { return s < r.first; });
  return range != std::begin(kDeepseekLetters) && scalar <= std::prev(range)->last;
}
// \s?[the letters above]+
size_t SpaceDeepseekLetters(const Text& t, size_t at, size_t end) {
  return MaybeSpaceThenRun(t, at, end, [&](size_t i) { return DeepseekLetter(t.scalars[i]); });
}
// \s?[!-/:-~！-／：-～‘-‟　-。]+
size_t SpaceDeepseekPunctuation(const Text& t, size_t at, size_t end) {
  return MaybeSpaceThenRun(t, at, end, [&](size_t i) {
    const uint32_t s = t.scalars[i];
    return (s >= 0x21 && s <= 0x2F) || (s >= 0x3A && s <= 0x7E) || (s >= 0xFF01 && s <= 0xFF0F) ||
           (s >= 0xFF1A && s <= 0xFF5E) || (s >= 0x2018 && s <= 0x201F) ||
           (s >= 0x3000 && s <= 0x3002);
  });
}
// \s+$ ; a matcher would look at every run of spaces once per space, so this is a stage of its own.
void SplitTrailingSpaces(const Text& t, size_t begin, size_t end, std::vector<size_t>* ends) {
  size_t tail = end;
  while (tail > begin && t.Space(tail - 1)) --tail;
  if (tail > begin && tail < end) ends->push_back(tail);
  ends->push_back(end);
}

// [一-龥぀-ゟ゠-ヿ]+
size_t Deepseek3Cjk(const Text& t, size_t at, size_t end) {
  return RunEnd(at, end, [&](size_t i) {
    const uint32_t s = t.scalars[i];
    return (s >= 0x4E00 && s <= 0x9FA5) || (s >= 0x3040 && s <= 0x30FF);
  });
}
bool AsciiLetter(uint32_t s) { return (s >= 'A' && s <= 'Z') || (s >= 'a' && s <= 'z'); }
bool AsciiPunctuation(uint32_t s) {
  return s > 0x20 && s < 0x7F && !AsciiLetter(s) && !(s >= '0' && s <= '9');
}
// [ASCII punctuation][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*
// |\s*[\r\n]+|\s+(?!\S)|\s+
size_t Deepseek3Word(const Text& t, size_t at, size_t end) {
  const auto word_part = [&](size_t i) { return t.Letter(i) || t.Mark(i); };
  const auto sign = [&](size_t i) { return t.Punctuation(i) || t.Symbol(i); };
  if (AsciiPunctuation(t.scalars[at])) {
    const size_t run = RunEnd(at + 1, end, [&](size_t i) { return AsciiLetter(t.scalars[i]); });
    if (run > at + 1) return run;
  }
  if (!t.Newline(at) && !t.Letter(at) && !sign(at) && at + 1 < end && word_part(at + 1)) {
    return RunEnd(at + 1, end, word_part);
  }
  if (word_part(at)) return RunEnd(at, end, word_part);
  const size_t word = t.scalars[at] == ' ' && at + 1 < end ? at + 1 : at;
  if (sign(word)) {
    const size_t run = RunEnd(word, end, sign);
    return RunEnd(run, end, [&](size_t i) { return t.Newline(i); });
  }
  return SpacesAndNewlines(t, at, end);
}

// --- the families
// -------------------------------------------------------------------------------------

constexpr Stage kGpt2Stages[] = {SplitBy<Gpt2>};
constexpr Stage kLlama3Stages[] = {SplitBy<Llama3>};
constexpr Stage kQwen2Stages[] = {SplitBy<Qwen2>};
constexpr Stage kGpt4oStages[] = {SplitBy<Cased<kGpt4oRules>>};
constexpr Stage kTekkenStages[] = {SplitBy<Cased<kTekkenRules>>};
constexpr Stage kKimiStages[] = {SplitBy<Cased<kKimiRules>>};
constexpr Stage kSingleDigitStages[] = {SplitBy<OneNumber>, SplitBy<Gpt2>};
constexpr Stage kFalconStages[] = {SplitBy<PunctuationRunWithBacktick>, SplitBy<Gpt2>,
                                   SplitBy<ThreeDigits>};
constexpr Stage kDefaultStages[] = {SplitBy<PunctuationRun>, SplitBy<Gpt2>, SplitBy<NumberRun>,
                                    SplitBy<ThreeDigits>};
constexpr Stage kDeepseekLlmStages[] = {
    SplitBy<OneNewline>, SplitBy<SpaceDeepseekLetters>, SplitBy<SpaceDeepseekPunctuation>,
    SplitTrailingSpaces, SplitBy<DeepseekCjk>,          SplitBy<NumberRun>};
constexpr Stage kDeepseekCoderStages[] = {SplitBy<OneNewline>, SplitBy<SpaceLetters>,
                                          SplitBy<SpacePunctuation>, SplitBy<DeepseekCjk>,
                                          SplitBy<OneNumber>};
constexpr Stage kDeepseek3Stages[] = {SplitBy<ThreeNumbers>, SplitBy<Deepseek3Cjk>,
                                      SplitBy<Deepseek3Word>};

constexpr CutFamily kFamilies[] = {
    {.name = "default", .stages = kDefaultStages},
    {.name = "gpt-2", .stages = kGpt2Stages},
    {.name = "phi-2", .stages = kGpt2Stages},
    {.name = "olmo", .stages = kGpt2Stages},
    {.name = "mpt", .stages = kGpt2Stages},
    {.name = "jais", .stages = kGpt2Stages},
    {.name = "jina-es", .stages = kGpt2Stages},
    {.name = "jina-de", .stages = kGpt2Stages},
    {.name = "jina-v1-en", .stages = kGpt2Stages},
    {.name = "jina-v2-code", .stages = kGpt2Stages},
    {.name = "jina-v2-de", .stages = kGpt2Stages},
    {.name = "jina-v2-es", .stages = kGpt2Stages},
    {.name = "roberta-bpe", .stages = kGpt2Stages},
    {.name = "modern-bert", .stages = kGpt2Stages},
    {.name = "gigachat", .stages = kGpt2Stages},
    {.name = "a.x-4.0", .stages = kGpt2Stages},
    {.name = "mellum", .stages = kGpt2Stages},
    {.name = "exaone4", .stages = kGpt2Stages},
    {.name = "trillion", .stages = kGpt2Stages},
    {.name = "granite-docling", .stages = kGpt2Stages},
    {.name = "dbrx", .stages = kLlama3Stages},
    {.name = "smaug-bpe", .stages = kLlama3Stages},
    {.name = "chatglm-bpe", .stages = kLlama3Stages},
    {.name = "llama-bpe", .stages = kLlama3Stages, .adds_bos = true, .ignores_merges = true},
    {.name = "llama3", .stages = kLlama3Stages, .adds_bos = true, .ignores_merges = true},
    {.name = "llama-v3", .stages = kLlama3Stages, .adds_bos = true, .ignores_merges = true},
    {.name = "falcon3", .stages = kLlama3Stages, .adds_bos = true, .ignores_merges = true},
    {.name = "falcon-h1", .stages = kLlama3Stages, .adds_bos = true, .ignores_merges = true},
    {.name = "pixtral", .stages = kLlama3Stages, .adds_bos = true, .ignores_merges = true},
    {.name = "midm-2.0", .stages = kLlama3Stages, .adds_bos = true, .ignores_merges = true},
    {.name = "lfm2", .stages = kLlama3Stages, .adds_bos = true, .ignores_merges = true},
    {.name = "jina-v5-nano", .stages = kLlama3Stages, .adds_bos = true, .ignores_merges = true},
    {.name = "glm4", .stages = kLlama3Stages, .ignores_merges = true},
    {.name = "glm5", .stages = kLlama3Stages, .ignores_merges = true},
    {.name = "qwen2", .stages = kQwen2Stages},
    {.name = "deepseek-r1-qwen", .stages = kQwen2Stages},
    {.name = "kormo", .stages = kQwen2Stages},
    {.name = "f2llmv2", .stages = kQwen2Stages},
    {.name = "megrez", .stages = kQwen2Stages},
    {.name = "stablelm2", .stages = kQwen2Stages},
    {.name = "hunyuan", .stages = kQwen2Stages},
    {.name = "solar-open", .stages = kQwen2Stages},
    {.name = "grok-2", .stages = kQwen2Stages},
    {.name = "gpt-4o", .stages = kGpt4oStages},
    {.name = "o200k", .stages = kGpt4oStages},
    {.name = "llama4", .stages = kGpt4oStages},
    {.name = "kanana2", .stages = kGpt4oStages},
    {.name = "talkie", .stages = kGpt4oStages},
    {.name = "minimax-m2", .stages = kGpt4oStages},
    {.name = "granite-embed-multi-97m", .stages = kGpt4oStages, .ignores_merges = true},
    {.name = "tekken", .stages = kTekkenStages, .adds_bos = true, .ignores_merges = true},
    {.name = "starcoder", .stages = kSingleDigitStages},
    {.name = "refact", .stages = kSingleDigitStages},
    {.name = "command-r", .stages = kSingleDigitStages},
    {.name = "smollm", .stages = kSingleDigitStages},
    {.name = "codeshell", .stages = kSingleDigitStages},
    {.name = "exaone", .stages = kSingleDigitStages},
    {.name = "minerva-7b", .stages = kSingleDigitStages},
    {.name = "mellum2", .stages = kSingleDigitStages},
    {.name = "falcon", .stages = kFalconStages},
    {.name = "deepseek-llm", .stages = kDeepseekLlmStages},
    {.name = "deepseek-coder", .stages = kDeepseekCoderStages},
    {.name = "deepseek-v3", .stages = kDeepseek3Stages},
    {.name = "hunyuan-dense", .stages = kDeepseek3Stages},
    {.name = "hy_v4", .stages = kDeepseek3Stages},
    {.name = "joyai-llm", .stages = kDeepseek3Stages},
    {.name = "kimi-k2", .stages = kKimiStages},
};

// Expressions of tokenizer.json files and the stages above that cut as they do.
struct KnownExpression {
  std::string_view expression;
  Stage stage;
};
constexpr KnownExpression kExpressions[] = {
    {R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
     SplitBy<Gpt2>},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     SplitBy<Llama3>},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     SplitBy<Qwen2>},
    {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     SplitBy<Cased<kGpt4oRules>>},
    {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     SplitBy<Cased<kTekkenRules>>},
    {R"([\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     SplitBy<Cased<kKimiRules>>},
    {R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     SplitBy<Deepseek3Word>},
    {"[\r\n]", SplitBy<OneNewline>},
    {R"([\r\n])", SplitBy<OneNewline>},
    {R"(\s?\p{L}+)", SplitBy<SpaceLetters>},
    {R"(\s?\p{P}+)", SplitBy<SpacePunctuation>},
    {R"(\p{N})", SplitBy<OneNumber>},
    {R"(\p{N}+)", SplitBy<NumberRun>},
    {R"(\p{N}{1,3})", SplitBy<ThreeNumbers>},
    {"[0-9][0-9][0-9]", SplitBy<ThreeDigits>},
    {"[一-龥぀-ゟ゠-ヿ]+", SplitBy<Deepseek3Cjk>},
    {"[一-龥ࠀ-一가-퟿]+", SplitBy<DeepseekCjk>},
};

}  // namespace

absl::StatusOr<const CutFamily*> FindCutFamily(std::string_view name) {
  if (name.empty()) name = "default";
  for (const CutFamily& family : kFamilies) {
    if (family.name == name) return &family;
  }
  for (const CutFamily& family : ExpressionFamilies()) {
    if (family.name == name) return &family;
  }
  if (const std::string_view why = RefusalOfFamily(name); !why.empty()) {
    return base::Unimplemented("tokenizer.ggml.pre: \"" + std::string(name) +
                               "\" is not supported: " + std::string(why));
  }
  return base::Unimplemented("tokenizer.ggml.pre: unknown pre-tokeniser \"" +
                             std::string(name.substr(0, 64)) + "\"");
}

CutStage FindCutStage(std::string_view expression) {
  for (const KnownExpression& known : kExpressions) {
    if (known.expression == expression) return known.stage;
  }
  return nullptr;
}

std::vector<std::string_view> KnownCutExpressions() {
  std::vector<std::string_view> all;
  for (const KnownExpression& known : kExpressions) all.push_back(known.expression);
  return all;
}

}  // namespace conclave::engine
