// Tiny encoders whose weights are made from the names of their tensors (tools/synth_values.h), as
// tests/golden/embeddings/regenerate.py makes them: a GGUF file, or the folder of the same model.
#pragma once

#include <string>
#include <vector>

#include "embed/encoder.h"
#include "engine/tensor/dtype.h"

namespace conclave::embed {

struct SynthEncoder {
  std::string architecture = "bert";  // bert, nomic-bert
  int types = 2;                      // rows of token_types
  double eps = 1e-12;
  int pooling_type = 0;    // 0 = not said, 1 mean, 2 cls, 3 last, 4 rank with a head
  bool silent = false;     // of GGUF: there is a head, but no pooling type
  bool roberta = false;    // of folders: XLMRobertaModel, whose first two positions are skipped
  bool published = false;  // of folders: nomic-bert as its authors write config.json
  std::string tokenizer = "bert";                // or t5
  engine::DType matrices = engine::DType::kF32;  // of the layers, in GGUF

  static constexpr int kHidden = 32, kLayers = 2, kHeads = 4, kFfn = 64, kContext = 64, kVocab = 90;
};

// The tiny Qwen 3 of tests/support with a vocabulary of characters: 3 is its end, and ids that are
// no printable character are special ("<|1|>").
struct SynthQwen3 {
  int pooling_type = 3;
  std::vector<std::string> labels = {"yes", "no"};  // of a reranker
  std::string pair_template = "<|1|>Q: {query} D: {document}<|2|>go";
};

// A folder that is removed with the object.
class ScratchFolder final {
 public:
  ScratchFolder();
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const std::string& path() const { return path_; }
  void Write(const std::string& name, const std::string& text) const;

 private:
  std::string path_;
};

// `left_out` is a tensor that is missing.
void WriteGguf(const SynthEncoder& encoder, const std::string& path,
               const std::string& left_out = "");
void WriteQwen3(const SynthQwen3& encoder, const std::string& path);
// config.json, model.safetensors and vocab.txt.
void WriteFolder(const SynthEncoder& encoder, const std::string& path);

// --- golden cases -------------------------------------------------------------------------------

struct GoldenCase {
  TokenSequence tokens;
  std::vector<float> mean, cls, last;  // of models that embed
  std::vector<float> score;            // of models that rank
};
// tests/golden/embeddings/encoders.json
std::vector<GoldenCase> GoldenCases(const std::string& model);

std::vector<float> EncodeOne(Encoder& encoder, const TokenSequence& tokens);
float LargestDifference(const std::vector<float>& a, const std::vector<float>& b);

}  // namespace conclave::embed
