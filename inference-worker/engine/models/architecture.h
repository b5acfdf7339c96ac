// What a model is to the rest of the engine: hyper-parameters, weights bound and packed, and one
// forward pass over a batch. An architecture is a row in all.cc; adding one needs nothing else.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "base/status.h"
#include "engine/kernels/kernels.h"
#include "engine/kv/kv_store.h"
#include "engine/models/hparams.h"
#include "engine/tensor/arena.h"
#include "engine/weights/binder.h"

namespace conclave::engine {

// What a model may do to be faster. kExact keeps the promise of one result whatever the batch, the
// chunks, the prefix cache and resumption; kFast gives it up where that pays
// (docs/decisions/0009).
enum class Numerics { kExact, kFast };

// One step's work, borrowed for the call. Rows are tokens; rows of a sequence lie together.
struct StepContext {
  Kernels& kernels;
  KvStore& kv;
  Arena& arena;  // reset by Forward; must hold Model::ScratchBytes of this many rows
  std::span<const int32_t> tokens;       // [rows]
  std::span<const int32_t> positions;    // [rows]
  std::span<const AttentionSpan> spans;  // cover all rows in order
  std::span<const int32_t> output_rows;  // ascending rows whose results are wanted
  // Those results in the kernels' memory, where they are given: [output_rows.size()][vocab_size],
  float* logits = nullptr;
  // and what the last norm made of them, [output_rows.size()][hidden].
  float* hidden = nullptr;
};

class Model {
 public:
  virtual ~Model() = default;

  const HParams& hparams() const { return hparams_; }
  // What one layer's cache must look like for this model.
  virtual KvLayout kv_layout(KvType type) const = 0;
  // Arena bytes that Forward takes for a step of at most `rows` rows.
  virtual int64_t ScratchBytes(int64_t rows) const = 0;
  // Bytes of weights as packed; per token of decode only those that are read.
  virtual int64_t packed_bytes() const = 0;
  virtual int64_t active_bytes_per_token() const = 0;

  // Writes keys and values of all rows and the wanted results. Each row's result depends on its own
  // sequence alone, whatever else is in the step.
  virtual void Forward(const StepContext& step) const = 0;

 protected:
  explicit Model(HParams hparams) : hparams_(std::move(hparams)) {}
  HParams hparams_;
};

// What a model is opened with.
struct Loading {
  Binder& binder;
  Kernels& kernels;
  Numerics numerics = Numerics::kExact;
};

struct Architecture {
  std::string_view name;  // general.architecture
  // Reads, checks, binds and packs. The model keeps views into the source of the binder.
  absl::StatusOr<std::unique_ptr<Model>> (*open)(const Loading& load);
};

// Every architecture there is code for.
std::span<const Architecture> AllArchitectures();

// Finds the row by general.architecture and opens it. UNIMPLEMENTED names an unknown one and those
// that are known.
absl::StatusOr<std::unique_ptr<Model>> OpenModel(const ModelSource& source, Kernels& kernels,
                                                 Numerics numerics = Numerics::kExact);

}  // namespace conclave::engine
