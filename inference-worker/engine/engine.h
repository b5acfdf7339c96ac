// The engine's one door. Token ids in, events out; no text, no transport.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, Engine::Open(model_source, options));
//   RETURN_IF_ERROR(engine->Submit(std::move(request), sink));
//   engine->Cancel(id);          // the slot is free after the step that runs now
//
// Start reading here, then run/step_loop.cc: schedule, forward, sample, emit.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "engine/options.h"
#include "engine/placement/memory_plan.h"
#include "engine/request.h"

namespace conclave::engine {

class ModelSource;  // weights/source.h: metadata and tensors of an open model file

// Of a model whose experts are shared between a device and the processors; zeros for others.
struct ExpertStats {
  bool moves = false;                   // experts change places while it serves
  int64_t selections_total = 0;         // of experts by tokens, in layers that are shared
  int64_t device_selections_total = 0;  // of them, computed on the device
  double device_share = 0;              // of late, as experts lie now
  int64_t exchanges_total = 0;          // pairs that have changed places
  int64_t bytes_moved_total = 0;        // both ways
  int64_t refused_total = 0;            // times the driver would not copy
};

// Which experts the device has and how often each was chosen of late, [layer][…]; layers that are
// not shared are empty.
struct ExpertTable {
  std::vector<std::vector<int32_t>> device;
  std::vector<std::vector<double>> hotness;  // selections, decaying (EngineOptions)
};

// A snapshot of the load; also what Watch reports to the callers of a worker.
struct EngineStats {
  int32_t running = 0;
  int32_t waiting = 0;
  int64_t waiting_tokens = 0;  // prompt tokens not yet computed
  int32_t slots = 0;           // most sequences at once
  int64_t kv_blocks_used = 0;  // held by sequences (cached but unreferenced blocks count as free)
  int64_t kv_blocks_total = 0;
  int32_t block_tokens = 0;
  int64_t prompt_tokens_total = 0;
  int64_t cached_tokens_total = 0;
  int64_t output_tokens_total = 0;
  int64_t steps_total = 0;
  int64_t cancelled_total = 0;
  int64_t preempted_total = 0;
  double step_ms_p50 = 0;  // of the last few hundred steps
  double decode_tps = 0;   // moving averages, tokens per second
  double prefill_tps = 0;
  ExpertStats experts;
};

// What is known of the model once it is open.
struct ModelInfo {
  std::string architecture;
  int64_t parameters = 0;
  int64_t weight_bytes = 0;    // in the file
  int64_t memory_bytes = 0;    // weights as packed, KV, and what a step works in
  int64_t device_bytes = 0;    // of memory_bytes, on an accelerator
  int32_t context_length = 0;  // the smaller of the model's and the option's
  int32_t vocab_size = 0;
  int32_t embedding_length = 0;
  int32_t num_layers = 0;
  int32_t num_experts = 0;  // 0 = dense
  int32_t num_experts_used = 0;
  int64_t kv_bytes_per_token = 0;
  int64_t active_bytes_per_token = 0;  // of weights, as packed: what decoding one token reads
  std::string quantization;            // "Q8_0": the most frequent format by bytes
  std::string device;                  // "cpu/avx512", "cuda/NVIDIA H100"
  std::string placement;               // what lies where; empty: all on the one device
};

// A model as it would be.
struct PlannedModel {
  ModelInfo info;
  MemoryPlan plan;
};
// From the header of its file, none of the weights read. What does not fit is planned, too: the
// plan says so. Errors as Engine::Open.
absl::StatusOr<PlannedModel> PlanModel(std::shared_ptr<const ModelSource> source,
                                       const EngineOptions& options, const MemoryRoom& room);

// Thread-safe. One thread, owned by the engine, runs the step loop and owns all mutable model
// state.
class Engine {
 public:
  // Binds the weights, allocates KV and starts the step loop. `source` is kept alive.
  // INVALID_ARGUMENT names tensor, expected and found shape; UNIMPLEMENTED an unknown architecture;
  // RESOURCE_EXHAUSTED what does not fit.
  static absl::StatusOr<std::unique_ptr<Engine>> Open(std::shared_ptr<const ModelSource> source,
                                                      const EngineOptions& options);
  virtual ~Engine() = default;

  // Queues the request; the sink hears of everything from then on. kFinished is the last event of
  // each answer, exactly once.
  // INVALID_ARGUMENT: parameters or prompt out of range. OUT_OF_RANGE: prompt longer than the
  // context ("… 5000 tokens, the context is 4096"). RESOURCE_EXHAUSTED: the queue is full.
  // UNAVAILABLE: draining. On error the sink is not called.
  virtual absl::Status Submit(GenerateRequest request, std::shared_ptr<EventSink> sink) = 0;

  // Ends a request wherever it is: queued, prefill, decode. Its sink gets kFinished(kCancelled) for
  // each answer within one step. Unknown ids are ignored (it may have ended just now).
  virtual void Cancel(std::string_view id) = 0;
  // Takes a request out of the pause its sink asked for.
  virtual void Resume(std::string_view id) = 0;

  virtual EngineStats Stats() const = 0;
  virtual ExpertTable Experts() const = 0;
  virtual const ModelInfo& info() const = 0;
  // OK; FAILED_PRECONDITION when the model file changed under the engine; UNAVAILABLE when the
  // device has failed. What is not OK stays so: open the model again.
  virtual absl::Status Health() const = 0;

  // Refuses new requests and waits for the running ones; what is left at the deadline is cancelled.
  virtual void Drain(std::chrono::milliseconds timeout) = 0;
};

}  // namespace conclave::engine
