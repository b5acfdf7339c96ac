#include "gateway/upstream/worker_admin.h"

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <utility>

#include "base/log.h"
#include "gateway/upstream/mesh_calls.h"
#include "mesh/picker.h"

namespace conclave::gateway {
namespace {

// The calls of one question: collects the answers, and tells them once all are there.
template <typename Reply>
class Gathering final : public mesh::CallHandle {
 public:
  using Answers = std::vector<WorkerAnswer<Reply>>;
  using Told = absl::AnyInvocable<void(Answers)>;

  Gathering(std::vector<std::string> workers, Told told)
      : left_(workers.size()), told_(std::move(told)) {
    for (std::string& worker : workers) {
      answers_.push_back({std::move(worker), base::Unavailable("no answer")});
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

// ask(target, done) puts the question to one worker; join(answers) makes the one reply.
template <typename Reply, typename Joined = Reply, typename Ask, typename Join>
Call<Joined> Gather(absl::StatusOr<std::vector<std::string>> workers, Ask ask, Join join) {
  return Unary<Joined>([&](auto done) -> std::shared_ptr<mesh::CallHandle> {
    auto gathering = std::make_shared<Gathering<Reply>>(
        workers.ok() ? *workers : std::vector<std::string>(),
        [done, join](auto answers) mutable { done(join(std::move(answers))); });
    if (!workers.ok()) done(workers.status());
    for (size_t i = 0; workers.ok() && i < workers->size(); ++i) {
      gathering->Keep(ask(
          mesh::ModelsClient::Target{.worker_id = (*workers)[i], .model = ""},
          [gathering, i](absl::StatusOr<Reply> reply) { gathering->Answer(i, std::move(reply)); }));
    }
    return gathering;
  });
}

// OK when one of them is; else the first refusal.
template <typename Reply>
absl::Status AnyOf(const std::vector<WorkerAnswer<Reply>>& answers) {
  absl::Status first = base::Unavailable("no worker is available");
  for (const auto& answer : answers) {
    if (answer.reply.ok()) return absl::OkStatus();
    if (&answer == &answers.front()) first = answer.reply.status();
  }
  return first;
}

void JoinProvider(const v1::Provider& provider, v1::Provider* into, std::set<std::string>* models) {
  models->insert(provider.models().begin(), provider.models().end());
  const bool better = provider.health() == v1::Provider::HEALTH_OK ||
                      into->health() == v1::Provider::HEALTH_UNSPECIFIED;
  const bool open_ended = into->open_ended() || provider.open_ended();
  if (into->provider_id().empty() || (better && into->health() != v1::Provider::HEALTH_OK)) {
    *into = provider;
  }
  into->set_open_ended(open_ended);
}

}  // namespace

absl::StatusOr<v1::GetExpertsReply> JoinExperts(
    std::vector<WorkerAnswer<v1::GetExpertsReply>> answers) {
  RETURN_IF_ERROR(AnyOf(answers));
  v1::GetExpertsReply joined;
  for (auto& answer : answers) {
    if (answer.reply.ok()) joined.MergeFrom(*answer.reply);
  }
  return joined;
}

FleetAdmin::FleetAdmin(mesh::Discovery* workers) : workers_(workers), client_(workers) {}

absl::StatusOr<std::vector<std::string>> FleetAdmin::Workers(std::string_view model) const {
  const auto fleet = workers_->fleet();
  std::vector<std::string> ids;
  for (const auto& worker : fleet->workers) {
    if (!worker->usable()) continue;
    if (model.empty() || worker->FindModel(model) != nullptr) ids.push_back(worker->worker_id);
  }
  if (!ids.empty()) return ids;
  if (fleet->num_usable() == 0 || fleet->FindLostModel(model) != nullptr) {
    return base::WithReason(base::Unavailable("no worker is available"), "no_worker");
  }
  return base::WithParam(
      base::WithReason(base::NotFound("The model `" + std::string(model) + "` does not exist"),
                       "model_not_found"),
      "model");
}

Call<v1::KeepModelReply> FleetAdmin::KeepModel(v1::KeepModelRequest request,
                                               base::SteadyTime deadline) {
  absl::StatusOr<std::vector<std::string>> workers = Workers(request.name());
  const bool lets_go = request.has_keep_alive_ms() && request.keep_alive_ms() == 0;
  if (!lets_go && workers.ok()) {
    const auto one = mesh::Pick(*workers_->fleet(), {.model = request.name()});
    if (one.ok()) {
      workers = std::vector<std::string>{(*one)->worker_id};
    } else {
      workers = one.status();
    }
  }
  return Gather<v1::KeepModelReply>(
      std::move(workers),
      [&](const auto& target, auto done) {
        return client_.KeepModel(target, request, {.deadline = deadline}, std::move(done));
      },
      JoinKept);
}

Call<ModelPlans> FleetAdmin::PlanModel(v1::PlanModelRequest request, base::SteadyTime deadline) {
  return Gather<v1::PlanModelReply, ModelPlans>(
      Workers(request.model()),
      [&](const auto& target, auto done) {
        return client_.PlanModel(target, request, {.deadline = deadline}, std::move(done));
      },
      [](auto answers) -> absl::StatusOr<ModelPlans> {
        ModelPlans plans;
        for (auto& answer : answers) {
          ModelPlans::One& one = plans.workers.emplace_back();
          one.worker_id = std::move(answer.worker_id);
          if (answer.reply.ok()) {
            one.plan = std::move(*answer.reply->mutable_plan());
          } else {
            one.plan = answer.reply.status();
          }
        }
        return plans;
      });
}

Call<v1::GetExpertsReply> FleetAdmin::GetExperts(v1::GetExpertsRequest request,
                                                 base::SteadyTime deadline) {
  return Gather<v1::GetExpertsReply>(
      Workers(request.name()),
      [&](const auto& target, auto done) {
        return client_.GetExperts(target, request, {.deadline = deadline}, std::move(done));
      },
      JoinExperts);
}

Call<v1::ListProvidersReply> FleetAdmin::ListProviders(v1::ListProvidersRequest request,
                                                       base::SteadyTime deadline) {
  return Gather<v1::ListProvidersReply>(
      Workers(""),
      [&](const auto& target, auto done) {
        return client_.ListProviders(target, request, {.deadline = deadline}, std::move(done));
      },
      JoinProviders);
}

Call<v1::GetModelLogsReply> FleetAdmin::GetModelLogs(v1::GetModelLogsRequest request,
                                                     base::SteadyTime deadline) {
  return Gather<v1::GetModelLogsReply>(
      Workers(request.name()),
      [&](const auto& target, auto done) {
        return client_.GetModelLogs(target, request, {.deadline = deadline}, std::move(done));
      },
      [limit = request.limit()](auto answers) { return JoinLogs(std::move(answers), limit); });
}

Call<v1::ClearModelLogsReply> FleetAdmin::ClearModelLogs(v1::ClearModelLogsRequest request,
                                                         base::SteadyTime deadline) {
  return Gather<v1::ClearModelLogsReply>(
      Workers(request.name()),
      [&](const auto& target, auto done) {
        return client_.ClearModelLogs(target, request, {.deadline = deadline}, std::move(done));
      },
      JoinCleared);
}

absl::StatusOr<v1::KeepModelReply> JoinKept(std::vector<WorkerAnswer<v1::KeepModelReply>> answers) {
  v1::KeepModelReply joined;
  for (auto& answer : answers) {
    RETURN_IF_ERROR(answer.reply.status());
    joined.set_in_use(joined.in_use() || answer.reply->in_use());
    *joined.mutable_model() = std::move(*answer.reply->mutable_model());
  }
  return joined;
}

absl::StatusOr<v1::ListProvidersReply> JoinProviders(
    std::vector<WorkerAnswer<v1::ListProvidersReply>> answers) {
  RETURN_IF_ERROR(AnyOf(answers));
  std::map<std::string, v1::Provider> providers;
  std::map<std::string, std::set<std::string>> models;
  for (const auto& answer : answers) {
    if (!answer.reply.ok()) continue;
    for (const v1::Provider& provider : answer.reply->providers()) {
      JoinProvider(provider, &providers[provider.provider_id()], &models[provider.provider_id()]);
    }
  }
  v1::ListProvidersReply reply;
  for (auto& [id, provider] : providers) {
    provider.mutable_models()->Assign(models[id].begin(), models[id].end());
    *reply.add_providers() = std::move(provider);
  }
  return reply;
}

absl::StatusOr<v1::GetModelLogsReply> JoinLogs(
    std::vector<WorkerAnswer<v1::GetModelLogsReply>> answers, int limit) {
  RETURN_IF_ERROR(AnyOf(answers));
  std::vector<v1::LogEntry> entries;
  for (auto& answer : answers) {
    if (!answer.reply.ok()) continue;
    for (v1::LogEntry& entry : *answer.reply->mutable_entries()) {
      (*entry.mutable_fields())["worker"] = base::JsonQuote(answer.worker_id);
      entries.push_back(std::move(entry));
    }
  }
  std::stable_sort(entries.begin(), entries.end(),
                   [](const auto& a, const auto& b) { return a.ts_unix_ms() < b.ts_unix_ms(); });
  const size_t kept = limit > 0 ? std::min<size_t>(entries.size(), limit) : entries.size();
  v1::GetModelLogsReply reply;
  for (size_t i = entries.size() - kept; i < entries.size(); ++i) {
    *reply.add_entries() = std::move(entries[i]);
  }
  return reply;
}

absl::StatusOr<v1::ClearModelLogsReply> JoinCleared(
    std::vector<WorkerAnswer<v1::ClearModelLogsReply>> answers) {
  v1::ClearModelLogsReply reply;
  for (const auto& answer : answers) {
    RETURN_IF_ERROR(base::Annotate(answer.reply.status(), "worker " + answer.worker_id));
    reply.set_cleared(reply.cleared() + answer.reply->cleared());
  }
  return reply;
}

}  // namespace conclave::gateway
