#include <catch2/catch.hpp>
#include <chrono>
#include <string>

#include "engine/tokenizer/load.h"

namespace conclave::engine {
namespace {

// A file whose model is WordPiece over single letters, with the given parts put in.
std::string File(const std::string& parts) {
  return R"({"model":{"type":"WordPiece","unk_token":"?","vocab":{"?":0,"a":1,"b":2,"##b":3,)"
         R"("▁a":4,"▁":5}})" +
         (parts.empty() ? "" : "," + parts) + "}";
}

std::vector<TokenId> Ids(const std::string& json, std::string_view text,
                         const EncodeOptions& options = {}) {
  const auto tokenizer = LoadTokenizerJson(json);
  INFO(tokenizer.status().ToString());
  REQUIRE(tokenizer.ok());
  return (*tokenizer)->Encode(text, options);
}

std::string Refusal(const std::string& json) {
  return std::string(LoadTokenizerJson(json).status().message());
}

std::string Bpe(const std::string& model) { return R"({"model":{"type":"BPE",)" + model + "}}"; }

}  // namespace

TEST_CASE("a broken tokenizer.json is refused with the path") {
  CHECK(Refusal(R"({"model":{"type":"WordLevel"}})") ==
        "tokenizer.json: model.type: model \"WordLevel\" is not supported");
  CHECK(Refusal(Bpe(R"("vocab":{"a":-1},"merges":[])")).starts_with("tokenizer.json: model.vocab"));
  CHECK(Refusal(Bpe(R"("vocab":{"a":0,"b":0},"merges":[])")) ==
        "tokenizer.json: model.vocab.b: another token has id 0");
  CHECK(Refusal(Bpe(R"("vocab":{"a":0},"merges":["a"])")) ==
        "tokenizer.json: model.merges[0]: expected two tokens separated by a space");
  CHECK(Refusal(Bpe(R"("vocab":{"a":0},"merges":[["a","b"]])")) ==
        "tokenizer.json: model.merges[0]: names a token that is not in the vocabulary");
  CHECK(Refusal(Bpe(R"("vocab":{"a":0},"merges":[],"dropout":0.5)")) ==
        "tokenizer.json: model.dropout: dropout is not supported");
  CHECK(Refusal(R"({"model":{"type":"Unigram","unk_id":3,"vocab":[["a",0]]}})")
            .starts_with("tokenizer.json: model.unk_id"));
  CHECK(Refusal(File(R"("normalizer":{"type":"Sequence","normalizers":[{"type":"Rot13"}]})")) ==
        "tokenizer.json: normalizer.normalizers[0].type: normalizer \"Rot13\" is not supported");
  CHECK(Refusal(File(R"("pre_tokenizer":{"type":"Split","pattern":{"Regex":"a("},)"
                     R"("behavior":"Isolated","invert":false})"))
            .starts_with("tokenizer.json: pre_tokenizer.pattern.Regex: regular expression"));
  CHECK(Refusal(File(R"("decoder":{"type":"CTC"})")) ==
        "tokenizer.json: decoder.type: decoder \"CTC\" is not supported");
  CHECK(Refusal(File(R"("added_tokens":[{"id":1,"content":"x"}])")) ==
        "tokenizer.json: added_tokens[0]: another token has id 1");
  CHECK(Refusal(File(R"("normalizer":{"type":"Precompiled","precompiled_charsmap":"AQ=="})")) ==
        "tokenizer.json: normalizer.precompiled_charsmap: character map: expected 4 bytes to 64 "
        "MiB");
  CHECK(Refusal(File(R"("post_processor":{"type":"BertProcessing","sep":["x",9],"cls":["y",1]})"))
            .find("9 is not one of 6 tokens") != std::string::npos);
}

TEST_CASE("added tokens take spaces with them, stand alone, or are found in normalised text") {
  const auto file = [](const std::string& token) {
    return File(R"("normalizer":{"type":"Lowercase"},)"
                R"("pre_tokenizer":{"type":"WhitespaceSplit"},"added_tokens":[)" +
                token + "]");
  };
  using Is = std::vector<TokenId>;
  CHECK(Ids(file(R"({"id":6,"content":"X","normalized":true})"), "a x X b") == Is{1, 6, 6, 2});
  CHECK(Ids(file(R"({"id":6,"content":"x","normalized":false})"), "axX") == Is{1, 6, 0});
  CHECK(Ids(file(R"({"id":6,"content":"x","normalized":false,"single_word":true})"), "ax x") ==
        Is{0, 6});
  // Only trusted text makes control tokens, whichever text they are looked for in.
  const std::string control = file(R"({"id":6,"content":"<X>","special":true,"normalized":true})");
  CHECK(Ids(control, "<X>") == Is{0});
  CHECK(Ids(control, "<X>", {.parse_special = true}) == Is{6});
  const auto tokenizer = *LoadTokenizerJson(control);
  const TextRange first{0, 3};
  CHECK(tokenizer->EncodeTrusted("<X><X>", {&first, 1}, false) == Is{6, 0});
}

TEST_CASE("a metaspace goes in front of what begins the text, and of nothing else") {
  const std::string json =
      File(R"("pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"first"},)"
           R"("added_tokens":[{"id":6,"content":"<x>","special":true}])");
  CHECK(Ids(json, "a<x>a", {.parse_special = true}) == std::vector<TokenId>{4, 6, 1});
}

TEST_CASE("a template puts its tokens around the text") {
  const std::string json =
      File(R"("post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"S"}},)"
           R"({"SpecialToken":{"id":"S"}},{"Sequence":{"id":"A"}},{"SpecialToken":{"id":"E"}}],)"
           R"("special_tokens":{"S":{"id":"S","ids":[1]},"E":{"id":"E","ids":[2,3]}}})");
  CHECK(Ids(json, "a", {.add_special = true}) == std::vector<TokenId>{1, 1, 1, 2, 3});
  CHECK(Ids(json, "a") == std::vector<TokenId>{1});
}

TEST_CASE("a megabyte of one letter takes seconds, whatever the model") {
  const std::string megabyte(1 << 20, 'a');
  const std::string models[] = {
      Bpe(R"("vocab":{"a":0,"aa":1,"aaaa":2},"merges":["a a","aa aa"])"),
      R"({"model":{"type":"Unigram","unk_id":0,"vocab":[["u",0],["a",-1],["aa",-1.5]]}})",
      R"({"model":{"type":"WordPiece","unk_token":"a","vocab":{"a":0,"##a":1}}})"};
  for (const std::string& model : models) {
    const auto tokenizer = *LoadTokenizerJson(model);
    const auto start = std::chrono::steady_clock::now();
    CHECK_FALSE(tokenizer->Encode(megabyte, {}).empty());
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(10));
  }
}

}  // namespace conclave::engine
