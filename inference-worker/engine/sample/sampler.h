// Chooses a token from a row of processed logits: temperature, then top_k, typical_p, top_p, min_p,
// each of what the one before it left, then one draw. The draw for output position i uses the
// random number of (seed, stream, i) and nothing else.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "engine/request.h"

namespace conclave::engine {

// INVALID_ARGUMENT names the field and its range: "temperature: 3 is outside [0, 2]".
absl::Status Validate(const SamplingParams& params, int32_t vocab_size);

// Keeps scratch between calls; owned by one thread.
class Sampler final {
 public:
  // `logits` is not changed. Logits that are not finite numbers never win, unless none is left:
  // then -1 (the model's output is broken and the request must end in an error).
  TokenId Sample(std::span<const float> logits, const SamplingParams& params, uint64_t position);

 private:
  struct Candidate {
    TokenId id;
    float logit;
    double weight;        // unnormalised probability; 1 for the most probable
    double atypical = 0;  // distance of its information from the entropy; of CutTypical
  };

  void CollectCandidates(std::span<const float> logits, const SamplingParams& params,
                         float max_logit);
  double TotalWeight() const;
  void CutTypical(double typical_p);
  void CutTopP(double top_p, double total);
  TokenId Draw(double uniform) const;

  std::vector<Candidate> candidates_;  // by id, but between CutTopP and the draw
};

}  // namespace conclave::engine
