// Every architecture of encoders against transformers: tests/golden/embeddings/encoders.json.
#include <catch2/catch.hpp>
#include <cmath>
#include <utility>

#include "unit/embed/synth_encoder.h"

namespace conclave::embed {
namespace {

// Both sides sum in fp32 in their own order; values are of size 1.
constexpr float kTolerance = 2e-5f;

struct Model {
  std::string golden;
  SynthEncoder spec;
};

std::vector<Model> Models() {
  return {{"nomic-bert", {.architecture = "nomic-bert"}},
          {"nomic-bert", {.architecture = "nomic-bert", .published = true}},
          {"bert", {.architecture = "bert"}},
          {"xlm-roberta", {.types = 1, .eps = 1e-5, .roberta = true, .tokenizer = "t5"}}};
}

std::unique_ptr<Encoder> Open(const std::string& path, int num_threads = 1) {
  auto encoder = OpenEncoder(path, {.num_threads = num_threads});
  INFO(encoder.status().ToString());
  REQUIRE(encoder.ok());
  return *std::move(encoder);
}

std::unique_ptr<Encoder> OpenAsGguf(const SynthEncoder& spec, int num_threads = 1) {
  const ScratchFolder folder;
  WriteGguf(spec, folder.path() + "/model.gguf");
  return Open(folder.path() + "/model.gguf", num_threads);
}

absl::Status WhyNot(const SynthEncoder& spec, const std::string& left_out = "") {
  const ScratchFolder folder;
  WriteGguf(spec, folder.path() + "/model.gguf", left_out);
  return OpenEncoder(folder.path() + "/model.gguf", {.num_threads = 1}).status();
}

bool Says(const absl::Status& status, const std::string& part) {
  UNSCOPED_INFO(status.ToString());
  return status.ToString().find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a GGUF file gives the vectors of transformers, pooled as it says") {
  for (Model& model : Models()) {
    for (const int pooling_type : {0, 1, 2, 3}) {
      model.spec.pooling_type = pooling_type;
      const auto encoder = OpenAsGguf(model.spec);
      for (const GoldenCase& one : GoldenCases(model.golden)) {
        INFO(model.golden << ", pooling " << pooling_type << ", " << one.tokens.ids.size()
                          << " tokens");
        const auto& expected = pooling_type == 2   ? one.cls
                               : pooling_type == 3 ? one.last
                                                   : one.mean;
        CHECK(LargestDifference(EncodeOne(*encoder, one.tokens), expected) < kTolerance);
      }
    }
  }
}

TEST_CASE("a folder gives the same bits as the GGUF file of its model") {
  for (const Model& model : Models()) {
    INFO(model.golden);
    const ScratchFolder folder;
    WriteFolder(model.spec, folder.path());
    const auto from_folder = Open(folder.path());
    const auto from_file = OpenAsGguf(model.spec);
    CHECK(from_folder->info().family == from_file->info().family);
    CHECK(from_folder->info().tokens_max == SynthEncoder::kContext);
    CHECK(from_folder->info().parameters == from_file->info().parameters);
    for (const GoldenCase& one : GoldenCases(model.golden)) {
      CHECK(EncodeOne(*from_folder, one.tokens) == EncodeOne(*from_file, one.tokens));
    }
  }
}

TEST_CASE("lengths of all kinds in one batch change no bit") {
  for (const Model& model : Models()) {
    INFO(model.golden);
    const auto alone = OpenAsGguf(model.spec, 1);
    const auto together = OpenAsGguf(model.spec, 2);
    const std::vector<GoldenCase> cases = GoldenCases(model.golden);
    std::vector<TokenId> ids;
    std::vector<int32_t> offsets = {0};
    for (const GoldenCase& one : cases) {
      ids.insert(ids.end(), one.tokens.ids.begin(), one.tokens.ids.end());
      offsets.push_back(static_cast<int32_t>(ids.size()));
    }
    std::vector<float> batch(cases.size() * SynthEncoder::kHidden);
    together->Encode({.ids = ids, .offsets = offsets}, batch.data());
    for (size_t i = 0; i < cases.size(); ++i) {
      const auto at = batch.begin() + static_cast<std::ptrdiff_t>(i * SynthEncoder::kHidden);
      CHECK(EncodeOne(*alone, cases[i].tokens) ==
            std::vector<float>(at, at + SynthEncoder::kHidden));
    }
  }
}

TEST_CASE("long texts among many short ones change no bit either") {
  const auto encoder = OpenAsGguf({});
  const std::vector<GoldenCase> cases = GoldenCases("bert");
  std::vector<TokenId> ids;
  std::vector<int32_t> offsets = {0};
  std::vector<size_t> which;
  for (size_t i = 0; i < 400; ++i) {  // 400 sequences of up to 64 tokens
    which.push_back(i % 100 == 50 ? cases.size() - 1 : i % 3);
    const auto& from = cases[which.back()].tokens.ids;
    ids.insert(ids.end(), from.begin(), from.end());
    offsets.push_back(static_cast<int32_t>(ids.size()));
  }
  std::vector<float> batch(which.size() * SynthEncoder::kHidden);
  encoder->Encode({.ids = ids, .offsets = offsets}, batch.data());
  std::vector<std::vector<float>> expected;
  for (const GoldenCase& one : cases) expected.push_back(EncodeOne(*encoder, one.tokens));
  for (size_t i = 0; i < which.size(); ++i) {
    const auto at = batch.begin() + static_cast<std::ptrdiff_t>(i * SynthEncoder::kHidden);
    CHECK(std::vector<float>(at, at + SynthEncoder::kHidden) == expected[which[i]]);
  }
}

TEST_CASE("a reranker gives a pair the score of transformers, from either kind of file") {
  const SynthEncoder bert{.pooling_type = 4};
  const SynthEncoder roberta{
      .types = 1, .eps = 1e-5, .pooling_type = 4, .roberta = true, .tokenizer = "t5"};
  for (const auto& [golden, spec] :
       {std::pair("bert-rank", bert), std::pair("xlm-roberta-rank", roberta)}) {
    SynthEncoder silent = spec;
    silent.silent = true;
    CHECK(OpenAsGguf(silent)->info().ranks());
    const auto from_file = OpenAsGguf(spec);
    CHECK(from_file->info().ranks());
    CHECK(from_file->info().dimensions == 1);
    const ScratchFolder folder;
    WriteFolder(spec, folder.path());
    const auto from_folder = Open(folder.path());
    for (const GoldenCase& one : GoldenCases(golden)) {
      INFO(golden << ", " << one.tokens.ids.size() << " tokens");
      CHECK(LargestDifference(EncodeOne(*from_file, one.tokens), one.score) < kTolerance);
      CHECK(EncodeOne(*from_folder, one.tokens) == EncodeOne(*from_file, one.tokens));
    }
  }
}

TEST_CASE("pairs and single texts in one batch change no bit") {
  const SynthEncoder spec{.pooling_type = 4};
  const auto encoder = OpenAsGguf(spec);
  std::vector<GoldenCase> cases = GoldenCases("bert-rank");
  cases[2].tokens.second = -1;
  std::vector<TokenId> ids;
  std::vector<int32_t> offsets = {0}, seconds;
  for (const GoldenCase& one : cases) {
    const int32_t begin = offsets.back();
    ids.insert(ids.end(), one.tokens.ids.begin(), one.tokens.ids.end());
    offsets.push_back(static_cast<int32_t>(ids.size()));
    seconds.push_back(one.tokens.second < 0 ? offsets.back() : begin + one.tokens.second);
  }
  std::vector<float> scores(cases.size());
  encoder->Encode({.ids = ids, .offsets = offsets, .seconds = seconds}, scores.data());
  for (size_t i = 0; i < cases.size(); ++i) {
    CHECK(EncodeOne(*encoder, cases[i].tokens)[0] == scores[i]);
  }
  // The second segment is not the first.
  CHECK(std::abs(scores[2] - cases[2].score[0]) > 1e-3f);
}

TEST_CASE("quantised matrices stay near what they were made from, and say what they are") {
  for (const Model& model : Models()) {
    SynthEncoder quantised = model.spec;
    quantised.matrices = engine::DType::kQ8_0;
    const auto encoder = OpenAsGguf(quantised);
    CHECK(encoder->info().format == "gguf");
    CHECK(encoder->info().quantization == engine::NameOf(quantised.matrices));
    for (const GoldenCase& one : GoldenCases(model.golden)) {
      CHECK(LargestDifference(EncodeOne(*encoder, one.tokens), one.mean) < 0.05f);
    }
  }
}

TEST_CASE("a file that lacks a tensor or has one too many is refused by its name") {
  const SynthEncoder nomic{.architecture = "nomic-bert"};
  for (const char* name : {"token_embd.weight", "blk.1.attn_qkv.weight", "blk.0.ffn_gate.weight",
                           "blk.1.layer_output_norm.bias"}) {
    const std::string expected =
        std::string(name).find("qkv") == std::string::npos ? name : "blk.1.attn_q.weight";
    CHECK(Says(WhyNot(nomic, name), expected));
  }
  CHECK(Says(WhyNot({}, "blk.0.attn_q.bias"), "blk.0.attn_q.bias"));
  CHECK(Says(WhyNot({}, "position_embd.weight"), "position_embd.weight"));
  for (const char* name : {"cls.output.weight", "cls.output.bias", "cls.weight", "cls.bias"}) {
    CHECK(Says(WhyNot({.pooling_type = 4}, name), name));
  }
}

TEST_CASE("a context too short for the special tokens and a text is refused") {
  const ScratchFolder folder;
  WriteGguf({}, folder.path() + "/model.gguf");
  const std::string path = folder.path() + "/model.gguf";
  CHECK(OpenEncoder(path, {.num_threads = 1, .tokens_max = 3}).ok());
  const absl::Status status = OpenEncoder(path, {.num_threads = 1, .tokens_max = 2}).status();
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(Says(status, "no room"));
}

TEST_CASE("an architecture that is none of ours is refused with those that are") {
  const absl::Status status = WhyNot({.architecture = "modern-bert"});
  CHECK(status.code() == absl::StatusCode::kUnimplemented);
  CHECK(Says(status, "modern-bert"));
  CHECK(Says(status, "nomic-bert"));
}

}  // namespace conclave::embed
