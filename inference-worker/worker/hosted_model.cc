#include "worker/hosted_model.h"

#include <utility>

namespace conclave::worker {

const std::string& HostedModel::base() const {
  static const std::string none;
  return derived ? derived->base : none;
}

HostedModel::Status HostedModel::StatusLocked() const {
  Status status = status_;
  if (status.state != State::kReady) return status;
  status.error = backend_->health();
  if (!status.error.ok()) status.state = State::kFailed;
  return status;
}

HostedModel::Status HostedModel::status() const {
  const std::lock_guard lock(core_->mutex);
  return StatusLocked();
}

ModelLife HostedModel::life() const {
  const std::lock_guard lock(core_->mutex);
  return Root().life_;
}

std::shared_ptr<const backends::Backend> HostedModel::backend() const {
  const std::lock_guard lock(core_->mutex);
  return backend_;
}

std::shared_ptr<const backends::ModelDetails> HostedModel::details() const {
  const std::lock_guard lock(core_->mutex);
  return details_;
}

ModelLease::ModelLease(std::shared_ptr<HostedModel> model)
    : model_(std::move(model)), backend_(model_->backend_.get()) {
  const base::Clock& clock = *model_->core_->clock;
  model_->life_.Begin(clock);
  if (model_->root_ != nullptr) model_->root_->life_.Begin(clock);
}

ModelLease& ModelLease::operator=(ModelLease&& other) noexcept {
  if (this == &other) return *this;
  End();
  model_ = std::move(other.model_);
  backend_ = other.backend_;
  return *this;
}

void ModelLease::End() {
  if (model_ == nullptr) return;
  const std::shared_ptr<HostedModel> model = std::exchange(model_, nullptr);
  HostCore& core = *model->core_;
  const std::lock_guard lock(core.mutex);
  model->life_.End(*core.clock);
  if (model->root_ != nullptr) model->root_->life_.End(*core.clock);
  core.KickLocked();
}

}  // namespace conclave::worker
