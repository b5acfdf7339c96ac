#include "engine/weights/binder.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "base/strings.h"
#include "engine/weights/gguf.h"
#include "engine/weights/gguf_writer.h"

namespace conclave::engine {
namespace {

std::string Message(const absl::Status& status) { return std::string(base::Std(status.message())); }

}  // namespace

TEST_CASE("a binder insists on shapes and says both sides") {
  GgufWriter writer;
  writer.AddTensor("w", DType::kF16, {4, 8}, std::vector<float>(32, 1.0f));
  writer.AddTensor("norm", DType::kF32, {3}, std::vector<float>{1, 2, 3});
  writer.AddTensor("bad", DType::kF32, {2}, std::vector<float>{1, NAN});
  writer.AddTensor("raw", DType::kIQ1_S, {256}, std::vector<std::byte>(50));
  const auto bytes = writer.Serialize();
  const auto source = OpenGgufBytes(bytes, "m.gguf");
  REQUIRE(source.ok());
  Binder binder(**source);
  CHECK(binder.Get("w", {4, 8}).ok());
  CHECK(Message(binder.Get("w", {8, 4}).status()) ==
        "m.gguf: w: expected [8][4], found [4][8] of F16");
  CHECK(binder.Get("none", {1}).status().code() == absl::StatusCode::kNotFound);
  CHECK(Message(binder.Get("none", {1}).status()) ==
        "m.gguf: none: expected [1], found no such tensor");
  CHECK(binder.GetOptional("none", {1})->empty());
  CHECK_FALSE(binder.GetOptional("w", {1}).ok());
  CHECK(*binder.GetVector("norm", 3) == std::vector<float>{1, 2, 3});
  CHECK(binder.GetVector("none", 3).status().code() == absl::StatusCode::kNotFound);
  CHECK(binder.GetOptionalVector("none", 3)->empty());
  CHECK(Message(binder.GetVector("bad", 2).status()) == "m.gguf: bad: element 1 is not finite");
  CHECK(binder.Leftovers() == std::vector<std::string>{"raw"});
  CHECK(binder.GetVector("raw", 256).status().code() == absl::StatusCode::kUnimplemented);
  CHECK(binder.Leftovers().empty());
}

}  // namespace conclave::engine
