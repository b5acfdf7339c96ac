#include "gateway/upstream/worker_admin.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "base/log.h"
#include "mesh/picker.h"

namespace conclave::gateway {
namespace {

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

absl::StatusOr<v1::CountSlotsReply> JoinSlots(
    std::vector<WorkerAnswer<v1::CountSlotsReply>> answers) {
  RETURN_IF_ERROR(AnyOf(answers));
  v1::CountSlotsReply joined;
  for (const auto& answer : answers) {
    if (!answer.reply.ok()) continue;
    joined.set_total(joined.total() + answer.reply->total());
    joined.set_busy(joined.busy() + answer.reply->busy());
  }
  return joined;
}

FleetAdmin::FleetAdmin(mesh::Discovery* inference, mesh::Discovery* embedding)
    : workers_(inference), embedding_(embedding), client_(inference) {
  if (embedding != nullptr) embedding_client_.emplace(embedding);
}

absl::StatusOr<std::vector<AskedWorker>> FleetAdmin::Workers(std::string_view model) {
  const auto fleet = workers_->fleet();
  std::vector<AskedWorker> asked;
  for (const auto& worker : fleet->workers) {
    if (!worker->usable()) continue;
    if (model.empty() || worker->FindModel(model) != nullptr) {
      asked.push_back({worker->worker_id, &client_});
    }
  }
  if (!asked.empty()) return asked;
  if (fleet->num_usable() == 0 || fleet->FindLostModel(model) != nullptr) {
    return base::WithReason(base::Unavailable("no worker is available"), "no_worker");
  }
  return base::WithParam(
      base::WithReason(base::NotFound("The model `" + std::string(model) + "` does not exist"),
                       "model_not_found"),
      "model");
}

absl::StatusOr<std::vector<AskedWorker>> FleetAdmin::Holders(std::string_view model) {
  absl::StatusOr<std::vector<AskedWorker>> inference = Workers(model);
  std::vector<AskedWorker> all = inference.ok() ? *inference : std::vector<AskedWorker>();
  if (embedding_client_) {
    const auto fleet = embedding_->fleet();
    for (const auto& worker : fleet->workers) {
      if (!worker->usable() || worker->FindModel(model) == nullptr) continue;
      all.push_back({worker->worker_id, &*embedding_client_});
    }
  }
  if (all.empty()) return inference;
  return all;
}

absl::StatusOr<std::vector<AskedWorker>> FleetAdmin::Pick(const std::string& model) {
  ASSIGN_OR_RETURN(const std::vector<AskedWorker> holders, Holders(model));
  const auto generates = mesh::Pick(*workers_->fleet(), {.model = model});
  if (generates.ok()) return std::vector<AskedWorker>{{(*generates)->worker_id, &client_}};
  if (embedding_client_) {
    const auto embeds = mesh::Pick(*embedding_->fleet(), {.model = model});
    if (embeds.ok()) return std::vector<AskedWorker>{{(*embeds)->worker_id, &*embedding_client_}};
  }
  // As last heard of it is on its way out, or has failed: its worker knows better.
  return std::vector<AskedWorker>{holders.front()};
}

Call<v1::KeepModelReply> FleetAdmin::KeepModel(v1::KeepModelRequest request,
                                               base::SteadyTime deadline) {
  const bool lets_go = request.has_keep_alive_ms() && request.keep_alive_ms() == 0;
  return Gather<v1::KeepModelReply>(
      lets_go ? Holders(request.name()) : Pick(request.name()),
      [&](mesh::ModelsClient& client, const auto& target, auto done) {
        return client.KeepModel(target, request, {.deadline = deadline}, std::move(done));
      },
      JoinKept);
}

Call<ModelPlans> FleetAdmin::PlanModel(v1::PlanModelRequest request, base::SteadyTime deadline) {
  return Gather<v1::PlanModelReply, ModelPlans>(
      Workers(request.model()),
      [&](mesh::ModelsClient& client, const auto& target, auto done) {
        return client.PlanModel(target, request, {.deadline = deadline}, std::move(done));
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
      [&](mesh::ModelsClient& client, const auto& target, auto done) {
        return client.GetExperts(target, request, {.deadline = deadline}, std::move(done));
      },
      JoinExperts);
}

Call<v1::CountSlotsReply> FleetAdmin::CountSlots(v1::CountSlotsRequest request,
                                                 base::SteadyTime deadline) {
  return Gather<v1::CountSlotsReply>(
      Workers(request.model()),
      [&](mesh::ModelsClient& client, const auto& target, auto done) {
        return client.CountSlots(target, request, {.deadline = deadline}, std::move(done));
      },
      JoinSlots);
}

Call<v1::ListProvidersReply> FleetAdmin::ListProviders(v1::ListProvidersRequest request,
                                                       base::SteadyTime deadline) {
  return Gather<v1::ListProvidersReply>(
      Workers(""),
      [&](mesh::ModelsClient& client, const auto& target, auto done) {
        return client.ListProviders(target, request, {.deadline = deadline}, std::move(done));
      },
      JoinProviders);
}

Call<v1::GetModelLogsReply> FleetAdmin::GetModelLogs(v1::GetModelLogsRequest request,
                                                     base::SteadyTime deadline) {
  return Gather<v1::GetModelLogsReply>(
      Workers(request.name()),
      [&](mesh::ModelsClient& client, const auto& target, auto done) {
        return client.GetModelLogs(target, request, {.deadline = deadline}, std::move(done));
      },
      [limit = request.limit()](auto answers) { return JoinLogs(std::move(answers), limit); });
}

Call<v1::ClearModelLogsReply> FleetAdmin::ClearModelLogs(v1::ClearModelLogsRequest request,
                                                         base::SteadyTime deadline) {
  return Gather<v1::ClearModelLogsReply>(
      Workers(request.name()),
      [&](mesh::ModelsClient& client, const auto& target, auto done) {
        return client.ClearModelLogs(target, request, {.deadline = deadline}, std::move(done));
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
