// Assistants v2: messages of the store → JSON. Every key of the API's objects is always there, null
// when empty, and `id` comes first.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "conclave/v1/assistants.pb.h"
#include "conclave/v1/runs.pb.h"
#include "conclave/v1/threads.pb.h"
#include "gateway/dialects/openai/answer.h"

namespace conclave::gateway::openai {

void Write(base::JsonWriter& json, const v1::Assistant& assistant);
void Write(base::JsonWriter& json, const v1::Thread& thread);
void Write(base::JsonWriter& json, const v1::Message& message);
void Write(base::JsonWriter& json, const v1::Run& run);
void Write(base::JsonWriter& json, const v1::RunStep& step);

template <typename Object>
std::string Encode(const Object& object) {
  base::JsonWriter json;
  Write(json, object);
  return json.Take();
}

// […]: a list as the profile kt-legacy has it.
template <typename ListReply>
std::string EncodeBareList(const ListReply& reply) {
  base::JsonWriter json;
  json.BeginArray();
  for (const auto& item : reply.data()) Write(json, item);
  json.EndArray();
  return json.Take();
}

// {"object":"list","data":[…],"first_id","last_id","has_more"}
template <typename ListReply>
std::string EncodeList(const ListReply& reply) {
  base::JsonWriter json;
  json.BeginObject();
  json.Field("object", "list");
  json.Key("data");
  json.BeginArray();
  for (const auto& object : reply.data()) Write(json, object);
  json.EndArray();
  TextOrNull(json, "first_id", !reply.page().first_id().empty(), reply.page().first_id());
  TextOrNull(json, "last_id", !reply.page().last_id().empty(), reply.page().last_id());
  json.Field("has_more", reply.page().has_more());
  json.EndObject();
  return json.Take();
}

// How a list is written for the request: bare in the profile kt-legacy.
template <typename ListReply>
auto ListEncoder(CompatProfile profile) -> std::string (*)(const ListReply&) {
  return profile == CompatProfile::kKtLegacy ? EncodeBareList<ListReply> : EncodeList<ListReply>;
}

// {"id","object":"<kind>.deleted","deleted":true}
std::string EncodeDeleted(const std::string& id, std::string_view object);

// The data of one streamed event.
std::string EncodeRunEventData(const v1::RunEvent& event);

bool IsTerminal(v1::RunStatus status);

}  // namespace conclave::gateway::openai
