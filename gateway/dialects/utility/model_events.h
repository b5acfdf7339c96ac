// What becomes of the models, as llama-server's router tells it to who listens (GET /models/sse).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "conclave/v1/models.pb.h"

namespace conclave::gateway::utility {

// Compares what is served with what was served when it was last asked. Owned by one stream.
class ModelEvents final {
 public:
  // `now` is what there is already, and no news.
  explicit ModelEvents(const std::vector<v1::ModelStatus>& now);

  // The events since, as they go out; empty when nothing has changed.
  std::string Since(const std::vector<v1::ModelStatus>& now);

 private:
  std::map<std::string, std::string> told_;  // of each model: the data of its last event
};

}  // namespace conclave::gateway::utility
