#include "mesh/worker_tracker.h"

#include <algorithm>

namespace conclave::mesh {

WorkerTracker::WorkerTracker(std::string address, std::shared_ptr<WorkerLink> link,
                             const WorkerTimes& times)
    : times_(times) {
  auto info = std::make_shared<WorkerInfo>();
  info->address = std::move(address);
  info->link = std::move(link);
  info->outstanding = std::make_shared<OutstandingWork>();
  info_ = std::move(info);
}

void WorkerTracker::OnConnect(base::SteadyTime now) {
  streaming_ = true;
  heard_on_stream_ = false;
  opened_ = now;
}

void WorkerTracker::OnState(const conclave::v1::WorkerState& state, base::SteadyTime now) {
  last_heard_ = now;
  heard_on_stream_ = true;
  failures_ = 0;
  auto info = std::make_shared<WorkerInfo>(*info_);
  info->worker_id = state.worker_id();
  info->epoch = state.epoch();
  info->health = WorkerHealth::kFresh;
  info->serving = state.serving();
  info->draining = state.draining();
  info->models.assign(state.models().begin(), state.models().end());
  info->load = state.load();
  // The report knows what was sent before it, give or take a message in flight.
  info->outstanding->reports.fetch_add(1);
  info->outstanding->unreported_calls.store(0);
  info->outstanding->unreported_tokens.store(0);
  info_ = std::move(info);
}

void WorkerTracker::OnStreamEnd(base::SteadyTime now) {
  streaming_ = false;
  if (!heard_on_stream_) ++failures_;
  // At once after a working stream (a renewed connection, a restart), then slower.
  std::chrono::milliseconds wait{0};
  if (failures_ > 0) {
    wait =
        std::min(times_.reconnect_max, times_.reconnect_min * (1 << std::min(failures_ - 1, 10)));
  }
  reconnect_at_ = now + wait;
  if (info_->health == WorkerHealth::kFresh) SetHealth(WorkerHealth::kSuspect);
  // It broke and cannot be reached again: nothing more to wait for.
  if (failures_ > 0 && info_->health == WorkerHealth::kSuspect) SetHealth(WorkerHealth::kDead);
}

bool WorkerTracker::Tick(base::SteadyTime now) {
  const WorkerHealth before = info_->health;
  const auto silence = now - last_heard_;
  if (before == WorkerHealth::kFresh && silence >= times_.suspect_after) {
    SetHealth(WorkerHealth::kSuspect);
  }
  if (info_->health == WorkerHealth::kSuspect && silence >= times_.dead_after) {
    SetHealth(WorkerHealth::kDead);
  }
  return info_->health != before;
}

bool WorkerTracker::stuck(base::SteadyTime now) const {
  return streaming_ && now - std::max(last_heard_, opened_) >= times_.dead_after;
}

void WorkerTracker::SetHealth(WorkerHealth health) {
  auto info = std::make_shared<WorkerInfo>(*info_);
  info->health = health;
  info_ = std::move(info);
}

}  // namespace conclave::mesh
