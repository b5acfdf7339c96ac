#include "gateway/dialects/openai/models_codec.h"

#include <string_view>

#include "base/json.h"
#include "gateway/dialects/registry.h"

namespace conclave::gateway::openai {
namespace {

using base::JsonWriter;

std::string_view StateName(v1::ModelStatus::State state) {
  switch (state) {
    case v1::ModelStatus::STATE_LOADING:
      return "loading";
    case v1::ModelStatus::STATE_READY:
      return "loaded";
    case v1::ModelStatus::STATE_FAILED:
      return "failed";
    default:
      return "unloaded";
  }
}

bool IsEmbedding(const v1::ModelStatus& model) {
  return Can(model, "embedding") && !Can(model, "completion");
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
  json.Field("model_type", IsEmbedding(model) ? "embedding" : "llm");
  json.Key("metadata");
  json.BeginObject();
  json.EndObject();
  json.Field("status", StateName(model.state()));
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
  json.EndObject();
  return json.Take();
}

}  // namespace conclave::gateway::openai
