#include "tools/quantize_model.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>

#include "base/strings.h"
#include "engine/quant/format.h"
#include "engine/weights/gguf.h"
#include "tools/synth_model.h"
#include "unit/engine/weights/temp_file.h"

namespace conclave::engine {
namespace {

std::string Message(const absl::Status& status) { return std::string(base::Std(status.message())); }

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

SynthSpec Spec(DType weights) {
  SynthSpec spec = *TinySpec("qwen3moe");
  spec.hidden = spec.ffn = spec.expert_ffn = 256;
  spec.num_heads = 8;
  spec.weights = spec.experts = spec.embedding = spec.head = weights;
  return spec;
}

// Made-up models in files, and quantised ones beside them.
struct Rig {
  TempFolder folder;
  std::vector<std::string> notes;

  std::shared_ptr<const ModelSource> Write(GgufWriter writer) {
    const std::string path = folder.path() + "/in.gguf";
    REQUIRE(writer.WriteFile(path).ok());
    return *OpenGguf(path);
  }
  std::string out() const { return folder.path() + "/out.gguf"; }
  absl::StatusOr<QuantizeSummary> Quantize(const ModelSource& source,
                                           const QuantizeOptions& options) {
    return QuantizeModel(source, options, out(),
                         [this](std::string_view note) { notes.emplace_back(note); });
  }
};

DType TypeOf(const ModelSource& source, std::string_view name) {
  REQUIRE(source.FindTensor(name) != nullptr);
  return source.FindTensor(name)->view.dtype;
}

std::vector<float> Values(const TensorView& view) {
  std::vector<float> values(static_cast<size_t>(view.shape.elements()));
  for (int64_t row = 0; row < view.rows(); ++row) {
    FindFormat(view.dtype)
        ->dequantize_row(view.row(row), values.data() + row * view.cols(), view.cols());
  }
  return values;
}

}  // namespace

TEST_CASE("a model is written in every format, with its small tensors left alone") {
  Rig rig;
  const auto source = rig.Write(*MakeSynthModel(Spec(DType::kBF16)));
  for (const QuantFormat* format : AllFormats()) {
    CAPTURE(format->name());
    const auto summary = rig.Quantize(*source, {.type = format->dtype, .num_threads = 2});
    REQUIRE(summary.ok());
    const auto written = *OpenGguf(rig.out());
    CHECK(written->tensors().size() == source->tensors().size());
    CHECK(summary->tensors == static_cast<int64_t>(source->tensors().size()));
    for (const char* name :
         {"token_embd.weight", "blk.0.attn_q.weight", "blk.1.ffn_down_exps.weight"}) {
      CHECK(TypeOf(*written, name) == format->dtype);
    }
    for (const char* name : {"blk.0.attn_norm.weight", "blk.0.attn_q_norm.weight",
                             "blk.0.ffn_gate_inp.weight", "output_norm.weight"}) {
      CHECK(TypeOf(*written, name) == DType::kF32);
      CHECK(Values(written->FindTensor(name)->view) == Values(source->FindTensor(name)->view));
    }
    // Each row as the format's own quantiser has it.
    const TensorView from = source->FindTensor("blk.1.ffn_up_exps.weight")->view;
    const TensorView to = written->FindTensor("blk.1.ffn_up_exps.weight")->view;
    CHECK(to.shape == from.shape);
    std::vector<float> row(256);
    FindFormat(from.dtype)->dequantize_row(from.row(300), row.data(), 256);
    std::vector<std::byte> expected(static_cast<size_t>(to.row_bytes()));
    format->quantize_row(row.data(), expected.data(), 256);
    CHECK(std::memcmp(expected.data(), to.row(300), expected.size()) == 0);
  }
  CHECK(rig.notes.empty());
}

TEST_CASE("metadata is copied byte for byte, but for what describes the file itself") {
  Rig rig;
  GgufWriter writer = *MakeSynthModel(Spec(DType::kF16));
  const std::vector<std::string> words = {"a", "", "b"};
  writer.SetStrings("tokenizer.ggml.tokens", words);
  writer.SetUint64("big", UINT64_MAX);
  writer.SetUint32("general.alignment", 16);
  writer.SetUint32("general.file_type", 1);
  writer.SetUint32("split.count", 1);
  const auto source = rig.Write(std::move(writer));
  REQUIRE(rig.Quantize(*source, {.type = DType::kQ5_K}).ok());
  const auto written = *OpenGguf(rig.out());
  for (const MetadataEntry& entry : source->metadata()) {
    if (entry.key == "general.file_type") continue;
    const MetadataEntry* copy = written->FindMetadata(entry.key);
    CAPTURE(std::string(entry.key));
    if (entry.key == "general.alignment" || entry.key == "split.count") {
      CHECK(copy == nullptr);
      continue;
    }
    REQUIRE(copy != nullptr);
    CHECK(std::equal(copy->raw.begin(), copy->raw.end(), entry.raw.begin(), entry.raw.end()));
  }
  CHECK(*written->GetInt("general.file_type", 0, 100) == 17);
  CHECK(*written->GetInt("general.quantization_version", 0, 100) == 2);
}

TEST_CASE("the head has a type of its own, and the embedding table is the head where it is tied") {
  Rig rig;
  SynthSpec spec = Spec(DType::kF16);
  auto source = rig.Write(*MakeSynthModel(spec));
  REQUIRE(rig.Quantize(*source, {.type = DType::kQ4_K}).ok());
  CHECK(TypeOf(**OpenGguf(rig.out()), "output.weight") == DType::kQ6_K);
  CHECK(TypeOf(**OpenGguf(rig.out()), "token_embd.weight") == DType::kQ4_K);
  REQUIRE(rig.Quantize(*source, {.type = DType::kQ8_0}).ok());
  CHECK(TypeOf(**OpenGguf(rig.out()), "output.weight") == DType::kQ8_0);
  REQUIRE(rig.Quantize(*source, {.type = DType::kQ4_0, .head = DType::kF16}).ok());
  CHECK(TypeOf(**OpenGguf(rig.out()), "output.weight") == DType::kF16);
  spec.tied = true;
  source = rig.Write(*MakeSynthModel(spec));
  REQUIRE(rig.Quantize(*source, {.type = DType::kQ4_K, .head = DType::kQ8_0}).ok());
  CHECK(TypeOf(**OpenGguf(rig.out()), "token_embd.weight") == DType::kQ8_0);
}

TEST_CASE("names that keep finds stay as they are") {
  Rig rig;
  const auto source = rig.Write(*MakeSynthModel(Spec(DType::kF16)));
  REQUIRE(rig.Quantize(*source, {.type = DType::kQ4_0, .keep = "^blk\\.0\\.attn_|norm"}).ok());
  const auto written = *OpenGguf(rig.out());
  CHECK(TypeOf(*written, "blk.0.attn_q.weight") == DType::kF16);
  CHECK(TypeOf(*written, "blk.1.attn_q.weight") == DType::kQ4_0);
  const absl::Status status = rig.Quantize(*source, {.keep = "("}).status();
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(Message(status).find("keep: ") == 0);
}

TEST_CASE("rows that a block does not divide fall back to a simpler type, and say so") {
  Rig rig;
  SynthSpec spec = *TinySpec("llama");  // rows of 64 and 96
  spec.weights = spec.embedding = spec.head = DType::kF32;
  const auto source = rig.Write(*MakeSynthModel(spec));
  const std::pair<DType, DType> cases[] = {{DType::kQ2_K, DType::kIQ4_NL},
                                           {DType::kQ4_K, DType::kQ5_0},
                                           {DType::kQ5_K, DType::kQ5_1},
                                           {DType::kQ6_K, DType::kQ8_0}};
  for (const auto& [wanted, simpler] : cases) {
    rig.notes.clear();
    REQUIRE(rig.Quantize(*source, {.type = wanted, .head = DType::kQ8_0}).ok());
    CHECK(TypeOf(**OpenGguf(rig.out()), "blk.0.ffn_down.weight") == simpler);
    REQUIRE(rig.notes.size() == 15);  // seven matrices of two layers, and the embedding
    CHECK(rig.notes[1] == "blk.0.attn_q.weight: rows of 64 are no multiple of the " +
                              std::string(NameOf(wanted)) + " block of 256; written as " +
                              std::string(NameOf(simpler)));
  }
  // Not even 32 divides these.
  GgufWriter odd;
  odd.AddTensor("blk.0.ffn_up.weight", DType::kF32, {2, 33}, std::vector<float>(66, 1.0f));
  REQUIRE(rig.Quantize(*rig.Write(std::move(odd)), {.type = DType::kQ4_K}).ok());
  CHECK(TypeOf(**OpenGguf(rig.out()), "blk.0.ffn_up.weight") == DType::kF16);
}

TEST_CASE("quantised matrices are taken again only when asked, and stay where the type is theirs") {
  Rig rig;
  const auto source = rig.Write(*MakeSynthModel(Spec(DType::kQ8_0)));
  const absl::Status status = rig.Quantize(*source, {.type = DType::kQ4_0}).status();
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(Message(status).find("token_embd.weight: is Q8_0 already") != std::string::npos);
  CHECK(rig.Quantize(*source, {.type = DType::kQ4_0, .allow_requantize = true}).ok());
  CHECK(TypeOf(**OpenGguf(rig.out()), "blk.0.attn_q.weight") == DType::kQ4_0);
  REQUIRE(rig.Quantize(*source, {.type = DType::kQ8_0}).ok());
  const TensorView from = source->FindTensor("blk.0.attn_q.weight")->view;
  const auto written = *OpenGguf(rig.out());
  const TensorView to = written->FindTensor("blk.0.attn_q.weight")->view;
  CHECK(std::memcmp(from.data, to.data, static_cast<size_t>(from.bytes())) == 0);
}

TEST_CASE("the same bytes come out of any number of threads") {
  Rig rig;
  const auto source = rig.Write(*MakeSynthModel(Spec(DType::kF32)));
  REQUIRE(rig.Quantize(*source, {.type = DType::kQ3_K, .num_threads = 1}).ok());
  const std::string alone = ReadFile(rig.out());
  REQUIRE(rig.Quantize(*source, {.type = DType::kQ3_K, .num_threads = 4}).ok());
  CHECK(ReadFile(rig.out()) == alone);
}

TEST_CASE("values no format holds are refused by tensor and row, and nothing is left behind") {
  Rig rig;
  for (const float bad : {std::numeric_limits<float>::infinity(), std::nanf(""), 1e6f}) {
    std::vector<float> values(4 * 32, 0.5f);
    values[2 * 32 + 7] = bad;
    GgufWriter writer;
    writer.AddTensor("blk.0.ffn_up.weight", DType::kF32, {4, 32}, values);
    const auto source = rig.Write(std::move(writer));
    const absl::Status status = rig.Quantize(*source, {.type = DType::kF16}).status();
    CHECK(status.code() == absl::StatusCode::kInvalidArgument);
    CHECK(Message(status).find("blk.0.ffn_up.weight: row 2 holds a value") != std::string::npos);
    CHECK(rig.Quantize(*source, {.type = DType::kBF16}).ok() == (bad == 1e6f));
    std::filesystem::remove(rig.out());
    CHECK_FALSE(std::filesystem::exists(rig.out() + ".partial"));
  }
}

TEST_CASE("types are known by their names") {
  CHECK(*WritableType("Q4_K") == DType::kQ4_K);
  CHECK(WritableType("q4_k").status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(WritableType("IQ1_S").status().code() == absl::StatusCode::kInvalidArgument);
}

}  // namespace conclave::engine
