// What llama-server's clients read of a server: GET /props and GET /slots.
#pragma once

#include <string>

#include "conclave/v1/models.pb.h"
#include "conclave/v1/slots.pb.h"

namespace conclave::gateway::utility {

// Of one model, with all its details.
std::string EncodeProps(const v1::ModelStatus& model, const v1::CountSlotsReply& slots,
                        const std::string& build);
// Where several models are served and none was named.
std::string EncodeRouterProps(int num_models, const std::string& build);
// One entry for each slot: which of them are busy, and nothing of what is in them.
std::string EncodeSlots(const v1::ModelStatus& model, const v1::CountSlotsReply& slots);

}  // namespace conclave::gateway::utility
