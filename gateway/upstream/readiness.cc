#include "gateway/upstream/readiness.h"

#include <algorithm>

namespace conclave::gateway {

std::string_view Readiness::why() const {
  if (draining) return "draining";
  if (!serves()) return models_loading > 0 ? "loading model" : "no model is served";
  if (store_wanted && !store_connected) return "the store is not reachable";
  return {};
}

Readiness ReadinessOf(const Services& services) {
  Readiness state;
  state.draining = services.draining();
  state.completion_wanted = services.completion_wanted;
  for (const v1::ModelStatus& model : services.models->List()) {
    // What is not in memory is loaded when it is asked for.
    const bool served = model.state() == v1::ModelStatus::STATE_READY ||
                        model.state() == v1::ModelStatus::STATE_UNLOADED;
    if (served) {
      ++state.models_ready;
      state.completion_ready |= Can(model, "completion");
    } else if (model.state() == v1::ModelStatus::STATE_LOADING) {
      ++state.models_loading;
      state.load_progress = std::max(state.load_progress, model.progress());
    }
  }
  state.store_wanted = services.store != nullptr;
  state.store_connected = state.store_wanted && services.store->Connected();
  return state;
}

}  // namespace conclave::gateway
