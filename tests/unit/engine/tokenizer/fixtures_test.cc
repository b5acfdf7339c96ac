#include <catch2/catch.hpp>

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

}  // namespace conclave::engine
