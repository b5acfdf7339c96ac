#include "store/jobs/worker_models.h"

#include <condition_variable>
#include <mutex>
#include <optional>
#include <utility>

#include "base/clock.h"

namespace conclave::store {
namespace {

namespace pb = conclave::v1;
using std::chrono::milliseconds;

// Far beyond the time any model takes: who waits less says so with `patience`.
constexpr std::chrono::hours kLoadMax{2};

base::SteadyTime After(milliseconds time) { return std::chrono::steady_clock::now() + time; }

// What a call has told so far.
template <typename Reply>
struct Told {
  std::optional<Reply> progress;
  std::optional<absl::StatusOr<Reply>> end;
};

}  // namespace

struct WorkerModels::Waiting {
  std::mutex mutex;
  std::condition_variable changed;  // a reply came, or stop
  bool stop = false;
};

WorkerModels::WorkerModels(mesh::Discovery* discovery)
    : discovery_(discovery),
      client_(discovery),
      files_(discovery),
      waiting_(std::make_shared<Waiting>()) {}

WorkerModels::~WorkerModels() { Stop(); }

pb::LoadModelRequest LoadRequestOf(const pb::ModelRegistration& registration) {
  pb::LoadModelRequest request;
  request.set_name(registration.name());
  *request.mutable_aliases() = registration.aliases();
  request.set_backend(registration.backend());
  request.set_path(registration.path());
  request.set_provider_id(registration.provider_id());
  request.set_provider_model_id(registration.provider_model_id());
  request.set_config_json(registration.config_json());
  if (registration.has_derived()) *request.mutable_derived() = registration.derived();
  request.set_registration(registration.digest());
  return request;
}

absl::StatusOr<pb::ModelStatus> WorkerModels::Load(const std::string& worker_id,
                                                   const pb::ModelRegistration& registration,
                                                   milliseconds patience) {
  auto told = std::make_shared<Told<pb::ModelStatus>>();
  const auto call = client_.LoadModel(
      {.worker_id = worker_id, .model = ""}, LoadRequestOf(registration),
      {.deadline = After(kLoadMax)},
      [waiting = waiting_, told](const pb::ModelStatus& status) {
        const std::lock_guard lock(waiting->mutex);
        told->progress = status;
      },
      [waiting = waiting_, told](absl::StatusOr<pb::ModelStatus> end) {
        const std::lock_guard lock(waiting->mutex);
        told->end = std::move(end);
        waiting->changed.notify_all();
      });
  std::unique_lock lock(waiting_->mutex);
  waiting_->changed.wait_until(lock, After(patience),
                               [&] { return told->end.has_value() || waiting_->stop; });
  if (told->end) return *std::move(told->end);
  const bool stopped = waiting_->stop;
  const std::optional<pb::ModelStatus> progress = told->progress;
  lock.unlock();
  call->Cancel();
  if (stopped) return absl::CancelledError("stopping");
  if (progress) return *progress;
  return base::Unavailable("the worker did not answer in time");
}

absl::Status WorkerModels::Unload(const std::string& worker_id, const std::string& name,
                                  milliseconds patience) {
  auto told = std::make_shared<Told<pb::UnloadModelReply>>();
  pb::UnloadModelRequest request;
  request.set_name(name);
  request.set_registered_only(true);
  // Its deadline is the drain of the worker's, not our patience.
  client_.UnloadModel({.worker_id = worker_id, .model = ""}, std::move(request),
                      {.deadline = After(std::chrono::minutes(10))},
                      [waiting = waiting_, told](absl::StatusOr<pb::UnloadModelReply> end) {
                        const std::lock_guard lock(waiting->mutex);
                        told->end = std::move(end);
                        waiting->changed.notify_all();
                      });
  std::unique_lock lock(waiting_->mutex);
  waiting_->changed.wait_until(lock, After(patience),
                               [&] { return told->end.has_value() || waiting_->stop; });
  if (waiting_->stop) return absl::CancelledError("stopping");
  if (!told->end || absl::IsNotFound(told->end->status())) return absl::OkStatus();
  return told->end->status();
}

absl::StatusOr<pb::CollectBlobsReply> WorkerModels::CollectBlobs(
    const std::string& worker_id, const pb::CollectBlobsRequest& request, milliseconds patience) {
  auto told = std::make_shared<Told<pb::CollectBlobsReply>>();
  files_.CollectBlobs(worker_id, request, {.deadline = After(patience)},
                      [waiting = waiting_, told](absl::StatusOr<pb::CollectBlobsReply> end) {
                        const std::lock_guard lock(waiting->mutex);
                        told->end = std::move(end);
                        waiting->changed.notify_all();
                      });
  std::unique_lock lock(waiting_->mutex);
  waiting_->changed.wait_until(lock, After(patience),
                               [&] { return told->end.has_value() || waiting_->stop; });
  if (told->end) return *std::move(told->end);
  if (waiting_->stop) return absl::CancelledError("stopping");
  return base::Unavailable("the worker did not answer in time");
}

void WorkerModels::Stop() {
  {
    const std::lock_guard lock(waiting_->mutex);
    waiting_->stop = true;
  }
  waiting_->changed.notify_all();
}

}  // namespace conclave::store
