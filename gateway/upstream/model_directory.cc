#include "gateway/upstream/model_directory.h"

#include <algorithm>
#include <span>
#include <utility>

#include "gateway/upstream/gathering.h"
#include "gateway/upstream/mesh_calls.h"

namespace conclave::gateway {
namespace {

// Adds the workers that may be asked.
void AddUsable(const mesh::Fleet& fleet, mesh::ModelsClient* client,
               std::vector<AskedWorker>* asked) {
  for (const auto& worker : fleet.workers) {
    if (worker->usable()) asked->push_back({worker->worker_id, client});
  }
}

// With what the usable workers have answered, one answer for each, in the order of AddUsable.
std::vector<v1::ModelStatus> ModelsOf(mesh::Fleet fleet,
                                      std::span<const WorkerAnswer<v1::ListModelsReply>> answers) {
  size_t next = 0;
  for (auto& worker : fleet.workers) {
    if (!worker->usable()) continue;
    const auto& reply = answers[next++].reply;
    if (!reply.ok()) continue;
    auto asked = std::make_shared<mesh::WorkerInfo>(*worker);
    asked->models.assign(reply->models().begin(), reply->models().end());
    worker = std::move(asked);
  }
  return fleet.Models();
}

// Without a store nothing is tried that is not to stay.
std::function<bool(const std::string&)> Registered(const RegisteredModels* registered) {
  if (registered != nullptr) return registered->Knower();
  return [](const std::string&) { return true; };
}

}  // namespace

FleetDirectory::FleetDirectory(mesh::Discovery* inference, mesh::Discovery* embedding,
                               const RegisteredModels* registered)
    : inference_(inference),
      embedding_(embedding),
      registered_(registered),
      inference_models_(inference) {
  if (embedding != nullptr) embedding_models_.emplace(embedding);
}

Call<v1::ListModelsReply> FleetDirectory::Describe(const std::string& name,
                                                   base::SteadyTime deadline) {
  bool generates = false;
  for (const v1::ModelStatus& model : inference_->fleet()->Models()) {
    generates = generates || model.name() == name;
  }
  mesh::ModelsClient& client =
      generates || !embedding_models_ ? inference_models_ : *embedding_models_;
  v1::ListModelsRequest request;
  request.set_with_details(true);
  return Unary<v1::ListModelsReply>([&](auto done) {
    return client.ListModels({.worker_id = "", .model = name}, request, {.deadline = deadline},
                             std::move(done));
  });
}

Call<v1::ListModelsReply> FleetDirectory::Ask(base::SteadyTime deadline) {
  const std::shared_ptr<const mesh::Fleet> inference = inference_->fleet();
  const std::shared_ptr<const mesh::Fleet> embedding =
      embedding_ == nullptr ? std::make_shared<const mesh::Fleet>() : embedding_->fleet();
  std::vector<AskedWorker> asked;
  AddUsable(*inference, &inference_models_, &asked);
  if (embedding_models_) AddUsable(*embedding, &*embedding_models_, &asked);
  return Gather<v1::ListModelsReply>(
      std::move(asked),
      [&](mesh::ModelsClient& client, const auto& target, auto done) {
        return client.ListModels(target, {}, {.deadline = deadline}, std::move(done));
      },
      [inference, embedding, is_registered = Registered(registered_)](
          auto answers) -> absl::StatusOr<v1::ListModelsReply> {
        const std::span<const WorkerAnswer<v1::ListModelsReply>> all(answers);
        const auto num_inference = static_cast<size_t>(inference->num_usable());
        v1::ListModelsReply reply;
        for (v1::ModelStatus& model :
             JoinModels(WithoutTried(ModelsOf(*inference, all.first(num_inference)), is_registered),
                        ModelsOf(*embedding, all.subspan(num_inference)))) {
          *reply.add_models() = std::move(model);
        }
        return reply;
      });
}

std::vector<v1::ModelStatus> FleetDirectory::List() const {
  std::vector<v1::ModelStatus> models =
      WithoutTried(inference_->fleet()->Models(), Registered(registered_));
  if (embedding_ == nullptr) return models;
  return JoinModels(std::move(models), embedding_->fleet()->Models());
}

std::vector<v1::WorkerState> FleetDirectory::Workers() const {
  std::vector<v1::WorkerState> workers;
  for (const mesh::Discovery* discovery : {inference_, embedding_}) {
    if (discovery == nullptr) continue;
    const auto fleet = discovery->fleet();
    for (const auto& worker : fleet->workers) {
      v1::WorkerState& state = workers.emplace_back();
      state.set_worker_id(worker->worker_id.empty() ? worker->address : worker->worker_id);
      state.set_epoch(worker->epoch);
      state.set_serving(worker->usable());
      state.set_draining(worker->draining);
      state.mutable_models()->Assign(worker->models.begin(), worker->models.end());
      *state.mutable_load() = worker->load;
    }
  }
  return workers;
}

std::optional<v1::ModelStatus> FleetDirectory::FindLost(std::string_view name) const {
  for (const mesh::Discovery* workers : {inference_, embedding_}) {
    if (workers == nullptr) continue;
    const auto fleet = workers->fleet();
    if (const auto* model = fleet->FindLostModel(name); model != nullptr) return *model;
  }
  return registered_ == nullptr ? std::nullopt : registered_->Find(name);
}

std::vector<v1::ModelStatus> WithoutTried(
    std::vector<v1::ModelStatus> models,
    const std::function<bool(const std::string& name)>& is_registered) {
  std::erase_if(models, [&](const v1::ModelStatus& model) {
    const bool tried = !model.registration().empty() && !model.has_details();
    return tried && !is_registered(model.name());
  });
  return models;
}

std::vector<v1::ModelStatus> JoinModels(std::vector<v1::ModelStatus> inference,
                                        std::vector<v1::ModelStatus> embedding) {
  for (v1::ModelStatus& model : embedding) {
    const auto same = std::find_if(inference.begin(), inference.end(),
                                   [&](const auto& other) { return other.name() == model.name(); });
    if (same == inference.end()) {
      inference.push_back(std::move(model));
      continue;
    }
    for (const std::string& word : model.capabilities()) {
      const auto& known = same->capabilities();
      if (std::find(known.begin(), known.end(), word) == known.end()) same->add_capabilities(word);
    }
  }
  std::sort(inference.begin(), inference.end(),
            [](const auto& a, const auto& b) { return a.name() < b.name(); });
  return inference;
}

}  // namespace conclave::gateway
