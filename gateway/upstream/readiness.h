// Whether requests sent now would be served: what /readyz, /health and the probe port answer from.
#pragma once

#include <string_view>

#include "gateway/upstream/services.h"

namespace conclave::gateway {

struct Readiness {
  bool draining = false;
  int models_ready = 0;
  int models_loading = 0;
  double load_progress = 0;  // of the loading model that is furthest
  // Where inference workers are configured an embedding model alone does not make a gateway ready.
  bool completion_wanted = false;
  bool completion_ready = false;
  bool store_wanted = false;
  bool store_connected = false;

  bool serves() const { return models_ready > 0 && (completion_ready || !completion_wanted); }
  bool ready() const { return !draining && serves() && (store_connected || !store_wanted); }
  std::string_view why() const;  // not ready; empty when it is
};

Readiness ReadinessOf(const Services& services);

}  // namespace conclave::gateway
