#include "worker/plan_request.h"

#include <algorithm>
#include <memory>
#include <string>

#include "base/status.h"
#include "engine/engine.h"
#include "engine/weights/model_file.h"
#include "worker/model_file.h"

namespace conclave::worker {
namespace {

namespace pb = conclave::v1;

absl::StatusOr<engine::EngineOptions> OptionsOf(const engine::EngineOptions& configured,
                                                const pb::PlanModelRequest& request) {
  engine::EngineOptions options = configured;
  if (request.context_length() < 0 || request.max_sequences() < 0 || request.kv_bytes() < 0) {
    return base::InvalidArgument("context_length, max_sequences, kv_bytes: must not be negative");
  }
  if (request.context_length() > 0) options.context_length = request.context_length();
  if (request.max_sequences() > 0) options.max_sequences = request.max_sequences();
  if (request.kv_bytes() > 0) options.kv_bytes = request.kv_bytes();
  if (!request.kv_type().empty()) options.kv_type = request.kv_type();
  RETURN_IF_ERROR(options.Validate());
  return options;
}

struct Subject {
  std::string path;
  int64_t held_bytes = 0;  // of `used`, by the model itself
  bool evictable = false;
};

absl::StatusOr<Subject> SubjectOf(const ModelHost& host, const pb::PlanModelRequest& request) {
  if (request.model().empty() == request.path().empty()) {
    return base::InvalidArgument("model, path: one of them says what is planned");
  }
  if (!request.path().empty()) {
    ASSIGN_OR_RETURN(const ModelFile file, CheckModelFile(request.path(), host.options().folders));
    return Subject{.path = file.path};
  }
  ASSIGN_OR_RETURN(std::shared_ptr<const HostedModel> model, host.Find(request.model()));
  if (!model->base().empty()) {
    ASSIGN_OR_RETURN(model, host.Find(model->base()));
  }
  if (model->backend_kind != "native") {
    return base::InvalidArgument("model: \"" + model->name + "\" has no weights here");
  }
  const ModelLife life = model->life();
  const bool idle = model->status().state == HostedModel::State::kReady && life.users == 0;
  return Subject{
      .path = model->file.path, .held_bytes = life.bytes, .evictable = idle && !life.pinned};
}

void Write(const engine::MemoryPlan& from, pb::MemoryPlan* to) {
  to->set_architecture(from.needs.architecture);
  to->set_device(from.needs.device);
  to->set_context_length(from.context_length);
  to->set_file_bytes(from.needs.file_bytes);
  to->set_weight_bytes(from.needs.weight_bytes);
  to->set_mapped_bytes(from.needs.mapped_bytes);
  to->set_kv_bytes_per_token(from.kv_bytes_per_token);
  to->set_kv_bytes(from.kv_bytes);
  to->set_kv_tokens(from.kv_tokens);
  to->set_scratch_bytes(from.needs.scratch_bytes);
  to->set_total_bytes(from.total_bytes);
  to->set_budget_bytes(from.room.budget);
  to->set_used_bytes(from.room.used);
  to->set_evictable_bytes(from.room.evictable);
  to->set_fits(from.fits);
  to->set_fits_now(from.fits_now);
  for (const engine::MemoryPlan::Option& option : from.options) {
    pb::MemoryPlan::Option* one = to->add_options();
    one->set_setting(option.setting);
    one->set_value(option.value);
    one->set_total_bytes(option.total_bytes);
  }
  to->set_text(from.ToString());
}

}  // namespace

absl::Status PlanFor(const ModelHost& host, const pb::PlanModelRequest& request,
                     pb::MemoryPlan* plan) {
  ASSIGN_OR_RETURN(const engine::EngineOptions options, OptionsOf(host.options().engine, request));
  ASSIGN_OR_RETURN(const Subject subject, SubjectOf(host, request));
  ASSIGN_OR_RETURN(const std::shared_ptr<const engine::ModelSource> source,
                   engine::OpenModelFile(subject.path));
  const ModelHost::Memory memory = host.memory();
  const engine::MemoryRoom room{
      .budget = memory.budget,
      .used = std::max<int64_t>(memory.used - subject.held_bytes, 0),
      .evictable =
          std::max<int64_t>(memory.evictable - (subject.evictable ? subject.held_bytes : 0), 0)};
  ASSIGN_OR_RETURN(const engine::PlannedModel planned, engine::PlanModel(source, options, room));
  Write(planned.plan, plan);
  return absl::OkStatus();
}

}  // namespace conclave::worker
