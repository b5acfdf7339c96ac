#include "gateway/dialects/coverage.h"

#include <algorithm>
#include <string>

#include "gateway/dialects/llama_stack/routes.h"
#include "gateway/dialects/openai/coverage.h"
#include "gateway/dialects/utility/routes.h"

namespace conclave::gateway::llama_stack {
namespace {

using enum Treatment;
using namespace schema;  // NOLINT(google-build-using-namespace): names of nothing but schemas

constexpr std::string_view kTools = R"("tools":[{"tool_name":"look"}])";
constexpr std::string_view kTopP = R"("sampling_params":{"strategy":{"type":"top_p"}})";
constexpr std::string_view kTopK = R"("sampling_params":{"strategy":{"type":"top_k","top_k":3}})";
constexpr std::string_view kFormats = R"({"enum":["json","function_tag","python_list"]})";
constexpr std::string_view kTemplates = "how a call is written is the model's template's to say";
constexpr std::string_view kEntries = R"({"type":"array","minItems":1,"maxItems":128})";
constexpr std::string_view kContent = "a string, a text item, or a list of both";
constexpr std::string_view kImage =
    R"([{"type":"image","image":{"url":{"uri":"http://169.254.169.254/"}}}])";
constexpr std::string_view kOther = R"([{"role":"user","content":"Other"}])";
constexpr std::string_view kCalled =
    R"([{"role":"user","content":"Hi"},{"role":"assistant","content":"","tool_calls":[{"call_id":"c","tool_name":"look","arguments":{"a":1}}]},{"role":"tool","call_id":"c","tool_name":"look","content":"1"}])";
constexpr std::string_view kThought =
    R"([{"role":"assistant","content":"x","reasoning_content":"y"},{"role":"user","content":"z"}])";

// ReadModel. The wires take each other's field.
constexpr auto kModel = std::to_array<Parameter>({
    {"model", kHonoured, kString, R"("pupil")", "or model_id", {}, true},
});
constexpr auto kModelId = std::to_array<Parameter>({
    {"model_id", kHonoured, kString, R"("pupil")", "or model", {}, true},
});

// ReadFlatStrategy, ReadTaggedStrategy.
constexpr auto kFlatStrategy = std::to_array<Parameter>({
    {"sampling_params.strategy", kHonoured, R"({"enum":["greedy","top_p","top_k"]})", R"("greedy")",
     "without one the temperature decides"},
    {"sampling_params.temperature", kHonoured, R"({"type":"number","minimum":0,"maximum":2})",
     "0.5", "0 when not given: greedy"},
    {"sampling_params.top_p", kHonoured, kFraction, "0.5", "0.95 when not given"},
    {"sampling_params.top_k", kHonoured, kCount, "5", "0: off"},
});
constexpr auto kTaggedStrategy = std::to_array<Parameter>({
    {"sampling_params.strategy", kHonoured, kObject,
     R"({"type":"top_p","temperature":0.5,"top_p":0.5})", "greedy when not given"},
    {"sampling_params.strategy.type", kHonoured, R"({"enum":["greedy","top_p","top_k"]})",
     R"("top_p")"},
    {"sampling_params.strategy.temperature", kHonoured,
     R"({"type":"number","exclusiveMinimum":0,"maximum":2})", "0.5", "of top_p", kTopP},
    {"sampling_params.strategy.top_p", kHonoured, kFraction, "0.5", "of top_p", kTopP},
    {"sampling_params.strategy.top_k", kHonoured, kPositive, "5", "of top_k", kTopK},
});

// ReadCommon, but for the model, the strategy and logprobs.
constexpr auto kShared = std::to_array<Parameter>({
    {"sampling_params.max_tokens", kHonoured, kCount, "5", "0: as much as fits"},
    {"sampling_params.repetition_penalty", kHonoured,
     R"({"type":"number","minimum":0.01,"maximum":10})", "1.1"},
    {"sampling_params.stop", kHonoured, kText, R"(["END"])", "at most 4"},
    {"sampling_params.seed", kHonoured, kInteger, "7", "no field of Llama Stack's"},
    {"response_format", kHonoured, kObject,
     R"({"type":"json_schema","json_schema":{"type":"object"}})",
     "json_schema, grammar; docs/structured-output.md"},
    {"response_format (grammar)", kHonoured, kObject,
     R"({"type":"grammar","bnf":"root ::= \"a\""})",
     "GBNF as text, as {\"grammar\": text}, or rules by name with a root"},
});
constexpr auto kLogprobs = std::to_array<Parameter>({
    {"logprobs", kHonoured, kObject, "{}", "of each token"},
    {"logprobs.top_k", kHonoured, R"({"type":"integer","minimum":0,"maximum":20})", "3",
     "so many others beside it"},
});
// The answers of these batches are messages and nothing beside them.
constexpr auto kNoLogprobs = std::to_array<Parameter>({
    {"logprobs", kRefused, kObject, "{\"top_k\":1}", "no place for them in the answer"},
});
constexpr auto kStream = std::to_array<Parameter>({
    {"stream", kHonoured, kBool, "true"},
});
constexpr auto kCommon = Join(kShared, kLogprobs, kStream);
// ReadMessages.
constexpr auto kMessages = std::to_array<Parameter>({
    {"messages", kHonoured, R"({"type":"array","minItems":1})", kOther, {}, {}, true},
    {"messages[].role", kHonoured, R"({"enum":["user","system","assistant","tool","ipython"]})",
     R"("system")"},
    {"messages[].content", kHonoured, kAny, R"([{"type":"text","text":"Other"}])", kContent},
    {"messages[].content (image)", kRefused, kArray, kImage, "nothing is fetched"},
    {"messages[].context", kHonoured, kAny, R"("More")", "of a user: put after the content"},
    {"messages (tool_calls)", kHonoured, kArray, kCalled},
    {"messages (reasoning_content)", kHonoured, kArray, kThought,
     "no field of Llama Stack's: given back to the model's template"},
});
// ReadToolFields.
constexpr auto kToolFields = std::to_array<Parameter>({
    {"tools", kIfModelCan, R"({"type":"array","maxItems":128})", R"([{"tool_name":"look"}])",
     "brave_search, wolfram_alpha, photogen and code_interpreter need no parameters; all are "
     "called, none is run"},
    {"tool_choice", kIfModelCan, kString, R"("required")",
     "auto, required, none, the name of a tool", kTools},
    {"tool_prompt_format", kIgnored, kFormats, R"("function_tag")", kTemplates},
    {"tool_config", kIfModelCan, kObject, R"({"tool_choice":"required"})",
     "must agree with the old fields", kTools},
    {"tool_config.tool_choice", kIfModelCan, kString, R"("required")", {}, kTools},
    {"tool_config.tool_prompt_format", kIgnored, kFormats, R"("function_tag")", kTemplates},
    {"tool_config.system_message_behavior", kRefused, R"({"enum":["append","replace"]})",
     R"("replace")", "append only"},
});
constexpr auto kChatOnly = Join(kMessages, kToolFields);
constexpr auto kMessagesBatch = std::to_array<Parameter>({
    {"messages_batch",
     kHonoured,
     kEntries,
     R"([[{"role":"user","content":"Other"}]])",
     "conversations, as messages above; answered in their order",
     {},
     true},
});
constexpr auto kContentBatch = std::to_array<Parameter>({
    {"content_batch",
     kHonoured,
     kEntries,
     R"(["Other","One"])",
     "contents, as content above; answered in their order",
     {},
     true},
});
constexpr auto kCompletionOnly = std::to_array<Parameter>({
    {"content", kHonoured, kAny, R"("Other")", kContent, {}, true},
    {"content (image)", kRefused, kArray, kImage, "nothing is fetched"},
});
constexpr auto kChat2024 = Join(kModel, kChatOnly, kFlatStrategy, kCommon);
constexpr auto kChatAlpha = Join(kModelId, kChatOnly, kFlatStrategy, kCommon);
constexpr auto kChat2025 = Join(kModelId, kChatOnly, kTaggedStrategy, kCommon);
constexpr auto kCompletion2024 = Join(kModel, kCompletionOnly, kFlatStrategy, kCommon);
constexpr auto kCompletionAlpha = Join(kModelId, kCompletionOnly, kFlatStrategy, kCommon);
constexpr auto kCompletion2025 = Join(kModelId, kCompletionOnly, kTaggedStrategy, kCommon);

constexpr auto kChatBatch2024 =
    Join(kModel, kMessagesBatch, kToolFields, kFlatStrategy, kShared, kNoLogprobs);
constexpr auto kChatBatchAlpha =
    Join(kModelId, kMessagesBatch, kToolFields, kFlatStrategy, kShared, kNoLogprobs);
constexpr auto kChatBatch2025 =
    Join(kModelId, kMessagesBatch, kToolFields, kTaggedStrategy, kShared, kLogprobs);
constexpr auto kCompletionBatch2024 =
    Join(kModel, kContentBatch, kFlatStrategy, kShared, kNoLogprobs);
constexpr auto kCompletionBatchAlpha =
    Join(kModelId, kContentBatch, kFlatStrategy, kShared, kNoLogprobs);
constexpr auto kCompletionBatch2025 =
    Join(kModelId, kContentBatch, kTaggedStrategy, kShared, kLogprobs);

constexpr auto kEmbeddingsOnly = std::to_array<Parameter>({
    {"contents",
     kHonoured,
     R"({"type":"array","minItems":1,"maxItems":2048})",
     R"(["a","b"])",
     kContent,
     {},
     true},
    {"contents (image)", kRefused, kArray, kImage, "nothing is fetched"},
    {"text_truncation", kHonoured, R"({"enum":["none","start","end"]})", R"("end")"},
    {"output_dimension", kHonoured, kPositive, "2", "cut, and made of length 1 again"},
    {"task_type", kIgnored, R"({"enum":["query","document"]})", R"("query")"},
});

constexpr auto kEmbedder = std::to_array<Parameter>({
    {"model", kHonoured, kString, R"("minilm2")", "or model_id", {}, true},
});
constexpr auto kEmbedderId = std::to_array<Parameter>({
    {"model_id", kHonoured, kString, R"("minilm2")", "or model", {}, true},
});
constexpr auto kEmbeddings2024 = Join(kEmbedder, kEmbeddingsOnly);
constexpr auto kEmbeddings = Join(kEmbedderId, kEmbeddingsOnly);

constexpr auto kRanking = std::to_array<Parameter>({
    {"model", kHonoured, kString, R"("ranker2")", {}, {}, true},
    {"query", kHonoured, kAny, R"("Other")", kContent, {}, true},
    {"items",
     kHonoured,
     R"({"type":"array","minItems":1,"maxItems":1024})",
     R"(["a","b","c"])",
     kContent,
     {},
     true},
    {"items (image_url)", kRefused, kArray,
     R"([{"type":"image_url","image_url":{"url":"http://169.254.169.254/"}}])",
     "nothing is fetched"},
    {"max_num_results", kHonoured, kPositive, "1", "all when not given"},
});

// Decode2024, Decode2025, DecodeName, Get.
constexpr auto kRegister2024 = std::to_array<Parameter>({
    {"model",
     kHonoured,
     kObject,
     R"({"identifier":"other","provider_id":"conclave"})",
     {},
     {},
     true},
    {"model.identifier", kHonoured, kString, R"("other")"},
    {"model.provider_id", kHonoured, kString, R"("web")"},
    {"model.llama_model", kHonoured, kString, R"("pupil")"},
    {"model.metadata", kHonoured, kObject, R"({"a":"b"})"},
});
constexpr auto kRegister = std::to_array<Parameter>({
    {"model_id", kHonoured, kString, R"("other")", {}, {}, true},
    {"provider_id", kHonoured, kString, R"("web")",
     "conclave, which is the workers themselves, when not given"},
    {"provider_model_id", kHonoured, kString, R"("pupil")", "the model_id when not given"},
    {"model_type", kHonoured, R"({"enum":["llm","embedding"]})", R"("embedding")"},
    {"metadata", kHonoured, kObject, R"({"a":"b"})", "kept as text"},
});
constexpr auto kUnregister2024 = std::to_array<Parameter>({
    {"identifier", kHonoured, kString, R"("other")", {}, {}, true},
    {"model_id", kHonoured, kString, R"("other")", "goes before identifier"},
});
constexpr auto kUnregisterAlpha = std::to_array<Parameter>({
    {"model_id", kHonoured, kString, R"("other")", "it or identifier is required"},
    {"identifier", kIgnored, kString, R"("other")", "read when model_id is not given"},
});
constexpr auto kGetModel = std::to_array<Parameter>({
    {"identifier", kHonoured, kString, "pupil", {}, {}, true},
    {"core_model_id", kIgnored, kString, "pupil",
     "the first clients' spelling, read when identifier is not given"},
});

constexpr std::string_view kSse = "text/event-stream";
constexpr std::string_view kChatSummary = "An answer to a conversation, whole or streamed";
constexpr std::string_view kChatBody =
    R"({"model_id":"teacher","messages":[{"role":"user","content":"Hi"}]})";
constexpr std::string_view kCompletionBody = R"({"model_id":"teacher","content":"Hi"})";
constexpr std::string_view kChatBatchSummary =
    "Answers to several conversations, in their order; the first that fails fails all";
constexpr std::string_view kCompletionBatchSummary =
    "What follows several texts, in their order; the first that fails fails all";
constexpr std::string_view kChatBatchBody =
    R"({"model_id":"teacher","messages_batch":[[{"role":"user","content":"Hi"}]]})";
constexpr std::string_view kCompletionBatchBody =
    R"({"model_id":"teacher","content_batch":["Hi"]})";
constexpr std::string_view kEmbedBody = R"({"model_id":"minilm","contents":["Hi"]})";
constexpr std::string_view kRankSummary = "How well each item answers a query, the best first";
constexpr std::string_view kRankBody = R"({"model":"ranker","query":"a","items":["a","b"]})";
constexpr std::string_view kRegisterBody = R"({"model_id":"fresh","provider_model_id":"teacher"})";
constexpr std::string_view kRegisterSummary =
    "Serve a model of a provider, or one under another "
    "name (administrators)";

constexpr auto kEndpoints = std::to_array<Endpoint>({
    {.method = "POST",
     .path = "/inference/chat_completion",
     .summary = kChatSummary,
     .body = R"({"model":"teacher","messages":[{"role":"user","content":"Hi"}]})",
     .parameters = kChat2024,
     .stream = kSse},
    {.method = "POST",
     .path = "/alpha/inference/chat-completion",
     .summary = kChatSummary,
     .body = kChatBody,
     .parameters = kChatAlpha,
     .stream = kSse},
    {.method = "POST",
     .path = "/v1/inference/chat-completion",
     .summary = kChatSummary,
     .body = kChatBody,
     .parameters = kChat2025,
     .stream = kSse},
    {.method = "POST",
     .path = "/alpha/inference/completion",
     .summary = "What follows a text, whole or streamed",
     .body = kCompletionBody,
     .parameters = kCompletionAlpha,
     .stream = kSse},
    {.method = "POST",
     .path = "/v1/inference/completion",
     .summary = "What follows a text, whole or streamed; with /v1 only",
     .body = kCompletionBody,
     .parameters = kCompletion2025,
     .stream = kSse,
     .has_no_twin = true},
    {.method = "POST",
     .path = "/inference/completion",
     .summary = "What follows a text, whole or streamed, on the wire of 2024; without /v1 only",
     .body = R"({"model":"teacher","content":"Hi"})",
     .parameters = kCompletion2024,
     .stream = kSse,
     .has_no_twin = true},
    {"POST", "/batch_inference/chat_completion", kChatBatchSummary,
     R"({"model":"teacher","messages_batch":[[{"role":"user","content":"Hi"}]]})", kChatBatch2024},
    {"POST", "/batch_inference/completion", kCompletionBatchSummary,
     R"({"model":"teacher","content_batch":["Hi"]})", kCompletionBatch2024},
    {"POST", "/alpha/batch-inference/chat-completion", kChatBatchSummary, kChatBatchBody,
     kChatBatchAlpha},
    {"POST", "/alpha/batch-inference/completion", kCompletionBatchSummary, kCompletionBatchBody,
     kCompletionBatchAlpha},
    {"POST", "/v1/inference/batch-chat-completion", kChatBatchSummary, kChatBatchBody,
     kChatBatch2025},
    {"POST", "/v1/inference/batch-completion", kCompletionBatchSummary, kCompletionBatchBody,
     kCompletionBatch2025},
    {"POST", "/alpha/inference/embeddings", "Vectors of texts", kEmbedBody, kEmbeddings},
    {.method = "POST",
     .path = "/v1/inference/embeddings",
     .summary = "Vectors of texts; with /v1 only",
     .body = kEmbedBody,
     .parameters = kEmbeddings,
     .has_no_twin = true},
    {.method = "POST",
     .path = "/inference/embeddings",
     .summary = "Vectors of texts, on the wire of 2024; without /v1 only",
     .body = R"({"model":"minilm","contents":["Hi"]})",
     .parameters = kEmbeddings2024,
     .has_no_twin = true},
    {"POST", "/v1/inference/rerank", kRankSummary, kRankBody, kRanking},
    {"POST", "/v1alpha/inference/rerank", kRankSummary, kRankBody, kRanking},
    {"GET", "/models/list", "The models that are served, in the form of 2024"},
    {.method = "GET",
     .path = "/models/get",
     .summary = "One model, or null, in the form of 2024",
     .query = kGetModel},
    {"POST", "/models/register", kRegisterSummary,
     R"({"model":{"identifier":"fresh","provider_id":"conclave","llama_model":"teacher"}})",
     kRegister2024},
    {"POST", "/models/unregister", "Take a registration back (administrators)",
     R"({"identifier":"fresh"})", kUnregister2024},
    {"GET", "/alpha/models/list", "The models that are served"},
    {.method = "GET",
     .path = "/alpha/models/get",
     .summary = "One model, or null",
     .query = kGetModel},
    {"POST", "/alpha/models/register", kRegisterSummary, kRegisterBody, kRegister},
    {"POST", "/alpha/models/unregister", "Take a registration back (administrators)",
     R"({"model_id":"fresh"})", kUnregisterAlpha},
    {"POST", "/v1/models", kRegisterSummary, kRegisterBody, kRegister},
    {"GET", "/providers/list", "The providers of the workers, by API"},
    {"GET", "/alpha/providers/list", "The same"},
    {"GET", "/v1/providers", "The providers of the workers, with their health"},
    {"GET", "/v1/providers/{provider}", "One provider"},
    {"GET", "/routes/list", "The routes of this server, by API"},
    {"GET", "/alpha/routes/list", "The same"},
    {"GET", "/v1/inspect/routes", "The routes of this server"},
    {"GET", "/alpha/health", "200 while the process runs"},
});

// The OpenAI layer: routes of other dialects under a second path, streams without [DONE].
constexpr std::string_view kLayer = "/v1/openai";
constexpr std::string_view kLayerFamilies[] = {
    "/batches", "/chat",        "/completions", "/embeddings",    "/files",
    "/models",  "/moderations", "/responses",   "/vector_stores",
};

// `path` without /v1.
bool InLayer(std::string_view path) {
  return std::any_of(std::begin(kLayerFamilies), std::end(kLayerFamilies), [&](auto family) {
    return path.substr(0, family.size()) == family &&
           (path.size() == family.size() || path[family.size()] == '/');
  });
}

struct Layer {
  Coverage coverage;
  std::vector<std::string> paths;  // what the rows' views point into
};

Layer MakeLayer() {
  constexpr std::string_view kV1 = "/v1";
  Layer layer;
  Coverage& all = layer.coverage;
  for (const Coverage& other : {openai::DialectCoverage(), utility::DialectCoverage()}) {
    for (const Endpoint& endpoint : other.endpoints) {
      const bool versioned = endpoint.path.substr(0, kV1.size()) == kV1;
      if (!versioned || !InLayer(endpoint.path.substr(kV1.size()))) continue;
      all.endpoints.push_back(endpoint);
      layer.paths.push_back(std::string(kLayer) + std::string(endpoint.path));
    }
    for (const Unserved& family : other.unserved) {
      if (!InLayer(family.path)) continue;
      all.unserved.push_back(family);
    }
  }
  for (const Unserved& family : all.unserved) {
    layer.paths.push_back(std::string(kLayer) + "/v1" + std::string(family.path));
  }
  // The texts have their places now.
  size_t next = 0;
  for (Endpoint& endpoint : all.endpoints) endpoint.path = layer.paths[next++];
  for (Unserved& family : all.unserved) family.path = layer.paths[next++];
  return layer;
}

}  // namespace

Coverage DialectCoverage() {
  static const Layer layer = MakeLayer();
  Coverage coverage{{kEndpoints.begin(), kEndpoints.end()}};
  const std::span<const Unserved> families = UnservedFamilies();
  coverage.unserved.assign(families.begin(), families.end());
  const Coverage& more = layer.coverage;
  coverage.endpoints.insert(coverage.endpoints.end(), more.endpoints.begin(), more.endpoints.end());
  coverage.unserved.insert(coverage.unserved.end(), more.unserved.begin(), more.unserved.end());
  return coverage;
}

}  // namespace conclave::gateway::llama_stack
