#include "worker/model_life.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace conclave::worker {
namespace {

using std::chrono::milliseconds;

// Longer is for ever; it also keeps the sums below from overflowing.
constexpr milliseconds kLongest = std::chrono::hours(24 * 365 * 100);
constexpr milliseconds kInUseRetryAfter{5'000};

}  // namespace

void ModelLife::Touch(const base::Clock& clock) {
  last_used = clock.Now();
  const bool ends = !pinned && keep_alive >= milliseconds(0) && keep_alive <= kLongest;
  expires_at = ends ? last_used + keep_alive : base::SteadyTime::max();
  expires_unix_ms = ends ? clock.UnixMillis() + keep_alive.count() : 0;
}

void ModelLife::Begin(const base::Clock& clock) {
  ++users;
  Touch(clock);
}

void ModelLife::End(const base::Clock& clock) {
  --users;
  Touch(clock);
}

void ModelLife::Keep(milliseconds time, const base::Clock& clock) {
  if (pinned) return;
  keep_alive = time;
  Touch(clock);
}

absl::StatusOr<std::vector<size_t>> MakeRoom(std::span<const Resident> residents, int64_t budget,
                                             int64_t need) {
  int64_t held = 0, pinned = 0;
  std::vector<size_t> idle;
  for (size_t i = 0; i < residents.size(); ++i) {
    const ModelLife& life = *residents[i].life;
    held += life.bytes;
    if (life.pinned) pinned += life.bytes;
    if (residents[i].loaded && !life.pinned && life.users == 0 && life.bytes > 0) idle.push_back(i);
  }
  if (need > budget - pinned) {
    return base::WithReason(
        base::FailedPrecondition(absl::StrCat(
            "the model needs ", need, " bytes; this worker has ", budget, " for models",
            pinned > 0 ? absl::StrCat(", of which ", pinned, " are pinned") : "")),
        "model_too_large");
  }
  std::sort(idle.begin(), idle.end(), [&](size_t a, size_t b) {
    return residents[a].life->last_used < residents[b].life->last_used;
  });
  std::vector<size_t> going;
  for (const size_t i : idle) {
    if (need <= budget - held) break;
    held -= residents[i].life->bytes;
    going.push_back(i);
  }
  if (need <= budget - held) return going;
  return base::WithRetryAfter(
      base::WithReason(
          base::Unavailable(absl::StrCat("the model needs ", need, " bytes; ",
                                         std::max<int64_t>(budget - held, 0), " of ", budget,
                                         " are available while other models are in use")),
          "memory_in_use"),
      kInUseRetryAfter);
}

}  // namespace conclave::worker
