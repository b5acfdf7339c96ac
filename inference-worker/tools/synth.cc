// conclave-synth: writes a GGUF model with random weights of a published shape. llama.cpp loads it
// too ("no_vocab" tokenizer), so both can be measured on the same file.
//
//   conclave-synth --shape qwen3moe-30b-a3b --layers 12 --type Q4_0 --out moe.gguf
#include <cstdio>
#include <string>

#include "base/options.h"
#include "engine/tensor/dtype.h"
#include "tools/command_line.h"
#include "tools/synth_model.h"

namespace conclave::engine {
namespace {

struct Options {
  std::string shape = "qwen3moe-30b-a3b";
  std::string tiny;
  std::string type = "Q4_0";
  std::string expert_type;
  std::string head_type = "Q6_K";
  std::string out;
  int layers = 0;
  int vocab = 0;
  int64_t seed = 1;
  double zipf = 0;
};

absl::StatusOr<DType> TypeByName(const std::string& name) {
  for (const DTypeInfo& info : AllDTypes()) {
    if (info.name == name) return info.dtype;
  }
  return base::InvalidArgument("type: \"" + name + "\" is not known");
}

absl::Status Write(const Options& options) {
  if (options.out.empty()) return base::InvalidArgument("--out is missing");
  const bool tiny = !options.tiny.empty();
  ASSIGN_OR_RETURN(SynthSpec spec, tiny ? TinySpec(options.tiny) : ShapeByName(options.shape));
  ASSIGN_OR_RETURN(spec.weights, TypeByName(options.type));
  ASSIGN_OR_RETURN(spec.head, TypeByName(options.head_type));
  const std::string& experts = options.expert_type.empty() ? options.type : options.expert_type;
  ASSIGN_OR_RETURN(spec.experts, TypeByName(experts));
  spec.embedding = spec.head;
  if (options.layers > 0) spec.num_layers = options.layers;
  if (options.vocab > 0) spec.vocab_size = options.vocab;
  spec.seed = static_cast<uint64_t>(options.seed);
  spec.routing.zipf = options.zipf;
  ASSIGN_OR_RETURN(const GgufWriter writer, MakeSynthModel(spec));
  return writer.WriteFile(options.out);
}

int Main(int argc, char** argv) {
  Options o;
  base::OptionSet options("conclave-synth", "Writes a model with random weights of a known shape.");
  options.AddChoice("shape", &o.shape, ShapeNames(), "which published shape");
  options.Add("tiny", &o.tiny, "a tiny model of the tests instead: llama, deepseek2_lite, …");
  options.Add("type", &o.type, "type of the matrices and experts: Q4_0, Q4_K, Q8_0, F16, …");
  options.Add("expert-type", &o.expert_type, "type of the experts, if another");
  options.Add("head-type", &o.head_type, "type of the embedding table and the output matrix");
  options.Add("layers", &o.layers, "layers; 0 = as published", 0, 1024);
  options.Add("vocab", &o.vocab, "tokens of the vocabulary; 0 = as published", 0, 1 << 20);
  options.Add("seed", &o.seed, "of the weights");
  options.Add("zipf", &o.zipf, "experts are chosen as often as rank to minus this; 0 = all alike",
              0.0, 4.0);
  options.Add("out", &o.out, "the file to write");
  if (const auto code = ParseCommandLine(options, argc, argv)) return *code;
  const absl::Status status = Write(o);
  return status.ok() ? 0 : Fail(status);
}

}  // namespace
}  // namespace conclave::engine

int main(int argc, char** argv) { return conclave::engine::Main(argc, argv); }
