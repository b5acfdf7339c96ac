// Proto ⇄ plain structs, and nothing else. Here, too, are the bounds of every field that comes in.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "conclave/v1/inference.pb.h"
#include "conclave/v1/models.pb.h"

namespace conclave::worker {

// INVALID_ARGUMENT naming the field and its range. `id` becomes the id of the request; `request` is
// moved from.
absl::StatusOr<backends::GenerateRequest> FromProto(conclave::v1::GenerateRequest&& request,
                                                    std::string id);
absl::StatusOr<backends::ChatPrompt> FromProto(conclave::v1::ChatPrompt&& chat);

// What the worker adds to the timings of a backend.
struct ServedTimes {
  double load_ms = 0;   // how long the request waited for its model
  double total_ms = 0;  // since it arrived
};
conclave::v1::GenerateEvent ToProto(backends::Event&& event, const ServedTimes& times);

// `with_texts`: also the long parts, which no list needs: template, license, metadata.
void ToProto(const backends::ModelDetails& from, bool with_texts, conclave::v1::ModelDetails* to);
// Adds: a worker reports the sum over its models.
void ToProto(const backends::Load& from, conclave::v1::WorkerLoad* to);
void ToProto(const backends::ExpertReport& from, conclave::v1::ExpertPlacement* to);

// "14.2M", "30.5B"; empty for 0.
std::string ParameterSize(int64_t parameters);

}  // namespace conclave::worker
