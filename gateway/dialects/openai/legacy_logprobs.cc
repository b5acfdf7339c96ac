#include "gateway/dialects/openai/legacy_logprobs.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/utf8.h"

namespace conclave::gateway::openai {
namespace {

using base::JsonWriter;

// Characters that begin in `bytes`: a character cut in two belongs to its first token.
int64_t CountCharacters(std::string_view bytes) {
  return std::count_if(bytes.begin(), bytes.end(),
                       [](char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; });
}

// The alternatives, and the token itself where it is not among them. Of tokens that read the same
// the most probable stands for all.
void WriteTop(JsonWriter& json, const v1::TokenLogprob& token) {
  std::set<std::string> seen;
  json.BeginObject();
  const auto write = [&](const v1::TokenLogprob& one) {
    const std::string text = LegacyTokenText(one.token());
    if (seen.insert(text).second) json.Field(text, static_cast<double>(one.logprob()));
  };
  for (const v1::TokenLogprob& other : token.top()) write(other);
  write(token);
  json.EndObject();
}

}  // namespace

std::string LegacyTokenText(std::string_view bytes) {
  if (base::IsValidUtf8(bytes)) return std::string(bytes);
  std::string text = "bytes:";
  for (const char byte : bytes) {
    absl::StrAppend(&text, "\\x", absl::Hex(static_cast<unsigned char>(byte), absl::kZeroPad2));
  }
  return text;
}

void LegacyLogprobs::Put(const v1::TokenLogprob& token, bool has_logprob) {
  tokens_.push_back({.token = token, .has_logprob = has_logprob, .offset = offset_});
  offset_ += CountCharacters(token.token());
}

void LegacyLogprobs::Write(JsonWriter& json) {
  const auto write_array = [&](std::string_view key, auto write) {
    json.Key(key);
    json.BeginArray();
    for (const Entry& entry : tokens_) write(entry);
    json.EndArray();
  };
  json.BeginObject();
  write_array("tokens",
              [&](const Entry& entry) { json.String(LegacyTokenText(entry.token.token())); });
  write_array("token_logprobs", [&](const Entry& entry) {
    if (!entry.has_logprob) return json.Null();
    json.Double(static_cast<double>(entry.token.logprob()));
  });
  write_array("top_logprobs", [&](const Entry& entry) {
    if (!entry.has_logprob) return json.Null();
    WriteTop(json, entry.token);
  });
  write_array("text_offset", [&](const Entry& entry) { json.Int(entry.offset); });
  json.EndObject();
  tokens_.clear();
}

}  // namespace conclave::gateway::openai
