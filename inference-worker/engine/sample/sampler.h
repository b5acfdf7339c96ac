// Chooses a token from a row of processed logits: temperature, then top_k, typical_p, top_p, min_p,
// each of what the one before it left, then one draw. The draw for output position i uses the
// random number of (seed, stream, i) and nothing else.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/status.h"
#include "engine/request.h"
#include "engine/sample/row_scan.h"

namespace conclave::engine {

// INVALID_ARGUMENT names the field and its range: "temperature: 3 is outside [0, 2]".
absl::Status Validate(const SamplingParams& params, int32_t vocab_size);

// Keeps scratch between calls; owned by one thread.
class Sampler final {
 public:
  // Of the row last read. Logits that are not finite numbers never win, unless none is left: then
  // -1 (the model's output is broken and the request must end in an error). None where blocks of
  // the row are wanted first; it is asked again then, from the beginning.
  std::optional<TokenId> Sample(RowScan& row, const SamplingParams& params, uint64_t position);

  // What of a row's digest Sample reads.
  struct Needs {
    bool largest = false;
    double factor = 0;    // of Weigh; 0 = it does not weigh
    bool blocks = false;  // nearly all of them
  };
  static Needs NeedsOf(const SamplingParams& params);

 private:
  struct Candidate {
    TokenId id;
    float logit;
    double weight;        // unnormalised probability; 1 for the most probable
    double atypical = 0;  // distance of its information from the entropy; of CutTypical
  };
  // Most probable first, equal ones by id.
  static bool MoreProbable(const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  }
  static double LogWeight(const Candidate& candidate, float max, double factor) {
    return (static_cast<double>(candidate.logit) - static_cast<double>(max)) * factor;
  }
  static bool ById(const Candidate& a, const Candidate& b) { return a.id < b.id; }

  // False where blocks are wanted.
  bool CollectByRank(RowScan& row, const SamplingParams& params, double factor, bool cuts_mass);
  bool CollectByMass(RowScan& row, const SamplingParams& params, double factor);
  double CollectFrom(RowScan& row, float least);
  double TotalWeight() const;
  struct BinEdge {
    size_t bin = 0;
    double before = 0;  // the mass of nearer bins
  };
  BinEdge Edge(double wanted) const;
  template <typename Distance, typename Before>
  void KeepMass(double wanted, const Distance& distance, const Before& before);
  void CutTypical(float max, double factor, double typical_p);
  void CutTopP(float max, double factor, double top_p);
  void CutMinP(double min_p);
  TokenId Draw(double uniform) const;

  std::vector<Candidate> candidates_;  // ids ascending: sums and the draw run in this order
  double total_ = 0;                   // of the weights that top_p and typical_p are shares of
  std::vector<double> mass_;           // by key
  std::vector<Candidate> edge_;        // of KeepMass
};

}  // namespace conclave::engine
