// From what a run has before it — instructions, messages, tool calls and their outputs — to the
// prompt of its next leg. Pure but for the counting of tokens, which the caller passes in.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "conclave/v1/inference.pb.h"
#include "conclave/v1/runs.pb.h"

namespace conclave::store {

// Everything a leg starts from.
struct RunHistory {
  conclave::v1::Run run;  // as it is kept: with the usage so far
  int leg = 1;
  std::vector<conclave::v1::Message> messages;  // of the thread before the run, oldest first
  // The steps of the run's earlier legs, in order, and the messages they wrote.
  std::vector<conclave::v1::RunStep> steps;
  std::vector<conclave::v1::Message> run_messages;
};

// The request without a resume state. The seed follows from run and leg, so that every attempt at a
// leg, by whichever replica, samples alike. INTERNAL when a stored parameter cannot be read.
absl::StatusOr<conclave::v1::GenerateRequest> MakeRequest(const RunHistory& history,
                                                          const std::string& tenant);

// How many tokens the prompt of a request has.
using CountTokens =
    std::function<absl::StatusOr<int>(const conclave::v1::GenerateRequest& request)>;

struct TruncationLimits {
  int prompt_tokens_max = 0;  // what is left of the run's own limit; 0 = none
  int context_length = 0;     // of the model; 0 = not known
};

// Drops messages of the thread until the prompt fits, as the run's truncation strategy says:
// last_messages keeps that many; auto drops from the middle, the first message and the newest stay
// longest. OUT_OF_RANGE with reason max_prompt_tokens: not even the newest message fits the run's
// own limit. What does not fit the context is left for the worker to refuse.
absl::Status Truncate(const TruncationLimits& limits, const CountTokens& count,
                      const std::string& tenant, RunHistory* history);

// What is left of the run's own limits; 0 or less: nothing. Nothing when there is no limit.
std::optional<int> CompletionTokensLeft(const conclave::v1::Run& run);
std::optional<int> PromptTokensLeft(const conclave::v1::Run& run);

}  // namespace conclave::store
