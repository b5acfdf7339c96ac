#include "engine/run/expert_balancer.h"

#include <algorithm>
#include <span>
#include <utility>

#include "base/log.h"

namespace conclave::engine {
namespace {

constexpr int64_t kCountsPerHalfLife = 64;
constexpr int64_t kPatience = 1024;  // intervals before a driver that keeps refusing is asked again

}  // namespace

ExpertBalancer::ExpertBalancer(ExpertMover* mover, const BalancerOptions& options)
    : mover_(mover),
      options_(options),
      interval_(std::max<int64_t>(1, options.half_life / kCountsPerHalfLife)),
      hotness_(static_cast<double>(options.half_life)),
      plan_after_(interval_) {
  if (mover_ != nullptr) device_ = mover_->DeviceExperts();
  stats_.moves = mover_ != nullptr && options.moves;
}

absl::Status ExpertBalancer::AfterStep(int64_t rows) {
  if (mover_ == nullptr) return absl::OkStatus();
  uncounted_ += rows;
  unplanned_ += rows;
  // What was chosen up to an exchange was chosen from where experts were before it.
  if (!mover_->idle() || uncounted_ >= interval_) RETURN_IF_ERROR(Count());
  if (!stats_.moves) return absl::OkStatus();
  RETURN_IF_ERROR(Arrive());
  return Move();
}

absl::Status ExpertBalancer::Count() {
  ASSIGN_OR_RETURN(const ExpertCounts chosen, mover_->TakeCounts());
  for (size_t layer = 0; layer < chosen.size(); ++layer) {
    for (const int64_t count : chosen[layer]) stats_.selections_total += count;
    for (const int32_t e : device_[layer]) {
      stats_.device_selections_total += chosen[layer][static_cast<size_t>(e)];
    }
  }
  hotness_.Add(std::exchange(uncounted_, 0), chosen);
  stats_.device_share = hotness_.ShareOf(device_);
  ++version_;
  return absl::OkStatus();
}

absl::Status ExpertBalancer::Arrive() {
  if (mover_->idle()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const int64_t arrived, mover_->Finish());
  if (arrived == 0) return absl::OkStatus();
  stats_.exchanges_total += arrived;
  device_ = mover_->DeviceExperts();
  stats_.device_share = hotness_.ShareOf(device_);
  ++version_;
  return absl::OkStatus();
}

absl::Status ExpertBalancer::Move() {
  // A new plan knows where all experts are.
  if (next_ == planned_.size() && mover_->idle() && unplanned_ >= plan_after_) {
    unplanned_ = 0;
    planned_ = PlanExchanges(hotness_.values(), device_);
    next_ = 0;
  }
  if (next_ == planned_.size() || !mover_->ready()) return absl::OkStatus();
  const auto rest = std::span(planned_).subspan(next_);
  const absl::StatusOr<int64_t> started = mover_->Start(rest);
  if (absl::IsAborted(started.status())) {
    Refused(started.status());
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(started.status());
  plan_after_ = interval_;
  next_ += static_cast<size_t>(*started);
  for (const ExpertExchange& exchange : rest.first(static_cast<size_t>(*started))) {
    stats_.bytes_moved_total += 2 * mover_->ExpertBytes(exchange.layer);
  }
  return absl::OkStatus();
}

// Experts stay where they are, and it is tried again more and more rarely.
void ExpertBalancer::Refused(const absl::Status& status) {
  if (stats_.refused_total++ == 0) {
    base::LogWarning("experts do not change places", {{"error", status.ToString()}});
  }
  planned_.clear();
  next_ = 0;
  plan_after_ = std::min(plan_after_ * 2, interval_ * kPatience);
}

}  // namespace conclave::engine
