// tokenizer.json said in the words of GGUF: what is written, what it reads back as, and what is
// refused because there are no words for it.
#include "engine/tokenizer/export.h"

#include <catch2/catch.hpp>
#include <string>

#include "engine/tokenizer/load.h"
#include "engine/weights/directory.h"

namespace conclave::engine {
namespace {

absl::StatusOr<ExportedVocabulary> Export(const std::string& json) {
  DirectorySource source("test");
  source.AddMetadata("tokenizer.huggingface.json", source.Keep(json));
  return ExportVocabulary(source);
}

ExportedVocabulary Exported(const std::string& json) {
  auto exported = Export(json);
  INFO(exported.status().ToString());
  REQUIRE(exported.ok());
  return *std::move(exported);
}

void CheckRefused(const std::string& json, const std::string& why) {
  const auto exported = Export(json);
  const std::string message(exported.status().message());
  CAPTURE(message, why);
  CHECK(exported.status().code() == absl::StatusCode::kUnimplemented);
  CHECK(message.find(why) != std::string::npos);
}

// The ids of a text by the tokenizer.json and by what was made of it.
void CheckSameIds(const std::string& json, TokenizerSpec spec, const std::string& text) {
  const auto theirs = LoadTokenizerJson(json);
  const auto ours = MakeTokenizer(std::move(spec));
  INFO(ours.status().ToString());
  REQUIRE((theirs.ok() && ours.ok()));
  CAPTURE(text);
  CHECK((*ours)->Encode(text, {}) == (*theirs)->Encode(text, {}));
}

TokenizerSpec SpecOf(const ExportedVocabulary& vocabulary) {
  TokenizerSpec spec{.model = vocabulary.model,
                     .pre = vocabulary.pre,
                     .tokens = vocabulary.tokens,
                     .types = vocabulary.types,
                     .scores = vocabulary.scores,
                     .merges = vocabulary.merges};
  spec.unknown = vocabulary.unknown;
  spec.add_space_prefix = vocabulary.add_space_prefix;
  spec.remove_extra_whitespaces = vocabulary.remove_extra_whitespaces;
  spec.charsmap = vocabulary.charsmap;
  spec.lower_case = vocabulary.lower_case;
  spec.strip_accents = vocabulary.strip_accents;
  if (vocabulary.model == "bert") spec.word_prefix = "▁";
  return spec;
}

std::string ByteLevel(const std::string& before, const std::string& more = "") {
  return R"({"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"Ġ":3,"Ġab":4,"1":5},)"
         R"("merges":["a b","Ġ ab"]},"pre_tokenizer":{"type":"Sequence","pretokenizers":[)" +
         before + R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":)" +
         (before.empty() ? "true" : "false") + "}]}" + more + "}";
}

constexpr char kDigitsFirst[] =
    R"({"type":"Digits","individual_digits":true},)"
    R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":true},)";

std::string Characters(const std::string& normalizer, const std::string& pre_tokenizer,
                       bool byte_fallback = true) {
  std::string vocabulary = R"("<unk>":0,"▁":1,"a":2,"b":3,"ab":4,"▁ab":5)";
  int id = 6;
  constexpr char kDigits[] = "0123456789ABCDEF";
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary += std::string(",\"<0x") + kDigits[byte / 16] + kDigits[byte % 16] +
                  ">\":" + std::to_string(id++);
  }
  return R"({"model":{"type":"BPE","unk_token":"<unk>","byte_fallback":)" +
         std::string(byte_fallback ? "true" : "false") + R"(,"vocab":{)" + vocabulary +
         R"(},"merges":["a b","▁ ab"]},"normalizer":)" + normalizer + R"(,"pre_tokenizer":)" +
         pre_tokenizer + "}";
}

constexpr char kReplace[] = R"({"type":"Replace","pattern":{"String":" "},"content":"▁"})";
constexpr char kPrepend[] = R"({"type":"Prepend","prepend":"▁"})";

std::string Sequence(const std::string& list, const std::string& steps) {
  return R"({"type":"Sequence",")" + list + "\":[" + steps + "]}";
}

}  // namespace

TEST_CASE("byte-level BPE goes by the name of its cutting rules") {
  const ExportedVocabulary plain = Exported(ByteLevel(""));
  CHECK(plain.model == "gpt2");
  CHECK(plain.pre == "gpt-2");
  CHECK(plain.merges == std::vector<std::string>{"a b", "Ġ ab"});
  CHECK(plain.note.empty());
  CHECK(Exported(ByteLevel(kDigitsFirst)).pre == "starcoder");
  CheckSameIds(ByteLevel(""), SpecOf(plain), "ab ab a1b");
  const std::string nfc = ByteLevel("", R"(,"normalizer":{"type":"NFC"})");
  CHECK(Exported(nfc).note.find("NFC") != std::string::npos);
}

TEST_CASE("the rules of Llama 3 have a name for either way of merging") {
  const std::string split =
      R"({"type":"Split","behavior":"Isolated","pattern":{"Regex":"(?i:'s|'t|'re|'ve|'m|'ll|'d)|)"
      R"([^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|)"
      R"(\\s+(?!\\S)|\\s+"}},)";
  CHECK(Exported(ByteLevel(split)).pre == "smaug-bpe");
  std::string ignoring = ByteLevel(split);
  ignoring.replace(ignoring.find(R"("merges")"), 0, R"("ignore_merges":true,)");
  CHECK(Exported(ignoring).pre == "llama-bpe");
}

TEST_CASE("BPE over characters is scored by rank, and says whether a space comes first") {
  const std::string json =
      Characters(Sequence("normalizers", std::string(kPrepend) + "," + kReplace), "null");
  const ExportedVocabulary llama = Exported(json);
  CHECK(llama.model == "llama");
  CHECK(llama.add_space_prefix);
  CHECK(llama.scores[4] == 0);
  CHECK(llama.scores[5] == -1);
  CHECK(llama.scores[2] < -1e6f);
  CHECK(llama.types[0] == static_cast<int32_t>(TokenType::kUnknown));
  CHECK(llama.types[6] == static_cast<int32_t>(TokenType::kByte));
  for (const char* text : {"ab ab", " a  b", "xab é"}) CheckSameIds(json, SpecOf(llama), text);
  // Gemma puts none in front.
  CHECK_FALSE(Exported(Characters(kReplace, R"({"type":"Split","pattern":{"String":" "},)"
                                            R"("behavior":"MergedWithPrevious"})"))
                  .add_space_prefix);
  CHECK_FALSE(Exported(Characters("null", R"({"type":"Metaspace","replacement":"▁",)"
                                          R"("prepend_scheme":"never","split":false})"))
                  .add_space_prefix);
  CHECK(Exported(Characters("null", R"({"type":"Metaspace","replacement":"▁",)"
                                    R"("prepend_scheme":"first","split":false})"))
            .add_space_prefix);
}

TEST_CASE("Unigram keeps its scores and the flags of sentencepiece") {
  const std::string json =
      R"({"model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0],["▁",-3],["a",-2],["▁a",-1.5],)"
      R"(["b",-4]]},"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"WhitespaceSplit"},)"
      R"({"type":"Metaspace","replacement":"▁","prepend_scheme":"always"}]}})";
  const ExportedVocabulary t5 = Exported(json);
  CHECK(t5.model == "t5");
  CHECK(t5.remove_extra_whitespaces);
  CHECK(t5.add_space_prefix);
  CHECK(t5.unknown == 0);
  CHECK(t5.scores == std::vector<float>{0, -3, -2, -1.5f, -4});
  for (const char* text : {"a b", "  aa  ba ", "b"}) CheckSameIds(json, SpecOf(t5), text);
}

TEST_CASE("WordPiece marks what begins a word, not what goes on") {
  for (const bool lower : {true, false}) {
    const std::string json =
        R"({"model":{"type":"WordPiece","unk_token":"[UNK]","vocab":{"[UNK]":0,"ab":1,"##c":2,)"
        R"("A":3,"c":4}},"pre_tokenizer":{"type":"BertPreTokenizer"},"normalizer":)"
        R"({"type":"BertNormalizer","lowercase":)" +
        std::string(lower ? "true" : "false") + "}}";
    const ExportedVocabulary bert = Exported(json);
    CHECK(bert.model == "bert");
    CHECK(bert.tokens == std::vector<std::string>{"[UNK]", "▁ab", "c", "▁A", "▁c"});
    CHECK(bert.lower_case == lower);
    for (const char* text : {"abc ab", "A c", "ABC"}) CheckSameIds(json, SpecOf(bert), text);
  }
}

TEST_CASE("what GGUF has no words for is refused by its place") {
  CheckRefused(ByteLevel("", R"(,"normalizer":{"type":"Lowercase"})"),
               "normalizer: GGUF has no word for normalizer \"Lowercase\"");
  CheckRefused(ByteLevel(R"({"type":"Split","behavior":"Isolated","pattern":{"Regex":"a+"}},)"),
               "pre_tokenizer: GGUF has no word for these rules");
  std::string spaced = ByteLevel("");
  spaced.replace(spaced.find("\"add_prefix_space\":false"), 24, "\"add_prefix_space\":true");
  CheckRefused(spaced, "add_prefix_space: GGUF has no word for a space before the text");
  CheckRefused(Characters(kReplace, "null", false), "model.byte_fallback: GGUF has no word");
  CheckRefused(
      Characters(Sequence("normalizers", std::string(R"({"type":"NFKC"},)") + kReplace), "null"),
      "normalizer.normalizers[0]: GGUF has no word for normalizer \"NFKC\"");
  CheckRefused(R"({"model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0]]},)"
               R"("normalizer":{"type":"NFKC"},"pre_tokenizer":{"type":"Metaspace",)"
               R"("replacement":"▁","prepend_scheme":"always"}})",
               "normalizer: GGUF has no word for normalizer \"NFKC\"");
}

}  // namespace conclave::engine
