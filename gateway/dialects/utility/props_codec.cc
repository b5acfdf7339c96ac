#include "gateway/dialects/utility/props_codec.h"

#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

#include "base/json.h"
#include "gateway/upstream/services.h"

namespace conclave::gateway::utility {
namespace {

using base::JsonDocument;
using base::JsonValue;
using base::JsonWriter;

// What llama-server shows for a seed that is drawn.
constexpr int64_t kDrawnSeed = std::numeric_limits<uint32_t>::max();

// What a request is sampled with that says nothing: what the model was made with (in Ollama's
// words), else what its file says, else the engine's own.
class Defaults final {
 public:
  explicit Defaults(const v1::ModelStatus& model)
      : metadata_(model.details().metadata()),
        made_with_(Parse(model.details().derived().parameters_json())) {}

  double Number(std::string_view name, std::string_view file_key, double fallback) const {
    constexpr double kMost = std::numeric_limits<double>::max();
    const auto read = [](JsonValue value) {
      return value.OptionalNumber(-kMost, kMost).value_or(std::nullopt);
    };
    return First<double>(name, file_key, read).value_or(fallback);
  }
  int64_t Int(std::string_view name, std::string_view file_key, int64_t fallback) const {
    using Limits = std::numeric_limits<int64_t>;
    const auto read = [](JsonValue value) {
      return value.OptionalInt(Limits::min(), Limits::max()).value_or(std::nullopt);
    };
    return First<int64_t>(name, file_key, read).value_or(fallback);
  }

 private:
  static absl::StatusOr<JsonDocument> Parse(const std::string& text) {
    return JsonDocument::Parse(text.empty() ? "{}" : text);
  }
  template <typename Value, typename Read>
  std::optional<Value> First(std::string_view name, std::string_view file_key, Read read) const {
    if (made_with_.ok()) {
      if (const std::optional<Value> value = read(made_with_->root().Get(name))) return value;
    }
    const auto found = metadata_.find("general.sampling." + std::string(file_key));
    if (file_key.empty() || found == metadata_.end()) return std::nullopt;
    const auto document = JsonDocument::Parse(found->second);
    return document.ok() ? read(document->root()) : std::nullopt;
  }

  const google::protobuf::Map<std::string, std::string>& metadata_;
  const absl::StatusOr<JsonDocument> made_with_;
};

void WriteOrder(JsonWriter& json) {
  json.Key("samplers");
  json.BeginArray();
  for (const std::string_view name :
       {"penalties", "temperature", "top_k", "typ_p", "top_p", "min_p"}) {
    json.String(name);
  }
  json.EndArray();
}

// What we do not have stands at its off.
void WriteParams(JsonWriter& json, const v1::ModelStatus& model) {
  const Defaults defaults(model);
  const int64_t most = defaults.Int("num_predict", "", -1);
  json.Key("params");
  json.BeginObject();
  json.Field("n_predict", most);
  json.Field("max_tokens", most);
  json.Field("seed", defaults.Int("seed", "", kDrawnSeed));
  json.Field("temperature", defaults.Number("temperature", "temp", 1));
  json.Field("dynatemp_range", 0);
  json.Field("dynatemp_exponent", 1);
  json.Field("top_k", defaults.Int("top_k", "top_k", 0));
  json.Field("top_p", defaults.Number("top_p", "top_p", 1));
  json.Field("min_p", defaults.Number("min_p", "min_p", 0));
  json.Field("top_n_sigma", -1);
  json.Field("xtc_probability", 0);
  json.Field("xtc_threshold", 1);
  json.Field("typical_p", defaults.Number("typical_p", "", 1));
  json.Field("repeat_last_n", defaults.Int("repeat_last_n", "", -1));
  json.Field("repeat_penalty", defaults.Number("repeat_penalty", "penalty_repeat", 1));
  json.Field("presence_penalty", defaults.Number("presence_penalty", "", 0));
  json.Field("frequency_penalty", defaults.Number("frequency_penalty", "", 0));
  json.Field("dry_multiplier", 0);
  json.Field("mirostat", 0);
  json.Field("n_keep", 0);
  json.Field("ignore_eos", false);
  json.Field("stream", false);
  json.Field("n_probs", 0);
  json.Field("min_keep", 0);
  WriteOrder(json);
  json.Key("lora");
  json.BeginArray();
  json.EndArray();
  json.EndObject();
}

void WriteModalities(JsonWriter& json) {
  json.Key("modalities");
  json.BeginObject();
  for (const std::string_view name : {"vision", "audio", "video"}) json.Field(name, false);
  json.EndObject();
}

// As the model's capabilities say; a template without the word has no place for a system message.
void WriteTemplateCaps(JsonWriter& json, const v1::ModelStatus& model) {
  const bool tools = Can(model, "tools");
  const bool has_template = !model.details().chat_template().empty();
  json.Key("chat_template_caps");
  json.BeginObject();
  json.Field("supports_string_content", has_template);
  json.Field("supports_typed_content", has_template);
  json.Field("supports_system_role",
             model.details().chat_template().find("system") != std::string::npos);
  json.Field("supports_tools", tools);
  json.Field("supports_tool_calls", tools);
  json.Field("supports_parallel_tool_calls", tools);
  json.Field("supports_preserve_reasoning", Can(model, "thinking"));
  json.EndObject();
}

void WriteServer(JsonWriter& json, const std::string& build) {
  WriteModalities(json);
  json.Field("endpoint_slots", true);
  json.Field("endpoint_props", false);  // not to be changed
  json.Field("endpoint_metrics", true);
  json.Field("build_info", build);
}

void WriteNextToken(JsonWriter& json, bool busy) {
  json.Key("next_token");
  json.BeginArray();
  json.BeginObject();
  json.Field("has_next_token", busy);
  json.EndObject();
  json.EndArray();
}

}  // namespace

std::string EncodeProps(const v1::ModelStatus& model, const v1::CountSlotsReply& slots,
                        const std::string& build) {
  JsonWriter json;
  json.BeginObject();
  json.Key("default_generation_settings");
  json.BeginObject();
  WriteParams(json, model);
  json.Field("n_ctx", model.context_length());
  json.EndObject();
  json.Field("total_slots", slots.total());
  json.Field("model_alias", model.name());
  json.Field("model_ftype", model.details().quantization());
  json.Field("model_path", model.name());  // where its file lies is the workers' own
  json.Field("chat_template", model.details().chat_template());
  WriteTemplateCaps(json, model);
  json.Field("bos_token", model.details().tokenizer().bos_token());
  json.Field("eos_token", model.details().tokenizer().eos_token());
  json.Field("is_sleeping", model.state() == v1::ModelStatus::STATE_UNLOADED);
  WriteServer(json, build);
  json.EndObject();
  return json.Take();
}

std::string EncodeRouterProps(int num_models, const std::string& build) {
  JsonWriter json;
  json.BeginObject();
  json.Field("role", "router");
  json.Field("max_instances", num_models);
  json.Field("models_autoload", true);
  json.Field("model_alias", "conclave");
  json.Field("model_path", "none");
  json.Key("default_generation_settings");
  json.BeginObject();
  json.RawField("params", "{}");
  json.Field("n_ctx", 0);
  json.EndObject();
  WriteServer(json, build);
  json.EndObject();
  return json.Take();
}

std::string EncodeSlots(const v1::ModelStatus& model, const v1::CountSlotsReply& slots) {
  JsonWriter json;
  json.BeginArray();
  for (int id = 0; id < slots.total(); ++id) {
    const bool busy = id < slots.busy();
    json.BeginObject();
    json.Field("id", id);
    json.Field("id_task", -1);  // requests have no numbers here
    json.Field("n_ctx", model.context_length());
    json.Field("speculative", false);
    json.Field("is_processing", busy);
    WriteParams(json, model);
    WriteNextToken(json, busy);
    json.EndObject();
  }
  json.EndArray();
  return json.Take();
}

}  // namespace conclave::gateway::utility
