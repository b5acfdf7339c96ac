#include "backends/prompt_teller.h"

#include <catch2/catch.hpp>

#include "engine/tokenizer/load.h"
#include "engine/weights/model_file.h"
#include "unit/backends/native_fixture.h"

namespace conclave::backends {

TEST_CASE("a prompt is told in pieces of one size, characters whole") {
  const TinyModelFile file;
  const auto source = engine::OpenModelFile(file.path());
  REQUIRE(source.ok());
  const auto tokenizer = engine::LoadTokenizer(**source);
  REQUIRE(tokenizer.ok());
  // An owl of four bytes, thus four tokens, across the first seam.
  const std::string text = std::string(126, 'a') + "\xF0\x9F\xA6\x89" + std::string(150, 'b');
  const std::vector<TokenId> ids = (*tokenizer)->Encode(text, {});
  REQUIRE(ids.size() == text.size());
  PromptTeller teller(tokenizer->get(), ids.size());
  std::vector<PromptTokens> pieces;
  for (const TokenId id : ids) {
    if (auto piece = teller.Add({.id = id})) pieces.push_back(*std::move(piece));
  }
  REQUIRE(pieces.size() == 3);
  std::string told;
  for (size_t i = 0; i < pieces.size(); ++i) {
    CHECK(pieces[i].position == static_cast<int32_t>(i * PromptTokens::kMax));
    told += pieces[i].text;
  }
  CHECK(pieces[0].text == std::string(126, 'a'));
  CHECK(pieces[2].tokens.size() == ids.size() - 2 * PromptTokens::kMax);
  CHECK(told == text);
}

}  // namespace conclave::backends
