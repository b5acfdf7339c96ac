// Random two-layer models made in memory, and a rig that runs one without scheduler or sampler.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/kernels/kernels.h"
#include "engine/kv/kv_store.h"
#include "engine/models/architecture.h"
#include "engine/request.h"
#include "engine/tensor/arena.h"
#include "engine/weights/source.h"
#include "tools/synth_model.h"

namespace conclave::engine {

// A model file in memory. The source keeps the bytes.
std::shared_ptr<const ModelSource> MakeTinySource(const SynthSpec& spec);
std::shared_ptr<const ModelSource> MakeTinySource(std::string_view architecture);

// The deterministic prompt number `which` of `count` tokens.
std::vector<TokenId> TinyPrompt(uint64_t which, int32_t count, int32_t vocab_size);

struct RigOptions {
  int num_threads = 1;
  std::string isa;
  KvType kv_type = KvType::kF16;
  int32_t num_blocks = 128;
  Numerics numerics = Numerics::kExact;
};

// One model with its KV memory, driven row by row on the device CONCLAVE_DEVICE names.
class ModelRig final {
 public:
  explicit ModelRig(std::shared_ptr<const ModelSource> source, const RigOptions& options = {});

  // Some tokens of one timeline. Its keys and values lie in `blocks`.
  struct Piece {
    std::vector<TokenId> tokens;
    int32_t position = 0;
    std::vector<int32_t> blocks;
  };
  // One step; the logits of every row, row after row.
  std::vector<float> Step(const std::vector<Piece>& pieces);

  // The logits of each position of `tokens`, computed in chunks of the given sizes (the last one
  // repeats), in blocks first_block, first_block + 1, …
  std::vector<float> Prefill(std::span<const TokenId> tokens,
                             std::vector<int32_t> chunks = {1 << 20}, int32_t first_block = 0);

  const HParams& hparams() const { return model_->hparams(); }

 private:
  std::shared_ptr<const ModelSource> source_;
  std::unique_ptr<Kernels> kernels_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<KvStore> kv_;
  Arena arena_;
};

}  // namespace conclave::engine
