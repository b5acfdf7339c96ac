#include "worker/use_options.h"

#include <algorithm>
#include <chrono>

#include "base/clock.h"

namespace conclave::worker {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kWaitMax = std::chrono::hours(1);
// Before the deadline there is time left to say that the model is still loading.
constexpr milliseconds kAnswerTime{100};

std::optional<int64_t> Optional(bool has, int64_t value) {
  return has ? std::optional(value) : std::nullopt;
}

}  // namespace

UseOptions UseOptionsFor(std::optional<int64_t> load_wait_ms, std::optional<int64_t> keep_alive_ms,
                         const grpc::CallbackServerContext& context) {
  milliseconds wait = kWaitMax;
  if (context.deadline() != std::chrono::system_clock::time_point::max()) {
    wait = std::min(wait, std::chrono::duration_cast<milliseconds>(
                              context.deadline() - std::chrono::system_clock::now()) -
                              kAnswerTime);
  }
  if (load_wait_ms) {
    const milliseconds wanted(std::clamp<int64_t>(*load_wait_ms, 0, kWaitMax.count()));
    wait = std::min(wait, wanted);
  }
  UseOptions options;
  options.wait_until = base::Clock::System().Now() + wait;
  if (keep_alive_ms) options.keep_alive = base::KeepAliveOfMillis(*keep_alive_ms);
  return options;
}

UseOptions UseOptionsOf(const conclave::v1::RequestMeta& meta,
                        const grpc::CallbackServerContext& context) {
  return UseOptionsFor(Optional(meta.has_load_wait_ms(), meta.load_wait_ms()),
                       Optional(meta.has_keep_alive_ms(), meta.keep_alive_ms()), context);
}

}  // namespace conclave::worker
