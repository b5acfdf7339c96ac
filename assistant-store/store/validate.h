// The limits of the Assistants API, checked before anything is written. Errors are INVALID_ARGUMENT
// in the words of the OpenAI API, with the field as `param` and a stable reason
// ("string_above_max_length", …). `field` is the path as the caller wrote it: "metadata", "tools".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"
#include "conclave/v1/assistants.pb.h"
#include "conclave/v1/threads.pb.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "store/rows.h"

namespace conclave::store {

absl::Status InvalidField(std::string_view field, std::string_view reason, std::string_view what);
absl::Status MissingField(std::string_view field);

// At most `length_max` characters (code points), no U+0000: PostgreSQL text cannot hold it.
absl::Status CheckText(std::string_view field, std::string_view text, int64_t length_max);
// At most 16 pairs, keys of at most 64 and values of at most 512 characters.
absl::Status CheckMetadata(const StringMap& metadata);
absl::Status CheckRange(std::string_view field, double value, double min, double max);
absl::Status CheckTools(
    const google::protobuf::RepeatedPtrField<conclave::v1::AssistantTool>& tools, int count_max);
// JSON objects that pass through; empty = not given.
absl::Status CheckToolResources(std::string_view json);
absl::Status CheckResponseFormat(std::string_view json);
// "none", "auto", "required", or an object that names one of `tools`.
absl::Status CheckToolChoice(
    std::string_view json,
    const google::protobuf::RepeatedPtrField<conclave::v1::AssistantTool>& tools);
absl::Status CheckReasoningEffort(std::string_view effort);

// A whole assistant as it would be stored.
absl::Status CheckAssistant(const conclave::v1::Assistant& assistant);
// A message as a caller gives it: role, content, attachments, metadata. `field` is put in front of
// the names of its parts: "" or "messages[2].".
absl::Status CheckMessage(std::string_view field, const conclave::v1::Message& message);

}  // namespace conclave::store
