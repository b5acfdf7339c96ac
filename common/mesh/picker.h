// Which worker gets a request. A pure function of the snapshot: the estimated seconds until the
// request would run, lowest wins, ties go to the caller's dice. A worker that has the model in
// memory goes before one that is loading it, and that before one that would have to: there the
// request waits (RequestMeta.load_wait_ms).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "mesh/fleet.h"

namespace conclave::mesh {

struct PickRequest {
  std::string_view model;
  int64_t prompt_tokens = 0;  // an estimate is enough
  // Only workers whose model has this revision (to resume a stream); empty = any.
  std::string_view revision;
  // Workers tried already, by worker_id: taken only when nothing else is left.
  std::vector<std::string> avoid;
  // Tokens of the prompt that a worker is expected to have in its prefix cache, by worker_id
  // (prefix_memory.h); who is not named has none.
  std::vector<std::pair<std::string, int64_t>> cached_tokens;
  uint64_t dice = 0;  // random; splits ties
};

// The seconds of one worker, all terms of mesh §6.4; exposed for tests and debugging.
double PickScore(const WorkerInfo& worker, const PickRequest& request);

// How many of the prompt's tokens the worker would have to compute.
int64_t MissingTokens(std::string_view worker_id, const PickRequest& request);

// NOT_FOUND (reason model_not_found): no worker that we hear from knows the model.
// FAILED_PRECONDITION (reason model_failed): known, and its loading failed everywhere.
// UNAVAILABLE (reason no_worker, with retry-after): served only by workers that are draining,
// suspect or dead, or nobody was heard of at all.
absl::StatusOr<std::shared_ptr<const WorkerInfo>> Pick(const Fleet& fleet,
                                                       const PickRequest& request);

}  // namespace conclave::mesh
