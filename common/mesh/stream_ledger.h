// What one Generate has delivered so far: enough to drop what comes twice, to know when all is
// said, and to take the stream up again elsewhere. Pure; thread-compatible.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "base/status.h"
#include "conclave/v1/inference.pb.h"

namespace conclave::mesh {

class StreamLedger final {
 public:
  // Of the request: how many indexes must finish, and where to go on when it continues a stream of
  // an earlier process.
  explicit StreamLedger(const conclave::v1::GenerateRequest& request);

  enum class Verdict {
    kDeliver,
    kDrop,    // delivered before, by another worker
    kFailed,  // the worker gave up; see error()
    kBroken,  // the worker breaks the protocol; see error()
  };
  // Enters the event in the ledger.
  Verdict Enter(const conclave::v1::GenerateEvent& event);
  const absl::Status& error() const { return error_; }

  bool accepted() const { return accepted_; }
  // Something has been delivered: from now on only resuming is right.
  bool begun() const { return begun_; }
  // Every index has finished.
  bool complete() const { return static_cast<int>(finished_.size()) == n_; }
  // Where another worker goes on.
  conclave::v1::ResumeState Resume() const;

  // As told by the first Accepted; empty and 0 before.
  const std::string& model_revision() const { return revision_; }
  uint64_t seed() const { return seed_; }
  int64_t next_seq() const { return next_seq_; }
  // The epoch told by the latest Accepted.
  uint64_t epoch() const { return epoch_; }

 private:
  Verdict Broken(std::string what);
  Verdict EnterAccepted(const conclave::v1::Accepted& accepted);
  Verdict EnterPrompt(const conclave::v1::PromptLogprobs& prompt);
  Verdict EnterDelta(const conclave::v1::Delta& delta);

  // What was delivered of one index.
  struct Answer {
    std::vector<int32_t> emitted;
    int64_t num_deltas = 0;
  };

  const int n_;
  bool begun_ = false;
  bool accepted_ = false;
  std::string revision_;
  uint64_t seed_ = 0;
  uint64_t epoch_ = 0;
  int64_t next_seq_ = 0;
  int32_t prompt_position_ = 0;  // of the next PromptLogprobs
  std::vector<Answer> answers_;  // by index
  std::set<int> finished_;
  absl::Status error_;
};

}  // namespace conclave::mesh
