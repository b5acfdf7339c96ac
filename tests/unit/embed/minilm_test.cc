// The default embedding model against sentence-transformers. Runs where the model is: in
// CONCLAVE_MINILM_DIR (deploy/models/fetch_minilm.sh puts it there); without it the test exits 77,
// which counts as skipped.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>

#include "absl/strings/escaping.h"
#include "base/strings.h"
#include "embed/served_model.h"
#include "unit/embed/tiny_bert.h"

namespace conclave::embed {
namespace {

std::string MiniLmFolder() {
  const char* folder = std::getenv("CONCLAVE_MINILM_DIR");
  const std::string path =
      folder != nullptr ? folder : std::string(CONCLAVE_SOURCE_DIR) + "/.cache/all-MiniLM-L6-v2";
  if (std::ifstream(path + "/model.safetensors")) return path;
  std::fprintf(stderr, "skipped: no model in %s; fetch_minilm.sh gets it\n", path.c_str());
  std::exit(77);
}

float FromHalf(uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int mantissa = bits & 1023;
  const float size = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                                   : std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
  return (bits & 0x8000) != 0 ? -size : size;
}

std::vector<float> Decode(std::string_view base64) {
  std::string bytes;
  REQUIRE(absl::Base64Unescape(base::Abs(base64), &bytes));
  std::vector<float> vector;
  for (size_t i = 0; i + 1 < bytes.size(); i += 2) {
    uint16_t half = 0;
    std::memcpy(&half, bytes.data() + i, 2);
    vector.push_back(FromHalf(half));
  }
  return vector;
}

double Cosine(const std::vector<float>& a, const std::vector<float>& b) {
  double dot = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    dot += double{a[i]} * double{b[i]};
    aa += double{a[i]} * double{a[i]};
    bb += double{b[i]} * double{b[i]};
  }
  return dot / std::sqrt(aa * bb);
}

}  // namespace

TEST_CASE("200 texts of mixed length and language agree with sentence-transformers") {
  const base::JsonDocument doc =
      ReadGolden(std::string(CONCLAVE_SOURCE_DIR) + "/tests/golden/embeddings/minilm.json");
  const base::JsonValue cases = doc.root().Get("cases");
  REQUIRE(cases.size() == 200);
  const auto encoder = OpenEncoder(MiniLmFolder(), {});
  REQUIRE(encoder.ok());
  CHECK((*encoder)->info().tokens_max == 256);
  ServedModel model("m", {}, "", 0, *OpenEncoder(MiniLmFolder(), {}));
  double worst = 1;
  for (size_t i = 0; i < cases.size(); ++i) {
    const std::string text = *cases.At(i).Get("text").AsString();
    const auto input = model.Prepare(text, Truncate::kEnd, "input");
    REQUIRE(input.ok());
    std::vector<float> vector(384);
    const std::vector<TokenId>& ids = input->tokens.ids;
    const std::vector<int32_t> offsets = {0, static_cast<int32_t>(ids.size())};
    (*encoder)->Encode({.ids = ids, .offsets = offsets}, vector.data());
    const double cosine =
        Cosine(Finish(vector, 0, true), Decode(*cases.At(i).Get("vector").AsStringView()));
    worst = std::min(worst, cosine);
    INFO("text " << i << ": " << text.substr(0, 60) << ": cosine " << cosine);
    CHECK(cosine >= 0.99999);
  }
  std::printf("worst cosine of 200 texts: %.8f\n", worst);
}

}  // namespace conclave::embed
