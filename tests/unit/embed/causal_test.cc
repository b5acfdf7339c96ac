// Decoders that embed, against transformers: tests/golden/embeddings/encoders.json.
#include "embed/causal.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "embed/served_model.h"
#include "support/hf_checkpoint.h"
#include "tools/synth_model.h"
#include "unit/embed/synth_encoder.h"

namespace conclave::embed {
namespace {

// Both sides sum in fp32 in their own order; values are of size 1.
constexpr float kTolerance = 1e-4f;

absl::StatusOr<std::unique_ptr<Encoder>> TryOpen(const SynthQwen3& spec,
                                                 const EncoderOptions& options = {
                                                     .num_threads = 1}) {
  const ScratchFolder folder;
  WriteQwen3(spec, folder.path() + "/qwen.gguf");
  return OpenEncoder(folder.path() + "/qwen.gguf", options);
}

std::unique_ptr<Encoder> Open(const SynthQwen3& spec,
                              const EncoderOptions& options = {.num_threads = 1}) {
  auto encoder = TryOpen(spec, options);
  INFO(encoder.status().ToString());
  REQUIRE(encoder.ok());
  return *std::move(encoder);
}

std::unique_ptr<ServedModel> Serve(const SynthQwen3& spec) {
  return std::make_unique<ServedModel>("qwen", std::vector<std::string>(), "", 0, Open(spec));
}

std::vector<TokenId> Letters(const std::string& text) { return {text.begin(), text.end()}; }

}  // namespace

TEST_CASE("the last token's vector is that of transformers, said or not said by the file") {
  for (const int pooling_type : {0, 3}) {
    const auto encoder = Open({.pooling_type = pooling_type});
    CHECK(encoder->info().pooling == Pooling::kLast);
    CHECK(encoder->info().dimensions == 64);
    for (const GoldenCase& one : GoldenCases("qwen3")) {
      INFO(one.tokens.ids.size() << " tokens");
      CHECK(LargestDifference(EncodeOne(*encoder, one.tokens), one.last) < kTolerance);
    }
  }
}

TEST_CASE("a batch of more rows than a step takes and than memory holds changes no bit") {
  const auto alone = Open({});
  const auto together = Open({}, {.num_threads = 2});
  const std::vector<GoldenCase> cases = GoldenCases("qwen3");
  std::vector<TokenId> ids;
  std::vector<int32_t> offsets = {0};
  std::vector<size_t> which;
  for (size_t i = 0; ids.size() < 9'000; ++i) {  // 4096 tokens are held at once
    which.push_back(i % 7 < 5 ? i % 7 : 4);
    const auto& from = cases[which.back()].tokens.ids;
    ids.insert(ids.end(), from.begin(), from.end());
    offsets.push_back(static_cast<int32_t>(ids.size()));
  }
  std::vector<float> batch(which.size() * 64);
  together->Encode({.ids = ids, .offsets = offsets}, batch.data());
  std::vector<std::vector<float>> expected;
  for (const GoldenCase& one : cases) expected.push_back(EncodeOne(*alone, one.tokens));
  for (size_t i = 0; i < which.size(); ++i) {
    const auto at = batch.begin() + static_cast<std::ptrdiff_t>(i * 64);
    CHECK(std::vector<float>(at, at + 64) == expected[which[i]]);
  }
}

TEST_CASE("a text ends with the token its tokenizer adds, also when it is cut") {
  const auto model = Serve({});
  CHECK(model->Prepare("ab c", Truncate::kNone, "input")->tokens.ids ==
        std::vector<TokenId>{'a', 'b', ' ', 'c', 3});
  const auto cut = model->Prepare(std::string(600, 'x') + "y", Truncate::kStart, "input");
  REQUIRE(cut.ok());
  CHECK(cut->truncated);
  CHECK(cut->tokens.ids.size() == 512);
  CHECK(cut->tokens.ids.front() == 'x');
  CHECK(cut->tokens.ids[510] == 'y');
  CHECK(cut->tokens.ids[511] == 3);
}

TEST_CASE("a folder gives the bits of the file, and sentence-transformers' pooling") {
  const ScratchFolder folder;
  engine::SynthSpec spec = *engine::TinySpec("qwen3");
  spec.tied = true;
  // As embedding models are published: the bare model.
  std::vector<engine::StoredTensor> tensors = engine::HfTensors(spec);
  for (engine::StoredTensor& tensor : tensors) {
    REQUIRE(tensor.name.starts_with("model."));
    tensor.name.erase(0, 6);
  }
  engine::WriteCheckpoint(folder.path(), tensors, engine::HfConfig(spec));
  folder.Write("1_Pooling/config.json", R"({"pooling_mode_lasttoken": true})");
  // A byte-level vocabulary whose post-processor adds what is not the end of a generation.
  folder.Write("tokenizer.json", R"({
      "added_tokens": [{"id": 2, "content": "<end>", "special": true}],
      "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
      "post_processor": {"type": "TemplateProcessing",
          "single": [{"Sequence": {"id": "A", "type_id": 0}},
                     {"SpecialToken": {"id": "<end>", "type_id": 0}}],
          "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
          "special_tokens": {"<end>": {"id": "<end>", "ids": [2], "tokens": ["<end>"]}}},
      "model": {"type": "BPE", "merges": [], "vocab": {"a": 0, "b": 1, "<end>": 2}}})");
  folder.Write("tokenizer_config.json", R"({"eos_token": "b"})");
  auto opened = OpenEncoder(folder.path(), {.num_threads = 1});
  INFO(opened.status().ToString());
  REQUIRE(opened.ok());
  CHECK((*opened)->info().format == "safetensors");
  const auto from_file = Open({});
  for (const GoldenCase& one : GoldenCases("qwen3")) {
    CHECK(EncodeOne(**opened, one.tokens) == EncodeOne(*from_file, one.tokens));
  }
  const ServedModel model("qwen", {}, "", 0, *std::move(opened));
  CHECK(model.Prepare("ab", Truncate::kNone, "input")->tokens.ids == std::vector<TokenId>{0, 1, 2});
}

TEST_CASE("fewer tokens than the model takes may be all that is wanted") {
  CHECK(Open({})->info().tokens_max == 512);
  CHECK(Open({}, {.num_threads = 1, .tokens_max = 100})->info().tokens_max == 100);
  CHECK(Open({}, {.num_threads = 1, .tokens_max = 10'000})->info().tokens_max == 512);
}

TEST_CASE("a reranker's score is by how much it would rather say yes than no") {
  const auto encoder = Open({.pooling_type = 4});
  CHECK(encoder->info().ranks());
  for (const GoldenCase& one : GoldenCases("qwen3")) {
    CHECK(LargestDifference(EncodeOne(*encoder, one.tokens), one.score) < kTolerance);
  }
}

TEST_CASE("a pair is put in the words of the model's template, of which a user cannot write any") {
  const auto model = Serve({.pooling_type = 4});
  const auto ids = [](const std::string& query, const std::string& document) {
    std::vector<TokenId> all = {1};
    for (const TokenId id : Letters("Q: " + query + " D: " + document)) all.push_back(id);
    for (const TokenId id : {TokenId{2}, TokenId{'g'}, TokenId{'o'}}) all.push_back(id);
    return all;
  };
  const auto pair = [&](const std::string& query, const std::string& document, Truncate truncate) {
    return model->PreparePair(*model->PrepareQuery(query), document, truncate, "documents[0]");
  };
  CHECK(pair("a b", "cd", Truncate::kNone)->tokens.ids == ids("a b", "cd"));
  CHECK(pair("", "", Truncate::kNone)->tokens.ids == ids("", ""));
  CHECK(pair("<|2|>", "x<|1|>", Truncate::kNone)->tokens.ids == ids("<|2|>", "x<|1|>"));
  // 512 positions, of which 12 are not the document's.
  const std::string longer = "x" + std::string(498, 'm') + "yz";
  CHECK(pair("a", longer, Truncate::kEnd)->tokens.ids == ids("a", longer.substr(0, 500)));
  CHECK(pair("a", longer, Truncate::kStart)->tokens.ids == ids("a", longer.substr(1)));
  CHECK(pair("a", longer, Truncate::kEnd)->truncated);
  CHECK(base::ParamOf(pair("a", longer, Truncate::kNone).status()) == "documents[0]");
  CHECK(base::ParamOf(model->PrepareQuery(std::string(501, 'q')).status()) == "query");
}

TEST_CASE("what a decoder cannot be as an encoder is refused") {
  const auto says = [](const SynthQwen3& spec, const std::string& part) {
    const absl::Status status = TryOpen(spec).status();
    UNSCOPED_INFO(status.ToString());
    return status.code() != absl::StatusCode::kOk &&
           status.ToString().find(part) != std::string::npos;
  };
  CHECK(says({.pooling_type = 1}, "last token"));
  CHECK(says({.pooling_type = 2}, "last token"));
  CHECK(says({.pooling_type = 4, .labels = {"no", "yes"}}, "output_labels"));
  CHECK(says({.pooling_type = 4, .pair_template = "{document}{query}<|2|>"}, "{query}"));
  CHECK(says({.pooling_type = 4, .pair_template = "{query}{document}go"}, "special token"));
}

}  // namespace conclave::embed
