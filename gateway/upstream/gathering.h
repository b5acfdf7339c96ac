// One question put to several workers at once, and their answers joined to one.
#pragma once

#include <algorithm>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "gateway/upstream/mesh_calls.h"
#include "mesh/models_client.h"

namespace conclave::gateway {

// A worker, and the client that reaches it: inference and embedding workers have one each.
struct AskedWorker {
  std::string worker_id;
  mesh::ModelsClient* client = nullptr;
};

template <typename Reply>
struct WorkerAnswer {
  std::string worker_id;
  absl::StatusOr<Reply> reply;
};

// The calls of one question: collects the answers, and tells them once all are there.
template <typename Reply>
class Gathering final : public mesh::CallHandle {
 public:
  using Answers = std::vector<WorkerAnswer<Reply>>;
  using Told = absl::AnyInvocable<void(Answers)>;

  Gathering(const std::vector<AskedWorker>& workers, Told told)
      : left_(workers.size()), told_(std::move(told)) {
    for (const AskedWorker& worker : workers) {
      answers_.push_back({worker.worker_id, base::Unavailable("no answer")});
    }
  }

  void Answer(size_t i, absl::StatusOr<Reply> reply) {
    {
      const std::lock_guard lock(mutex_);
      answers_[i].reply = std::move(reply);
      if (--left_ > 0) return;
    }
    told_(std::move(answers_));
  }
  void Keep(std::shared_ptr<mesh::CallHandle> call) {
    const std::lock_guard lock(mutex_);
    calls_.push_back(std::move(call));
  }
  void Cancel() override {
    std::vector<std::shared_ptr<mesh::CallHandle>> calls;
    {
      const std::lock_guard lock(mutex_);
      calls = calls_;
    }
    for (const auto& call : calls) call->Cancel();
  }

 private:
  std::mutex mutex_;
  size_t left_;
  Answers answers_;
  Told told_;
  std::vector<std::shared_ptr<mesh::CallHandle>> calls_;
};

// ask(client, target, done) puts the question to one worker; join(answers), with one for each in
// the order of `workers`, makes the one reply.
template <typename Reply, typename Joined = Reply, typename Ask, typename Join>
Call<Joined> Gather(const absl::StatusOr<std::vector<AskedWorker>>& workers, Ask ask, Join join) {
  return Unary<Joined>([&](auto done) -> std::shared_ptr<mesh::CallHandle> {
    auto gathering = std::make_shared<Gathering<Reply>>(
        workers.ok() ? *workers : std::vector<AskedWorker>(),
        [done, join](auto answers) mutable { done(join(std::move(answers))); });
    if (!workers.ok()) {
      done(workers.status());
    } else if (workers->empty()) {
      done(join(std::vector<WorkerAnswer<Reply>>()));
    }
    for (size_t i = 0; workers.ok() && i < workers->size(); ++i) {
      gathering->Keep(ask(
          *(*workers)[i].client,
          mesh::ModelsClient::Target{.worker_id = (*workers)[i].worker_id, .model = ""},
          [gathering, i](absl::StatusOr<Reply> reply) { gathering->Answer(i, std::move(reply)); }));
    }
    return gathering;
  });
}

}  // namespace conclave::gateway
