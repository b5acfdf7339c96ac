#include "gateway/dialects/openai/models_codec.h"

#include <string_view>

#include "base/json.h"
#include "gateway/dialects/openai/answer.h"
#include "gateway/dialects/registry.h"
#include "gateway/dialects/timestamps.h"

namespace conclave::gateway::openai {
namespace {

using base::JsonWriter;

// llama-server's words: what has failed is not loaded, and said to have failed beside.
std::string_view StateName(v1::ModelStatus::State state) {
  switch (state) {
    case v1::ModelStatus::STATE_LOADING:
      return "loading";
    case v1::ModelStatus::STATE_READY:
      return "loaded";
    default:
      return "unloaded";
  }
}

// In Llama Stack's words.
std::string_view ModelType(const v1::ModelStatus& model) {
  if (Can(model, "completion")) return "llm";
  if (Can(model, "embedding")) return "embedding";
  return Can(model, "rerank") ? "rerank" : "llm";
}

// Its loading has stages in llama-server; here it has one.
std::string LoadingProgress(double part) {
  constexpr std::string_view kStage = "text_model";
  JsonWriter json;
  json.BeginObject();
  json.Key("stages");
  json.BeginArray();
  json.String(kStage);
  json.EndArray();
  json.Field("current", kStage);
  json.Field("value", part);
  json.EndObject();
  return json.Take();
}

// Text alone goes in and out.
void WriteArchitecture(JsonWriter& json) {
  json.Key("architecture");
  json.BeginObject();
  for (const std::string_view side : {"input_modalities", "output_modalities"}) {
    json.RawField(side, R"(["text"])");
  }
  json.EndObject();
}

void WriteModel(JsonWriter& json, const v1::ModelStatus& model) {
  json.BeginObject();
  json.Field("id", model.name());
  json.Field("object", "model");
  json.Field("created", model.created_unix());
  json.Field("owned_by", "conclave");
  // Llama Stack's names for the same thing.
  json.Field("identifier", model.name());
  json.Field("provider_resource_id", ProviderModelIdOf(model));
  json.Field("provider_id", ProviderIdOf(model));
  json.Field("type", "model");
  json.Field("model_type", ModelType(model));
  json.Key("metadata");
  json.BeginObject();
  if (model.details().embedding_length() > 0) {
    // Where its clients look before they make a place for vectors.
    json.Field("embedding_dimension", model.details().embedding_length());
    json.Field("context_length", model.context_length());
  }
  json.EndObject();
  // Anthropic's.
  json.Field("display_name", model.name());
  json.Field("created_at", Rfc3339(model.created_unix() * 1000));
  json.Key("status");
  json.BeginObject();
  WriteState(json, "value", model);
  json.EndObject();
  WriteArchitecture(json);
  json.Key("aliases");
  json.BeginArray();
  for (const std::string& alias : model.aliases()) json.String(alias);
  json.EndArray();
  json.Key("meta");
  json.BeginObject();
  json.Field("n_ctx", model.context_length());
  json.Field("n_params", model.details().parameters());
  json.Field("n_vocab", model.details().vocab_size());
  json.Field("n_embd", model.details().embedding_length());
  json.Field("size", model.details().size_bytes());
  json.Field("quant", model.details().quantization());
  json.EndObject();
  json.EndObject();
}

}  // namespace

void WriteState(JsonWriter& json, std::string_view name, const v1::ModelStatus& model) {
  json.Field(name, StateName(model.state()));
  if (model.state() == v1::ModelStatus::STATE_FAILED) {
    json.Field("failed", true);
    json.Field("exit_code", 1);  // whatever it was: no process has ended
  }
  if (model.state() == v1::ModelStatus::STATE_LOADING) {
    json.RawField("progress", LoadingProgress(model.progress()));
  }
}

std::string EncodeModel(const v1::ModelStatus& model) {
  JsonWriter json;
  WriteModel(json, model);
  return json.Take();
}

std::string EncodeModelList(const std::vector<v1::ModelStatus>& models) {
  JsonWriter json;
  json.BeginObject();
  json.Field("object", "list");
  json.Key("data");
  json.BeginArray();
  for (const v1::ModelStatus& model : models) WriteModel(json, model);
  json.EndArray();
  // Anthropic's: there is one page.
  json.Field("has_more", false);
  TextOrNull(json, "first_id", !models.empty(), models.empty() ? "" : models.front().name());
  TextOrNull(json, "last_id", !models.empty(), models.empty() ? "" : models.back().name());
  json.EndObject();
  return json.Take();
}

}  // namespace conclave::gateway::openai
