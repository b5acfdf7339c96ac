// Assistants v2: JSON → requests of the store. Shapes and types are checked here; lengths, ranges
// and what must go together are the store's to check, for every caller alike.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "conclave/v1/assistants.pb.h"
#include "conclave/v1/runs.pb.h"
#include "conclave/v1/threads.pb.h"
#include "gateway/http/request.h"

namespace conclave::gateway::openai {

// A body that is stored: an object without U+0000 anywhere. An empty body is an empty object.
absl::StatusOr<base::JsonDocument> ParseStoredBody(std::string_view body);

absl::StatusOr<v1::CreateAssistantRequest> DecodeCreateAssistant(base::JsonValue root);
absl::StatusOr<v1::ModifyAssistantRequest> DecodeModifyAssistant(base::JsonValue root);
absl::StatusOr<v1::CreateThreadRequest> DecodeCreateThread(base::JsonValue root);
absl::StatusOr<v1::ModifyThreadRequest> DecodeModifyThread(base::JsonValue root);
absl::StatusOr<v1::CreateMessageRequest> DecodeCreateMessage(base::JsonValue root);
absl::StatusOr<v1::ModifyMessageRequest> DecodeModifyMessage(base::JsonValue root);
// Unknown fields are refused: the API's schema of a run is closed.
absl::StatusOr<v1::CreateRunRequest> DecodeCreateRun(base::JsonValue root);
absl::StatusOr<v1::CreateThreadAndRunRequest> DecodeCreateThreadAndRun(base::JsonValue root);
absl::StatusOr<v1::ModifyRunRequest> DecodeModifyRun(base::JsonValue root);
absl::StatusOr<v1::SubmitToolOutputsRequest> DecodeSubmitToolOutputs(base::JsonValue root);

// limit, order, after, before of the query.
absl::StatusOr<v1::PageRequest> DecodePage(const Request& request);

}  // namespace conclave::gateway::openai
