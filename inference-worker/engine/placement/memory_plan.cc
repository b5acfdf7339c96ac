#include "engine/placement/memory_plan.h"

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "engine/placement/plan.h"

namespace conclave::engine {
namespace {

constexpr int32_t kShortContext = 64;    // the least that is served at all
constexpr int32_t kUsefulContext = 512;  // shorter ones are not proposed

int64_t BlockBytes(const MemoryNeeds& needs, const EngineOptions& options) {
  return options.kv_type == "f32" ? needs.block_bytes_f32 : needs.block_bytes_f16;
}

int64_t Without(int64_t whole, int64_t part) { return part >= whole ? 0 : whole - part; }

// What all but pinned and used models may take.
int64_t Reachable(const MemoryRoom& room) {
  return Without(room.budget, room.used - std::min(room.used, room.evictable));
}

std::string Mib(int64_t bytes) {
  char text[48];
  std::snprintf(text, sizeof text, "%.1f MiB", static_cast<double>(bytes) / (1 << 20));
  return text;
}

// The cache, and with it everything that depends on the options.
MemoryPlan PlanOnce(const MemoryNeeds& needs, const EngineOptions& options,
                    const MemoryRoom& room) {
  MemoryPlan plan{.needs = needs, .room = room};
  const int64_t block = std::max<int64_t>(BlockBytes(needs, options), 1);
  const int64_t fixed = needs.weight_bytes + needs.scratch_bytes;
  const absl::StatusOr<KvPlan> kv =
      PlanKv(options, {.model_context = needs.model_context,
                       .bytes_per_block = block,
                       .block_tokens = needs.block_tokens,
                       .available_bytes = Without(Reachable(room), fixed)});
  if (kv.ok()) {
    plan.context_length = kv->context_length;
    plan.kv_bytes = kv->kv_bytes;
  } else {
    plan.context_length = std::min(kShortContext, needs.model_context);
    plan.kv_bytes = (plan.context_length + needs.block_tokens - 1) / needs.block_tokens * block;
  }
  plan.kv_tokens = plan.kv_bytes / block * needs.block_tokens;
  plan.kv_bytes_per_token = block / needs.block_tokens;
  plan.total_bytes = fixed + plan.kv_bytes;
  plan.fits = kv.ok() && plan.total_bytes <= Reachable(room);
  plan.fits_now = plan.fits && plan.total_bytes <= Without(room.budget, room.used);
  return plan;
}

// What to change so that it fits, or comes nearer.
std::vector<MemoryPlan::Option> Propose(const MemoryNeeds& needs, const EngineOptions& options,
                                        const MemoryRoom& room, const MemoryPlan& plan) {
  std::vector<MemoryPlan::Option> found;
  const auto propose = [&](std::string setting, std::string value, const EngineOptions& changed) {
    const MemoryPlan other = PlanOnce(needs, changed, room);
    if (other.fits) found.push_back({std::move(setting), std::move(value), other.total_bytes});
  };
  if (options.kv_bytes > 0) {
    EngineOptions changed = options;
    changed.kv_bytes = 0;
    propose("kv_bytes", "0", changed);
  }
  if (options.kv_type == "f32") {
    EngineOptions changed = options;
    changed.kv_type = "f16";
    propose("kv_type", "f16", changed);
  }
  for (int32_t context = plan.context_length / 2; context >= kUsefulContext && found.empty();
       context /= 2) {
    EngineOptions changed = options;
    changed.context_length = context;
    if (changed.kv_bytes > 0) {
      changed.kv_bytes = int64_t{context} / needs.block_tokens * BlockBytes(needs, options);
    }
    propose("context_length", absl::StrCat(context), changed);
  }
  const int64_t others = room.used - std::min(room.used, room.evictable);
  found.push_back({"memory_budget", absl::StrCat(plan.total_bytes + others), plan.total_bytes});
  return found;
}

}  // namespace

MemoryPlan PlanMemory(const MemoryNeeds& needs, const EngineOptions& options,
                      const MemoryRoom& room) {
  MemoryPlan plan = PlanOnce(needs, options, room);
  if (!plan.fits) plan.options = Propose(needs, options, room, plan);
  return plan;
}

std::string MemoryPlan::ToString() const {
  std::string text = absl::StrCat(
      needs.architecture, " on ", needs.device, ", context ", context_length, "\n",  //
      "  weights   ", Mib(needs.weight_bytes), " packed (", Mib(needs.file_bytes), " in the file; ",
      Mib(needs.mapped_bytes), " read there, not counted)\n",  //
      "  kv        ", Mib(kv_bytes), " for ", kv_tokens, " tokens, ", kv_bytes_per_token,
      " bytes each\n",                                 //
      "  scratch   ", Mib(needs.scratch_bytes), "\n",  //
      "  total     ", Mib(total_bytes), " = ", total_bytes, " bytes\n");
  if (room.budget < std::numeric_limits<int64_t>::max()) {
    absl::StrAppend(&text, "  budget    ", Mib(room.budget), ", of which ", Mib(room.used),
                    " are used and ", Mib(room.evictable), " of these would make room\n");
  }
  absl::StrAppend(&text, "  ",
                  fits_now ? "fits"
                  : fits   ? "fits once others have gone"
                           : "does not fit",
                  "\n");
  for (const Option& option : options) {
    absl::StrAppend(&text, "  would fit with ", option.setting, " = ", option.value, ": ",
                    Mib(option.total_bytes), "\n");
  }
  return text;
}

}  // namespace conclave::engine
