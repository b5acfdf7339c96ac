#include <catch2/catch.hpp>

#include "base/json.h"
#include "engine/tokenizer/load.h"
#include "engine/weights/gguf.h"
#include "unit/engine/tokenizer/fixtures.h"

namespace conclave::engine {
namespace {

void CheckAnswers(const Tokenizer& tokenizer, const std::string& base) {
  const auto folder = FixtureRoot() / "tokenizers";
  const std::vector<KnownAnswer> answers =
      ReadAnswers(folder / (base + ".inp"), folder / (base + ".out"));
  REQUIRE(answers.size() > 30);
  for (const KnownAnswer& answer : answers) {
    INFO(base << ": " << answer.text);
    CHECK(tokenizer.Encode(answer.text, {}) == answer.ids);
  }
}

std::unique_ptr<Tokenizer> OpenVocabulary(const std::string& name) {
  const auto source = OpenGguf((FixtureRoot() / "tokenizers" / (name + ".gguf")).string());
  INFO(source.status().ToString());
  REQUIRE(source.ok());
  auto tokenizer = LoadTokenizer(**source);
  INFO(tokenizer.status().ToString());
  REQUIRE(tokenizer.ok());
  return *std::move(tokenizer);
}

}  // namespace

TEST_CASE("published vocabularies give the published ids") {
  const auto name =
      GENERATE(as<std::string>(), "gpt-2", "falcon", "deepseek-coder", "llama-spm", "bert-bge");
  if (!std::filesystem::exists(FixtureRoot() / "tokenizers" / (name + ".gguf"))) return;
  CheckAnswers(*OpenVocabulary(name), name + ".gguf");
}

TEST_CASE("a vocabulary and a list of merges give the published ids of llama 3.2") {
  const auto folder = FixtureRoot() / "tokenizers" / "llama-3.2";
  if (!std::filesystem::exists(folder)) return;
  base::JsonLimits limits;
  limits.members_max = 200'000;
  const auto vocab = base::JsonDocument::Parse(ReadAll(folder / "vocab.json"), limits);
  REQUIRE(vocab.ok());
  TokenizerSpec spec;
  spec.model = "gpt2";
  spec.pre = "llama-bpe";
  spec.tokens.resize(vocab->root().size());
  vocab->root().ForEachMember([&](std::string_view text, const base::JsonValue& id) {
    spec.tokens.at(static_cast<size_t>(id.AsInt().value())) = text;
  });
  std::istringstream merges(ReadAll(folder / "merges.txt"));
  for (std::string line; std::getline(merges, line);) spec.merges.push_back(line);
  const auto tokenizer = MakeTokenizer(std::move(spec));
  INFO(tokenizer.status().ToString());
  REQUIRE(tokenizer.ok());
  CheckAnswers(**tokenizer, "llama-3.2/cases");
}

}  // namespace conclave::engine
