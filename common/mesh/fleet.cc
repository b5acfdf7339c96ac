#include "mesh/fleet.h"

#include <algorithm>
#include <map>

namespace conclave::mesh {
namespace {

namespace pb = conclave::v1;

// The state to show when workers disagree about a model: the most useful one.
int Rank(const pb::ModelStatus& model) {
  switch (model.state()) {
    case pb::ModelStatus::STATE_READY:
      return 4;
    case pb::ModelStatus::STATE_LOADING:
      return 3;
    case pb::ModelStatus::STATE_UNLOADED:
      return 2;
    case pb::ModelStatus::STATE_UNLOADING:
      return 1;
    default:
      return 0;
  }
}

}  // namespace

std::string_view WorkerHealthName(WorkerHealth health) {
  switch (health) {
    case WorkerHealth::kConnecting:
      return "connecting";
    case WorkerHealth::kFresh:
      return "fresh";
    case WorkerHealth::kSuspect:
      return "suspect";
    case WorkerHealth::kDead:
      return "dead";
  }
  return "unknown";
}

const pb::ModelStatus* WorkerInfo::FindModel(std::string_view name) const {
  for (const pb::ModelStatus& model : models) {
    if (model.name() == name) return &model;
  }
  for (const pb::ModelStatus& model : models) {
    if (std::find(model.aliases().begin(), model.aliases().end(), name) != model.aliases().end()) {
      return &model;
    }
  }
  return nullptr;
}

std::vector<pb::ModelStatus> Fleet::Models() const {
  std::map<std::string, const pb::ModelStatus*> by_name;
  for (const auto& worker : workers) {
    if (!worker->usable()) continue;
    for (const pb::ModelStatus& model : worker->models) {
      const pb::ModelStatus*& chosen = by_name[model.name()];
      if (chosen == nullptr || Rank(model) > Rank(*chosen)) chosen = &model;
    }
  }
  std::vector<pb::ModelStatus> models;
  models.reserve(by_name.size());
  for (const auto& [name, model] : by_name) models.push_back(*model);
  return models;
}

const pb::ModelStatus* Fleet::FindLostModel(std::string_view name) const {
  for (const auto& worker : workers) {
    if (worker->usable()) continue;
    if (const pb::ModelStatus* model = worker->FindModel(name); model != nullptr) return model;
  }
  return nullptr;
}

const WorkerInfo* Fleet::FindWorker(std::string_view worker_id) const {
  for (const auto& worker : workers) {
    if (worker->worker_id == worker_id) return worker.get();
  }
  return nullptr;
}

int Fleet::num_usable() const {
  return static_cast<int>(std::count_if(workers.begin(), workers.end(),
                                        [](const auto& worker) { return worker->usable(); }));
}

}  // namespace conclave::mesh
