#include "engine/weights/gguf.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>

#include "base/strings.h"
#include "engine/quant/format.h"
#include "engine/weights/gguf_writer.h"
#include "temp_file.h"

namespace conclave::engine {
namespace {

std::string Message(const absl::Status& status) { return std::string(base::Std(status.message())); }

}  // namespace

TEST_CASE("what the writer wrote, the reader reads") {
  GgufWriter writer;
  writer.SetString("general.architecture", "llama");
  writer.SetUint32("llama.block_count", 3);
  writer.SetUint64("big", UINT64_MAX);
  writer.SetInt32("negative", -5);
  writer.SetFloat("eps", 1e-5f);
  writer.SetBool("flag", true);
  const std::vector<std::string> tokens = {"a", "", "ü\xff"};
  writer.SetStrings("tokens", tokens);
  const std::vector<float> scores = {0.5f, -1.0f};
  writer.SetFloats("scores", scores);
  const std::vector<int32_t> types = {1, -2, 3};
  writer.SetInts("types", types);
  std::vector<float> matrix(3 * 64);
  for (size_t i = 0; i < matrix.size(); ++i) matrix[i] = static_cast<float>(i);
  writer.AddTensor("matrix", DType::kF32, {3, 64}, matrix);
  writer.AddTensor("quantised", DType::kQ8_0, {3, 64}, matrix);
  writer.AddTensor("made", DType::kF16, {2, 2}, [](int64_t row, std::span<std::byte> bytes) {
    std::memset(bytes.data(), static_cast<int>(row) + 1, bytes.size());
  });

  const TempFolder folder;
  const std::string path = folder.path() + "/model.gguf";
  REQUIRE(writer.WriteFile(path).ok());
  const auto source = OpenGguf(path);
  REQUIRE(source.ok());
  const ModelSource& s = **source;
  CHECK(s.path() == path);
  CHECK(*s.Architecture() == "llama");
  CHECK(*s.GetInt("llama.block_count", 1, 100) == 3);
  CHECK(*s.GetInt("negative", -10, 10) == -5);
  CHECK(*s.GetFloat("eps", 0, 1) == Approx(1e-5));
  CHECK(*s.GetFloat("llama.block_count", 0, 10) == 3.0);
  CHECK(*s.GetBool("flag"));
  CHECK(*s.GetStrings("tokens") == std::vector<std::string_view>{"a", "", "ü\xff"});
  CHECK(*s.GetFloats("scores") == scores);
  CHECK(*s.GetInts("types") == std::vector<int64_t>{1, -2, 3});
  CHECK(s.metadata().size() == 9);
  CHECK(s.metadata()[0].key == "general.architecture");

  REQUIRE(s.FindTensor("matrix") != nullptr);
  const TensorView view = s.FindTensor("matrix")->view;
  CHECK(view.shape == Shape{3, 64});
  CHECK(std::memcmp(view.data, matrix.data(), matrix.size() * 4) == 0);
  const TensorView quantised = s.FindTensor("quantised")->view;
  std::vector<float> row(64);
  FindFormat(DType::kQ8_0)->dequantize_row(quantised.row(2), row.data(), 64);
  CHECK(row[63] == Approx(191).epsilon(0.01));
  CHECK(s.FindTensor("made")->view.row(1)[0] == std::byte{2});
  CHECK(s.FindTensor("nothing") == nullptr);
  s.DoneWith(view);
  CHECK(std::memcmp(view.data, matrix.data(), matrix.size() * 4) == 0);
  CHECK(s.Health().ok());
}

TEST_CASE("readers of metadata name the key, the range and what was found") {
  GgufWriter writer;
  writer.SetUint32("count", 7);
  writer.SetUint64("big", UINT64_MAX);
  writer.SetString("name", "x");
  writer.SetFloat("nan", NAN);
  writer.SetString("general.architecture", "../Llama");
  const auto bytes = writer.Serialize();
  const auto source = OpenGgufBytes(bytes, "m.gguf");
  REQUIRE(source.ok());
  const ModelSource& s = **source;
  CHECK(s.GetInt("missing", 0, 1).status().code() == absl::StatusCode::kNotFound);
  CHECK(Message(s.GetInt("missing", 0, 1).status()) == "m.gguf: metadata key missing is missing");
  CHECK(Message(s.GetInt("count", 8, 9).status()) ==
        "m.gguf: metadata key count: expected an integer between 8 and 9, found 7");
  CHECK(s.GetInt("big", 0, 9).status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(s.GetInt("name", 0, 9).status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(s.GetFloat("nan", -1e9, 1e9).status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(s.GetFloat("name", 0, 1).status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(s.GetString("count").status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(s.GetBool("count").status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(s.GetStrings("name").status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(s.GetInts("name").status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(s.GetFloats("name").status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(s.Architecture().status().code() == absl::StatusCode::kInvalidArgument);
  // Fallbacks stand in for what is absent, not for what is wrong.
  CHECK(*s.GetInt("missing", 0, 9, 4) == 4);
  CHECK_FALSE(s.GetInt("name", 0, 9, 4).ok());
  CHECK(*s.GetString("missing", "y") == "y");
  CHECK(*s.GetFloat("missing", 0, 1, 0.5) == 0.5);
  CHECK(*s.GetBool("missing", true));
  CHECK_FALSE(s.GetOptionalInts("missing")->has_value());
}

TEST_CASE("versions 2 and 3 are read") {
  GgufWriter writer;
  writer.SetUint32("count", 7);
  auto bytes = writer.Serialize();
  bytes[4] = std::byte{2};
  CHECK(OpenGgufBytes(bytes, "m").ok());
}

TEST_CASE("alignment other than the default moves the data") {
  // The writer aligns to 32, which is a multiple of 16 and 8 too: offsets stay valid, and the data
  // begins at the next multiple of the declared alignment.
  GgufWriter writer;
  writer.SetUint32("general.alignment", 16);
  const std::vector<float> values = {1, 2, 3, 4};
  writer.AddTensor("t", DType::kF32, {4}, values);
  const auto bytes = writer.Serialize();
  const auto source = OpenGgufBytes(bytes, "m");
  REQUIRE(source.ok());
  const std::byte* data = (*source)->FindTensor("t")->view.data;
  CHECK((data - bytes.data()) % 16 == 0);
}

}  // namespace conclave::engine
