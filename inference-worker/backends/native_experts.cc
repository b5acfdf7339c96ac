#include "backends/native_experts.h"

#include <utility>

namespace conclave::backends {

ExpertReport ReportExperts(const engine::Engine& engine) {
  const engine::ExpertStats stats = engine.Stats().experts;
  ExpertReport report{.device = engine.info().device,
                      .plan = engine.info().placement,
                      .moves = stats.moves,
                      .selections = stats.selections_total,
                      .device_selections = stats.device_selections_total,
                      .device_share = stats.device_share,
                      .exchanges = stats.exchanges_total,
                      .moved_bytes = stats.bytes_moved_total,
                      .refused = stats.refused_total,
                      .layers = {}};
  engine::ExpertTable table = engine.Experts();
  for (size_t i = 0; i < table.device.size() && i < table.hotness.size(); ++i) {
    if (table.hotness[i].empty()) continue;
    report.layers.push_back({.layer = static_cast<int32_t>(i),
                             .device_experts = std::move(table.device[i]),
                             .hotness = std::move(table.hotness[i])});
  }
  return report;
}

}  // namespace conclave::backends
