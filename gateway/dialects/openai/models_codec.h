// GET /v1/models and /v1/models/{model}: one object that OpenAI's and Llama Stack's clients both
// read.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "conclave/v1/models.pb.h"

namespace conclave::gateway::openai {

std::string EncodeModel(const v1::ModelStatus& model);
// llama-server's word for the model's state under `name`; and whether it failed, and how far it is.
void WriteState(base::JsonWriter& json, std::string_view name, const v1::ModelStatus& model);

std::string EncodeModelList(const std::vector<v1::ModelStatus>& models);

}  // namespace conclave::gateway::openai
