// Ids of Hugging Face tokenizers and sentencepiece over tiny vocabularies
// (tests/golden/tokenizers).
#include <catch2/catch.hpp>

#include "base/json.h"
#include "engine/tokenizer/load.h"
#include "unit/engine/tokenizer/fixtures.h"

namespace conclave::engine {
namespace {

using base::JsonValue;

std::string GoldenText(const std::string& name) {
  const std::string text =
      ReadAll(std::filesystem::path(CONCLAVE_SOURCE_DIR) / "tests/golden/tokenizers" / name);
  REQUIRE_FALSE(text.empty());
  return text;
}

base::JsonDocument ReadGolden(const std::string& name) {
  auto document = base::JsonDocument::Parse(GoldenText(name));
  INFO(document.status().ToString());
  REQUIRE(document.ok());
  return *std::move(document);
}

std::vector<std::string> Strings(const JsonValue& array) {
  std::vector<std::string> strings;
  for (size_t i = 0; i < array.size(); ++i) strings.push_back(array.At(i).AsString().value());
  return strings;
}

std::vector<int32_t> Ints(const JsonValue& array) {
  std::vector<int32_t> ints;
  for (size_t i = 0; i < array.size(); ++i) {
    ints.push_back(static_cast<int32_t>(array.At(i).AsInt().value()));
  }
  return ints;
}

std::unique_ptr<Tokenizer> Make(TokenizerSpec spec) {
  auto tokenizer = MakeTokenizer(std::move(spec));
  INFO(tokenizer.status().ToString());
  REQUIRE(tokenizer.ok());
  return *std::move(tokenizer);
}

void CheckIds(const Tokenizer& tokenizer, const JsonValue& texts, const JsonValue& ids,
              const EncodeOptions& options) {
  REQUIRE(texts.size() > 50);
  REQUIRE(ids.size() == texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::string text = texts.At(i).AsString().value();
    INFO("text " << i << ": " << text);
    CHECK(tokenizer.Encode(text, options) == Ints(ids.At(i)));
  }
}

TokenizerSpec BpeSpec(const JsonValue& root, const std::string& family) {
  TokenizerSpec spec;
  spec.model = "gpt2";
  spec.pre = family;
  spec.tokens = Strings(root.Get("tokens"));
  spec.merges = Strings(root.Get("merges"));
  return spec;
}

}  // namespace

TEST_CASE("byte-level BPE cuts and merges as Hugging Face tokenizers do") {
  const base::JsonDocument golden = ReadGolden("bpe.json");
  const JsonValue root = golden.root();
  const auto family = GENERATE(as<std::string>(), "gpt-2", "starcoder", "llama-bpe", "qwen2",
                               "gpt-4o", "tekken", "deepseek-coder", "deepseek-v3");
  INFO(family);
  const auto tokenizer = Make(BpeSpec(root, family));
  CheckIds(*tokenizer, root.Get("texts"), root.Get("families").Get(family), {});
}

TEST_CASE("byte-level BPE gives back every byte it was given") {
  const base::JsonDocument golden = ReadGolden("bpe.json");
  const JsonValue texts = golden.root().Get("texts");
  const auto family = GENERATE(as<std::string>(), "default", "falcon", "deepseek-llm", "qwen2");
  const auto tokenizer = Make(BpeSpec(golden.root(), family));
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::string text = texts.At(i).AsString().value();
    CHECK(tokenizer->Decode(tokenizer->Encode(text, {}), false) == text);
  }
  const std::string broken = "a\xFF\xC3 \xF0\x9F\xA6 \xED\xA0\x80z";
  CHECK(tokenizer->Decode(tokenizer->Encode(broken, {}), false) == broken);
}

TEST_CASE("WordPiece gives the ids of BERT's tokenizer") {
  const base::JsonDocument golden = ReadGolden("wordpiece.json");
  std::string vocab;
  for (const std::string& token : Strings(golden.root().Get("tokens"))) vocab += token + "\n";
  const auto tokenizer = LoadVocabTxt(vocab, true);
  REQUIRE(tokenizer.ok());
  CheckIds(**tokenizer, golden.root().Get("texts"), golden.root().Get("ids"),
           {.add_special = true});
}

TEST_CASE("SPM gives the ids of sentencepiece") {
  const base::JsonDocument golden = ReadGolden("spm.json");
  const JsonValue root = golden.root();
  TokenizerSpec spec;
  spec.model = "llama";
  spec.tokens = Strings(root.Get("tokens"));
  spec.types = Ints(root.Get("types"));
  for (size_t i = 0; i < root.Get("scores").size(); ++i) {
    spec.scores.push_back(static_cast<float>(root.Get("scores").At(i).AsNumber().value()));
  }
  spec.unknown = 0;
  spec.add_space_prefix = true;
  const auto tokenizer = Make(std::move(spec));
  CheckIds(*tokenizer, root.Get("texts"), root.Get("ids"), {});
}

TEST_CASE("a tokenizer.json becomes the same tokenizer") {
  SECTION("BPE") {
    const base::JsonDocument golden = ReadGolden("bpe.json");
    const auto tokenizer = LoadTokenizerJson(GoldenText("tokenizer_bpe.json"));
    INFO(tokenizer.status().ToString());
    REQUIRE(tokenizer.ok());
    CheckIds(**tokenizer, golden.root().Get("texts"), golden.root().Get("families").Get("qwen2"),
             {});
    const TokenId end = (*tokenizer)->Find("<|im_end|>");
    CHECK((*tokenizer)->IsEndOfGeneration(end));
    CHECK((*tokenizer)->Encode("<|im_end|>", {.parse_special = true}) == std::vector<TokenId>{end});
  }
  SECTION("WordPiece") {
    const base::JsonDocument golden = ReadGolden("wordpiece.json");
    const auto tokenizer = LoadTokenizerJson(GoldenText("tokenizer_wordpiece.json"));
    INFO(tokenizer.status().ToString());
    REQUIRE(tokenizer.ok());
    CheckIds(**tokenizer, golden.root().Get("texts"), golden.root().Get("ids"),
             {.add_special = true});
  }
}

}  // namespace conclave::engine
