#include "support/tiny_model.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "engine/weights/gguf.h"

namespace conclave::engine {
namespace {

// Status in tests' own machinery is a broken test.
template <typename T>
T Take(absl::StatusOr<T> value) {
  CHECK(value.ok());
  return *std::move(value);
}

struct BytesAndSource {
  std::vector<std::byte> bytes;
  std::shared_ptr<const ModelSource> source;
};

}  // namespace

std::shared_ptr<const ModelSource> MakeTinySource(const SynthSpec& spec) {
  auto both = std::make_shared<BytesAndSource>();
  both->bytes = Take(MakeSynthModel(spec)).Serialize();
  both->source = Take(OpenGgufBytes(both->bytes, "tiny-" + spec.architecture));
  return {both, both->source.get()};
}

std::shared_ptr<const ModelSource> MakeTinySource(std::string_view architecture) {
  return MakeTinySource(Take(TinySpec(architecture)));
}

std::vector<TokenId> TinyPrompt(uint64_t which, int32_t count, int32_t vocab_size) {
  std::vector<TokenId> tokens(static_cast<size_t>(count));
  uint64_t state = which * 0x9e3779b97f4a7c15ULL + 1;
  for (TokenId& token : tokens) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    token = static_cast<TokenId>((state >> 33) % static_cast<uint64_t>(vocab_size));
  }
  return tokens;
}

ModelRig::ModelRig(std::shared_ptr<const ModelSource> source, const RigOptions& options)
    : source_(std::move(source)),
      kernels_(Take(
          CreateKernels({.device = {}, .num_threads = options.num_threads, .isa = options.isa}))),
      model_(Take(OpenModel(*source_, *kernels_, options.numerics))),
      kv_(std::make_unique<KvStore>(
          Take(KvStore::Create(model_->kv_layout(options.kv_type), hparams().num_layers,
                               options.num_blocks, kernels_->memory())))),
      arena_(kernels_->memory()) {}

std::vector<float> ModelRig::Step(const std::vector<Piece>& pieces) {
  std::vector<TokenId> tokens;
  std::vector<int32_t> positions;
  std::vector<AttentionSpan> spans;
  for (const Piece& piece : pieces) {
    spans.push_back({.blocks = piece.blocks.data(),
                     .position = piece.position,
                     .first_row = static_cast<int32_t>(tokens.size()),
                     .rows = static_cast<int32_t>(piece.tokens.size())});
    for (size_t i = 0; i < piece.tokens.size(); ++i) {
      tokens.push_back(piece.tokens[i]);
      positions.push_back(piece.position + static_cast<int32_t>(i));
    }
  }
  std::vector<int32_t> output_rows(tokens.size());
  std::iota(output_rows.begin(), output_rows.end(), 0);
  const int64_t num_logits = static_cast<int64_t>(tokens.size()) * hparams().vocab_size;
  Buffer logits = Take(kernels_->memory().Allocate(num_logits * 4));
  CHECK(arena_.Reserve(model_->ScratchBytes(static_cast<int64_t>(tokens.size()))).ok());
  model_->Forward({.kernels = *kernels_,
                   .kv = *kv_,
                   .arena = arena_,
                   .tokens = tokens,
                   .positions = positions,
                   .spans = spans,
                   .output_rows = output_rows,
                   .logits = logits.as<float>()});
  const float* const view = Take(kernels_->HostView(logits.as<float>(), num_logits));
  return {view, view + num_logits};
}

std::vector<float> ModelRig::Prefill(std::span<const TokenId> tokens, std::vector<int32_t> chunks,
                                     int32_t first_block) {
  std::vector<int32_t> blocks((tokens.size() + 15) / 16);
  std::iota(blocks.begin(), blocks.end(), first_block);
  std::vector<float> logits;
  size_t at = 0;
  for (size_t i = 0; at < tokens.size(); ++i) {
    const auto chunk = static_cast<size_t>(chunks[std::min(i, chunks.size() - 1)]);
    const auto piece = tokens.subspan(at, std::min(chunk, tokens.size() - at));
    const std::vector<float> part =
        Step({{{piece.begin(), piece.end()}, static_cast<int32_t>(at), blocks}});
    logits.insert(logits.end(), part.begin(), part.end());
    at += piece.size();
  }
  return logits;
}

}  // namespace conclave::engine
