// The committed two-layer BERT of tests/golden/embeddings/tiny_bert.
#pragma once

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "embed/encoder.h"

namespace conclave::embed {

inline std::string TinyBertFolder() {
  return std::string(CONCLAVE_SOURCE_DIR) + "/tests/golden/embeddings/tiny_bert";
}

inline std::unique_ptr<Encoder> OpenTinyBert(int num_threads = 1) {
  auto encoder = OpenEncoder(TinyBertFolder(), {.num_threads = num_threads});
  if (encoder.ok()) return *std::move(encoder);
  std::fprintf(stderr, "tiny bert: %s\n", encoder.status().ToString().c_str());
  std::abort();
}

inline base::JsonDocument ReadGolden(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  auto doc = base::JsonDocument::Parse(text);
  if (doc.ok()) return *std::move(doc);
  std::fprintf(stderr, "%s: %s\n", path.c_str(), doc.status().ToString().c_str());
  std::abort();
}

}  // namespace conclave::embed
