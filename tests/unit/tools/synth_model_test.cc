#include "tools/synth_model.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "engine/quant/format.h"
#include "engine/weights/gguf.h"

namespace conclave::engine {

TEST_CASE("made-up matrices have the deviation of their fan-in in every type") {
  for (const QuantFormat* format : AllFormats()) {
    const DType dtype = format->dtype;
    CAPTURE(format->name());
    SynthSpec spec = *TinySpec("llama");
    spec.hidden = spec.ffn = 256;
    spec.num_heads = 16;
    spec.vocab_size = 512;
    spec.head = spec.weights = spec.embedding = dtype;
    const std::vector<std::byte> bytes = MakeSynthModel(spec)->Serialize();
    const auto source = *OpenGgufBytes(bytes, "synth");
    const TensorView view = source->FindTensor("output.weight")->view;
    REQUIRE(view.dtype == dtype);
    std::vector<float> row(256);
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < view.rows(); ++i) {
      FindFormat(dtype)->dequantize_row(view.row(i), row.data(), 256);
      for (const float value : row) {
        sum += value;
        squares += double{value} * value;
      }
    }
    const double count = static_cast<double>(view.shape.elements());
    CHECK(std::sqrt(squares / count) == Approx(1.0 / 16).epsilon(0.05));
    // Q4_0's values are -8 to 7: their mean is half a step below 0.
    CHECK(sum / count == Approx(0).margin(dtype == DType::kQ4_0 ? 0.01 : 0.005));
  }
}

TEST_CASE("values depend on seed and tensor name") {
  SynthSpec spec = *TinySpec("qwen2");
  const std::vector<std::byte> one = MakeSynthModel(spec)->Serialize();
  CHECK(MakeSynthModel(spec)->Serialize() == one);
  spec.seed = 2;
  CHECK(MakeSynthModel(spec)->Serialize() != one);
}

TEST_CASE("what cannot be made up is refused") {
  CHECK_FALSE(TinySpec("bert").ok());
  CHECK_FALSE(ShapeByName("gpt-5").ok());
  SynthSpec spec = *TinySpec("llama");
  spec.weights = DType::kQ4_K;  // rows of 64 are no multiple of 256
  CHECK(MakeSynthModel(spec).status().code() == absl::StatusCode::kInvalidArgument);
  spec = *TinySpec("llama");
  spec.head = DType::kIQ2_XS;
  CHECK(MakeSynthModel(spec).status().code() == absl::StatusCode::kInvalidArgument);
  for (const std::string& name : ShapeNames()) CHECK(ShapeByName(name).ok());
}

}  // namespace conclave::engine
