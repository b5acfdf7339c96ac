#include "gateway/dialects/openai/embeddings_codec.h"

#include <bit>
#include <cstring>
#include <limits>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "base/strings.h"
#include "gateway/dialects/embedding_call.h"

namespace conclave::gateway::openai {
namespace {

using base::JsonValue;

constexpr size_t kInputsMax = 2048;
constexpr size_t kTokensMax = 1u << 20;
constexpr int64_t kDimensionsMax = 1 << 16;

absl::Status ReadTokens(JsonValue ids, v1::EmbedInput* out) {
  if (ids.size() == 0) return ids.Error("must not be empty");
  if (ids.size() > kTokensMax) return ids.Error("too many tokens");
  for (size_t i = 0; i < ids.size(); ++i) {
    ASSIGN_OR_RETURN(const int64_t id, ids.At(i).AsInt(0, std::numeric_limits<int32_t>::max()));
    out->mutable_token_ids()->add_ids(static_cast<int32_t>(id));
  }
  return absl::OkStatus();
}

// A string, strings, token ids, or lists of token ids.
absl::Status ReadInput(JsonValue input, v1::EmbedRequest* out) {
  if (input.is_string()) {
    ASSIGN_OR_RETURN(std::string text, input.AsString());
    out->add_inputs()->set_text(std::move(text));
    return absl::OkStatus();
  }
  if (!input.is_array()) {
    return input.Error(input.present() ? "expected string or array" : "required");
  }
  if (input.size() == 0) return input.Error("must not be empty");
  if (input.At(0).is_number()) return ReadTokens(input, out->add_inputs());
  if (input.size() > kInputsMax)
    return input.Error(absl::StrCat("at most ", kInputsMax, " inputs"));
  for (size_t i = 0; i < input.size(); ++i) {
    const JsonValue item = input.At(i);
    if (item.is_array()) {
      RETURN_IF_ERROR(ReadTokens(item, out->add_inputs()));
      continue;
    }
    ASSIGN_OR_RETURN(std::string text, item.AsString());
    out->add_inputs()->set_text(std::move(text));
  }
  return absl::OkStatus();
}

absl::Status ReadTruncate(JsonValue truncate, v1::EmbedRequest* out) {
  ASSIGN_OR_RETURN(const std::optional<std::string> name, truncate.OptionalString());
  if (!name) return absl::OkStatus();
  if (name == "none") {
    out->set_truncate(v1::EmbedRequest::TRUNCATE_NONE);
  } else if (name == "end") {
    out->set_truncate(v1::EmbedRequest::TRUNCATE_END);
  } else if (name == "start") {
    out->set_truncate(v1::EmbedRequest::TRUNCATE_START);
  } else {
    return truncate.Error("expected none, start or end");
  }
  return absl::OkStatus();
}

std::string LittleEndianBytes(const v1::EmbeddingVector& vector) {
  static_assert(std::endian::native == std::endian::little);
  std::string bytes(static_cast<size_t>(vector.values_size()) * sizeof(float), '\0');
  std::memcpy(bytes.data(), vector.values().data(), bytes.size());
  return bytes;
}

}  // namespace

std::string Base64(std::string_view bytes) { return absl::Base64Escape(base::Abs(bytes)); }

absl::StatusOr<EmbeddingsRequest> DecodeEmbeddingsRequest(std::string_view body) {
  ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(body));
  const JsonValue root = document.root();
  RETURN_IF_ERROR(root.ExpectObject());
  EmbeddingsRequest request;
  ASSIGN_OR_RETURN(std::string model, root.Get("model").AsString());
  request.embed.set_model(std::move(model));
  RETURN_IF_ERROR(ReadInput(root.Get("input"), &request.embed));
  const JsonValue format = root.Get("encoding_format");
  ASSIGN_OR_RETURN(const std::optional<std::string> format_name, format.OptionalString());
  request.base64 = format_name == "base64";
  if (format_name && format_name != "float" && format_name != "base64") {
    return format.Error("expected float or base64");
  }
  ASSIGN_OR_RETURN(const std::optional<int64_t> dimensions,
                   root.Get("dimensions").OptionalInt(1, kDimensionsMax));
  request.embed.set_dimensions(static_cast<int32_t>(dimensions.value_or(0)));
  RETURN_IF_ERROR(ReadTruncate(root.Get("truncate"), &request.embed));
  ASSIGN_OR_RETURN(const std::optional<bool> normalize, root.Get("normalize").OptionalBool());
  if (normalize) request.embed.set_normalize(*normalize);
  return request;
}

std::string EncodeEmbeddings(const std::string& model, const Embeddings& embeddings, bool base64) {
  base::JsonWriter json;
  json.BeginObject();
  json.Field("object", "list");
  json.Key("data");
  json.BeginArray();
  int index = 0;
  for (const v1::EmbeddingVector& vector : embeddings.vectors) {
    json.BeginObject();
    json.Field("object", "embedding");
    json.Field("index", index++);
    if (base64) {
      json.Field("embedding", Base64(LittleEndianBytes(vector)));
    } else {
      const std::span<const float> values(vector.values().data(),
                                          static_cast<size_t>(vector.values_size()));
      json.RawField("embedding", EncodeFloats(values));
    }
    json.EndObject();
  }
  json.EndArray();
  json.Field("model", model);
  json.Key("usage");
  json.BeginObject();
  json.Field("prompt_tokens", embeddings.usage.prompt_tokens());
  json.Field("total_tokens", embeddings.usage.prompt_tokens());
  json.EndObject();
  json.EndObject();
  return json.Take();
}

}  // namespace conclave::gateway::openai
