// Between messages and rows. The store's aggregates speak the messages of conclave.v1 as their
// plain structs: one more family of structs would say the same things again. A row keeps what SQL
// needs in columns (keys, times, status) and the rest of the message as JSON, readable with psql.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "conclave/v1/common.pb.h"
#include "google/protobuf/map.h"
#include "google/protobuf/message.h"

namespace conclave::store {

// "default" when the request names none.
std::string TenantOf(const conclave::v1::RequestMeta& meta);

// Proto JSON with the field names of the .proto files.
std::string ToJsonRow(const google::protobuf::Message& message);
// INTERNAL when a row does not hold such a message. Unknown fields are skipped: a newer replica may
// have written them.
absl::Status FromJsonRow(std::string_view json, google::protobuf::Message* message);

using StringMap = google::protobuf::Map<std::string, std::string>;
// An object of strings, keys in order.
std::string MapToJson(const StringMap& map);
absl::Status MapFromJson(std::string_view json, StringMap* map);

}  // namespace conclave::store
