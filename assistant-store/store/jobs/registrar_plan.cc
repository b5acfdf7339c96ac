#include "store/jobs/registrar_plan.h"

#include <map>

namespace conclave::store {
namespace {

namespace pb = conclave::v1;
using Kind = RegistrarAction::Kind;
using DesiredByName = std::map<std::string, const Registrations::Desired*>;

RegistrarAction ActionOn(const mesh::WorkerInfo& worker, Kind kind, const std::string& name,
                         const std::string& digest) {
  return {.kind = kind,
          .worker_id = worker.worker_id,
          .epoch = worker.epoch,
          .name = name,
          .digest = digest};
}

void PlanUnloads(const mesh::WorkerInfo& worker, const DesiredByName& desired,
                 std::vector<RegistrarAction>* plan) {
  for (const pb::ModelStatus& model : worker.models) {
    if (model.registration().empty() || model.state() == pb::ModelStatus::STATE_UNLOADING) continue;
    const auto found = desired.find(model.name());
    const bool wanted =
        found != desired.end() &&
        (found->second->busy ||
         (found->second->accepted && found->second->registration.digest() == model.registration()));
    if (wanted) continue;
    plan->push_back(ActionOn(worker, Kind::kUnload, model.name(), model.registration()));
  }
}

void PlanLoad(const mesh::WorkerInfo& worker, const pb::ModelRegistration& registration,
              std::vector<RegistrarAction>* plan) {
  const pb::ModelStatus* model = worker.FindModel(registration.name());
  RegistrarAction action =
      ActionOn(worker, Kind::kLoad, registration.name(), registration.digest());
  if (model != nullptr && model->registration().empty()) {
    action.kind = Kind::kYield;
    plan->push_back(std::move(action));
    return;
  }
  const bool failed = model != nullptr && model->state() == pb::ModelStatus::STATE_FAILED &&
                      model->registration() == registration.digest();
  if (model != nullptr && !failed) return;  // there, or about to be unloaded
  const bool waits_for_base =
      registration.has_derived() && worker.FindModel(registration.derived().base()) == nullptr;
  if (waits_for_base) return;
  action.registration = &registration;
  plan->push_back(std::move(action));
}

}  // namespace

std::vector<RegistrarAction> PlanFor(const mesh::Fleet& fleet,
                                     const std::vector<Registrations::Desired>& desired) {
  DesiredByName by_name;
  for (const auto& one : desired) by_name[one.registration.name()] = &one;
  std::vector<RegistrarAction> plan;
  for (const auto& worker : fleet.workers) {
    if (!worker->usable()) continue;
    PlanUnloads(*worker, by_name, &plan);
    for (const auto& one : desired) {
      if (one.accepted && !one.busy) PlanLoad(*worker, one.registration, &plan);
    }
  }
  return plan;
}

}  // namespace conclave::store
