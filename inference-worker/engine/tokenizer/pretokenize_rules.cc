#include "engine/tokenizer/pretokenize_rules.h"

namespace conclave::engine {
namespace {

using Rules = std::string_view;

// The expressions are those of the models' own tokenizer.json files (their facts, in the order they
// are applied); where GGUF's name covers several models these have the same ones.
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define QWEN2  \
  CONTRACTIONS \
  R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"
#define GPT2 R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"
#define UPPER R"([\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])"
#define LOWER R"([\p{Ll}\p{Lm}\p{Lo}\p{M}])"
#define CASED(digits, newlines)                                                            \
  R"([^\r\n\p{L}\p{N}]?)" UPPER "*" LOWER "+" CONTRACTIONS R"(?|[^\r\n\p{L}\p{N}]?)" UPPER \
  "+" LOWER "*" CONTRACTIONS R"(?|\p{N})" digits R"(| ?[^\s\p{L}\p{N}]+)" newlines         \
  R"(|\s*[\r\n]+|\s+(?!\S)|\s+)"

constexpr Rules kQwen35[] = {
    CONTRACTIONS
    R"(|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr Rules kSpark[] = {
    R"(\p{N}{1,3})", "[一-龥぀-ゟ゠-ヿ]+",
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+)",
    R"(\p{N})"};
constexpr Rules kYoutu[] = {
    "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-"
    "ゟ゠-"
    "ヿ]"
    "+",
    CASED("", R"([\r\n/]*)")};
constexpr Rules kJais2[] = {
    CONTRACTIONS
    R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+)"
    R"(|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S))"
    R"(|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1})"};
constexpr Rules kBloom[] = {R"( ?[^(\s|[.,!?…。，、।۔،])]+)"};
constexpr Rules kViking[] = {R"( ?[^(\s|[.,!?…。，、।۔،])]+)", R"(\p{N})"};
constexpr Rules kChameleon[] = {"<sentinel:[0-9]+>",       "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
                                R"(([\t\n]|    |  ))",     R"(\p{N})",
                                R"([\p{P}!-/:-@\[-`{-~])", GPT2};
constexpr Rules kTinyAya[] = {R"(\d{1,3}(?=(?:\d{3})*\b))", CASED("{1,3}", R"([\r\n/]*)")};
constexpr Rules kSuperBpe[] = {R"(\p{N}+)", R"((?=(\d{3})+(?!\d)))"};
constexpr Rules kBailing[] = {
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)"};
constexpr Rules kSeedCoder[] = {
    CONTRACTIONS
    R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr Rules kUfakzeka[] = {
    R"([^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr Rules kLaguna[] = {R"([^\n]+|[\n]+)", QWEN2};
constexpr Rules kExaoneMoe[] = {
    CONTRACTIONS
    R"(|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+)"};
constexpr Rules kMiniCpm5[] = {
    R"(\p{N}{1,3})", CONTRACTIONS
    R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};

#undef CONTRACTIONS
#undef QWEN2
#undef GPT2
#undef UPPER
#undef LOWER
#undef CASED

constexpr CutFamily kFamilies[] = {
    {.name = "bailingmoe", .expressions = kBailing},
    {.name = "bailingmoe2", .expressions = kBailing},
    {.name = "bloom", .expressions = kBloom},
    {.name = "chameleon", .expressions = kChameleon, .adds_bos = true},
    {.name = "cohere2moe", .expressions = kTinyAya},
    {.name = "exaone-moe", .expressions = kExaoneMoe},
    {.name = "gpt3-finnish", .expressions = kBloom},
    {.name = "jais-2", .expressions = kJais2},
    {.name = "laguna", .expressions = kLaguna},
    {.name = "llada-moe", .expressions = kBailing},
    {.name = "minicpm5", .expressions = kMiniCpm5, .ignores_merges = true},
    {.name = "poro-chat", .expressions = kBloom},
    {.name = "qwen35", .expressions = kQwen35},
    {.name = "seed-coder", .expressions = kSeedCoder},
    {.name = "spark2_5", .expressions = kSpark},
    {.name = "superbpe", .expressions = kSuperBpe},
    {.name = "tiny_aya", .expressions = kTinyAya},
    {.name = "ufakzeka", .expressions = kUfakzeka},
    {.name = "viking", .expressions = kViking},
    {.name = "youtu", .expressions = kYoutu, .ignores_merges = true},
};

}  // namespace

std::span<const CutFamily> ExpressionFamilies() { return kFamilies; }

std::string_view RefusalOfFamily(std::string_view name) {
  if (name == "gemma4" || name == "granite-embed-multi-311m" || name == "sarvam-moe" ||
      name == "whitespace") {
    return "its BPE is of characters, not of bytes";
  }
  if (name == "afmoe") return "its way to group digits has no public expression";
  return "";
}

}  // namespace conclave::engine
