// What llama-server's clients read of a server: GET /props and GET /slots.
#pragma once

#include <string>

#include "conclave/v1/models.pb.h"

namespace conclave::gateway::utility {

// Of the workers that serve a model, together. Other models of the same workers are in it.
struct SlotCount {
  int total = 0;
  int busy = 0;  // never above total
};

// Of one model, with all its details.
std::string EncodeProps(const v1::ModelStatus& model, SlotCount slots, const std::string& build);
// Where several models are served and none was named.
std::string EncodeRouterProps(int num_models, const std::string& build);
// One entry for each slot: which of them are busy, and nothing of what is in them.
std::string EncodeSlots(const v1::ModelStatus& model, SlotCount slots);

}  // namespace conclave::gateway::utility
