// One leased run, carried to its next rest: gather what it starts from, let a worker generate,
// record what comes, settle. Lost workers and an absent database are waited out; a cancelled,
// expired or failed run is ended with what it has said so far.
#pragma once

#include <chrono>
#include <optional>

#include "base/status.h"
#include "mesh/inference_client.h"
#include "store/jobs/run_control.h"
#include "store/jobs/run_recorder.h"

namespace conclave::store {

struct RunExecutorOptions {
  // Text is committed and told this often while it comes; the first of a leg at once.
  std::chrono::milliseconds flush_every{100};
  size_t flush_tokens = 64;
  // How long a run waits for a worker that can go on with it, since the last token.
  std::chrono::milliseconds worker_patience{60'000};
};

class RunExecutor final {
 public:
  RunExecutor(mesh::InferenceClient& client, RunRecorder& recorder, RunControl& control,
              const RunExecutorOptions& options)
      : client_(client), recorder_(recorder), control_(control), options_(options) {}

  // OK: the run rests. UNAVAILABLE: stopped or abandoned, it has to be given back. LeaseLost: it is
  // somebody else's now. Other errors: it could not even be ended.
  absl::Status Execute();

 private:
  // Why an attempt at the leg came to its end.
  enum class Outcome { kFinished, kCancelled, kExpired, kStopped, kLost, kFailed };
  struct Result {
    Outcome outcome = Outcome::kFailed;
    absl::Status error;  // of kFailed
    conclave::v1::Finished finished;
  };

  // What has to happen instead of going on: somebody's wish, or the run's expiry.
  std::optional<Result> Wish() const;
  absl::Status Prepare(conclave::v1::GenerateRequest* request);
  absl::StatusOr<int> CountPromptTokens(const conclave::v1::GenerateRequest& request);
  int ContextLength() const;
  // A status: the database refuses what came.
  absl::StatusOr<Result> Attempt(const conclave::v1::GenerateRequest& request);
  absl::Status Take(const conclave::v1::GenerateEvent& event);
  bool FlushIsDue(base::SteadyTime now) const;
  bool MayRetry(const absl::Status& error, base::SteadyTime now) const;
  absl::Status Settle(const Result& result);
  absl::Status Fail(const absl::Status& error);

  mesh::InferenceClient& client_;
  RunRecorder& recorder_;
  RunControl& control_;
  const RunExecutorOptions options_;
  base::SteadyTime expires_at_;
  base::SteadyTime last_progress_;
  base::SteadyTime last_flush_{};
};

}  // namespace conclave::store
