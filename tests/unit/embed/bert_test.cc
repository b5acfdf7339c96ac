#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "unit/embed/synth_encoder.h"
#include "unit/embed/tiny_bert.h"

namespace conclave::embed {
namespace {

namespace fs = std::filesystem;

struct Case {
  std::vector<TokenId> ids;
  std::vector<float> mean, cls, last;
};

std::vector<float> Floats(const base::JsonValue& array) {
  std::vector<float> all;
  for (size_t i = 0; i < array.size(); ++i) {
    all.push_back(static_cast<float>(*array.At(i).AsNumber()));
  }
  return all;
}

std::vector<Case> Cases() {
  const base::JsonDocument doc = ReadGolden(TinyBertFolder() + "/expected.json");
  const base::JsonValue cases = doc.root().Get("cases");
  std::vector<Case> all;
  for (size_t i = 0; i < cases.size(); ++i) {
    Case one;
    const base::JsonValue ids = cases.At(i).Get("ids");
    for (size_t k = 0; k < ids.size(); ++k) {
      one.ids.push_back(static_cast<TokenId>(*ids.At(k).AsInt()));
    }
    one.mean = Floats(cases.At(i).Get("mean"));
    one.cls = Floats(cases.At(i).Get("cls"));
    one.last = Floats(cases.At(i).Get("last"));
    all.push_back(std::move(one));
  }
  return all;
}

// A copy of the tiny model whose files a test may change.
class Copy final {
 public:
  Copy() {
    std::string pattern = (fs::temp_directory_path() / "conclave-bert-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
    fs::copy(TinyBertFolder(), path_, fs::copy_options::recursive);
  }
  ~Copy() { fs::remove_all(path_); }
  void Write(const std::string& name, const std::string& text) const {
    fs::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << text;
  }
  void Remove(const std::string& name) const { fs::remove(path_ / name); }
  absl::StatusOr<std::unique_ptr<Encoder>> Open() const {
    return OpenEncoder(path_.string(), {.num_threads = 1});
  }

 private:
  fs::path path_;
};

}  // namespace

// Both sides sum in fp32 in their own order; values are of size 1.
constexpr float kTolerance = 2e-5f;

TEST_CASE("hidden states agree with transformers, pooled each way") {
  const Copy copy;
  for (const Pooling pooling : {Pooling::kMean, Pooling::kCls, Pooling::kLast}) {
    const char* key = pooling == Pooling::kMean  ? "pooling_mode_mean_tokens"
                      : pooling == Pooling::kCls ? "pooling_mode_cls_token"
                                                 : "pooling_mode_lasttoken";
    copy.Write("1_Pooling/config.json", std::string("{\"") + key + "\": true}");
    const auto encoder = copy.Open();
    REQUIRE(encoder.ok());
    CHECK((*encoder)->info().pooling == pooling);
    for (const Case& one : Cases()) {
      const auto& expected = pooling == Pooling::kMean  ? one.mean
                             : pooling == Pooling::kCls ? one.cls
                                                        : one.last;
      CHECK(LargestDifference(EncodeOne(**encoder, {one.ids}), expected) < kTolerance);
    }
  }
}

TEST_CASE("a batch gives each sequence the bits it has alone, with any number of threads") {
  const auto cases = Cases();
  const auto alone = OpenTinyBert(1);
  const auto together = OpenTinyBert(2);
  std::vector<TokenId> ids;
  std::vector<int32_t> offsets = {0};
  for (const Case& one : cases) {
    ids.insert(ids.end(), one.ids.begin(), one.ids.end());
    offsets.push_back(static_cast<int32_t>(ids.size()));
  }
  const auto dimensions = static_cast<size_t>(alone->info().dimensions);
  std::vector<float> batch(cases.size() * dimensions);
  together->Encode({.ids = ids, .offsets = offsets}, batch.data());
  for (size_t i = 0; i < cases.size(); ++i) {
    const std::vector<float> one = EncodeOne(*alone, {cases[i].ids});
    CHECK(std::equal(one.begin(), one.end(),
                     batch.begin() + static_cast<std::ptrdiff_t>(i * dimensions)));
  }
}

TEST_CASE("the folder's files decide length and pooling") {
  const Copy copy;
  CHECK((*copy.Open())->info().tokens_max == 40);
  copy.Write("1_Pooling/config.json", R"({"pooling_mode": "cls"})");
  CHECK((*copy.Open())->info().pooling == Pooling::kCls);
  copy.Write("sentence_bert_config.json", R"({"max_seq_length": 16})");
  copy.Write("pooled/config.json", R"({"pooling_mode": "lasttoken"})");
  copy.Write("modules.json", R"([{"type": "sentence_transformers.models.Transformer"},
                                 {"type": "sentence_transformers.models.Pooling", "path": "pooled"},
                                 {"type": "sentence_transformers.models.Normalize"}])");
  const auto encoder = copy.Open();
  REQUIRE(encoder.ok());
  CHECK((*encoder)->info().tokens_max == 16);
  CHECK((*encoder)->info().pooling == Pooling::kLast);
  CHECK((*encoder)->info().parameters > 10'000);
}

TEST_CASE("a broken folder is refused with the file that is wrong") {
  const auto fails = [](auto change, absl::StatusCode code, const std::string& part) {
    const Copy copy;
    change(copy);
    const auto encoder = copy.Open();
    REQUIRE_FALSE(encoder.ok());
    INFO(encoder.status().ToString());
    CHECK(encoder.status().code() == code);
    CHECK(encoder.status().ToString().find(part) != std::string::npos);
  };
  using Code = absl::StatusCode;
  fails([](const Copy& c) { c.Remove("config.json"); }, Code::kNotFound, "config.json");
  fails([](const Copy& c) { c.Remove("vocab.txt"); }, Code::kNotFound, "vocab.txt");
  fails([](const Copy& c) { c.Write("config.json", "{"); }, Code::kInvalidArgument, "config.json");
  fails([](const Copy& c) { c.Write("config.json", R"({"model_type": "t5"})"); },
        Code::kUnimplemented, "t5");
  fails([](const Copy& c) { c.Write("config.json", R"({"model_type": "bert"})"); },
        Code::kInvalidArgument, "num_hidden_layers");
  fails([](const Copy& c) { c.Write("model.safetensors", "nonsense"); }, Code::kInvalidArgument,
        "safetensors");
  fails(
      [](const Copy& c) {
        c.Write("1_Pooling/config.json", R"({"pooling_mode_max_tokens": true})");
      },
      Code::kUnimplemented, "pooling");
  fails(
      [](const Copy& c) {
        c.Write("1_Pooling/config.json",
                R"({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true})");
      },
      Code::kUnimplemented, "pooling");
  fails([](const Copy& c) { c.Write("1_Pooling/config.json", R"({"pooling_mode": "max"})"); },
        Code::kUnimplemented, "\"max\"");
  fails(
      [](const Copy& c) {
        c.Write("modules.json", R"([{"type": "sentence_transformers.models.Dense"}])");
      },
      Code::kUnimplemented, "dense");
  for (const char* away : {"/etc", "../other", "a/../../b"}) {
    fails(
        [away](const Copy& c) {
          c.Write("modules.json",
                  std::string(R"([{"type": "x.Pooling", "path": ")") + away + "\"}]");
        },
        Code::kInvalidArgument, "[0].path");
  }
}

TEST_CASE("a model of another shape than its configuration is refused by tensor") {
  const Copy copy;
  copy.Write("config.json",
             R"({"model_type": "bert", "vocab_size": 4096, "hidden_size": 32,
                 "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
                 "max_position_embeddings": 40, "type_vocab_size": 2, "hidden_act": "gelu"})");
  const auto encoder = copy.Open();
  REQUIRE_FALSE(encoder.ok());
  INFO(encoder.status().ToString());
  CHECK(encoder.status().ToString().find("token_embd") != std::string::npos);
}

}  // namespace conclave::embed
