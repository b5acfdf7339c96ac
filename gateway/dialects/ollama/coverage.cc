#include "gateway/dialects/coverage.h"

#include "gateway/dialects/ollama/routes.h"

namespace conclave::gateway::ollama {
namespace {

using enum Treatment;
using namespace schema;  // NOLINT(google-build-using-namespace): names of nothing but schemas

constexpr std::string_view kMachine = "where and how a model runs is the operator's";
constexpr std::string_view kTools =
    R"("tools":[{"type":"function","function":{"name":"look","parameters":{"type":"object"}}}])";

// ReadCommon: of chat and generate.
constexpr auto kCommon = std::to_array<Parameter>({
    {"model", kHonoured, kString, R"("pupil")", {}, {}, true},
    {"stream", kHonoured, kBool, "false", "true when not given"},
    {"format", kHonoured, kAny, R"("json")", "json, or a JSON schema: docs/structured-output.md"},
    {"think", kIfModelCan, kAny, "true"},
    {"logprobs", kHonoured, kBool, "true"},
    {"top_logprobs",
     kHonoured,
     R"({"type":"integer","minimum":0,"maximum":20})",
     "3",
     {},
     R"("logprobs":true)"},
    {"options.temperature", kHonoured, R"({"type":"number","minimum":0,"maximum":2})", "0.5",
     "0.8 when not given"},
    {"options.top_k", kHonoured, kInteger, "5", "40 when not given"},
    {"options.top_p", kHonoured, kFraction, "0.5", "0.9 when not given"},
    {"options.min_p", kHonoured, kFraction, "0.1"},
    {"options.seed", kHonoured, kInteger, "7", "-1: drawn"},
    {"options.num_predict", kHonoured, kInteger, "5", "-1 and -2: as much as fits"},
    {"options.repeat_penalty", kHonoured, R"({"type":"number","minimum":0.01,"maximum":10})",
     "1.1"},
    {"options.repeat_last_n", kHonoured, kInteger, "32"},
    {"options.presence_penalty", kHonoured, R"({"type":"number","minimum":-2,"maximum":2})", "0.5"},
    {"options.frequency_penalty", kHonoured, R"({"type":"number","minimum":-2,"maximum":2})",
     "0.5"},
    {"options.stop", kHonoured, kStrings, R"(["END"])", "at most 16"},
    {"options.typical_p", kHonoured, kFraction, "0.5"},
    {"options.num_keep", kIgnored, kInteger, "8", "nothing is shifted out of a context"},
    {"options.num_ctx", kIgnored, kInteger, "4096", kMachine},
    {"options.num_batch", kIgnored, kInteger, "64", kMachine},
    {"options.num_gpu", kIgnored, kInteger, "1", kMachine},
    {"options.main_gpu", kIgnored, kInteger, "1", kMachine},
    {"options.use_mmap", kIgnored, kBool, "false", kMachine},
    {"options.num_thread", kIgnored, kInteger, "2", kMachine},
    {"options.draft_num_predict", kIgnored, kInteger, "2", kMachine},
    {"truncate", kIgnored, kBool, "false", "a prompt that is too long is refused"},
    {"shift", kIgnored, kBool, "false", "an answer ends where the context does"},
    {"_debug_render_only", kIgnored, kBool, "true", "POST /apply-template renders"},
});
// An empty conversation or prompt only asks for the model to be there.
constexpr auto kKeepAlive = std::to_array<Parameter>({
    {"keep_alive", kHonoured, kAny, R"("5m")",
     "a duration, or seconds; 0: the model goes once nobody uses it, negative: it stays; "
     "a worker's pinned models stay whatever it says"},
});

constexpr auto kChat = Join(
    kCommon, kKeepAlive,
    std::to_array<Parameter>({
        {"messages", kHonoured, kArray, R"([{"role":"user","content":"Other"}])"},
        {"messages[].role", kHonoured, R"({"enum":["system","user","assistant","tool"]})",
         R"("system")"},
        {"messages[].thinking", kHonoured, kString, R"("hm")"},
        {"messages[].images", kRefused, kStrings, R"(["aGk="])"},
        {"messages[].tool_name", kHonoured, kString, R"("look")"},
        {"messages[].tool_call_id", kHonoured, kString, R"("call_1")"},
        {"messages[].tool_calls", kHonoured, kArray,
         R"([{"function":{"name":"look","arguments":{"a":1}}}])"},
        {"tools", kIfModelCan, kArray, R"([{"type":"function","function":{"name":"look"}}])"},
        {"tool_choice", kIfModelCan, kAny, R"("required")", "Ollama itself ignores it", kTools},
        {"parallel_tool_calls", kIfModelCan, kBool, "false", "no field of Ollama's", kTools},
    }));
constexpr auto kGenerate = Join(
    kCommon, kKeepAlive,
    std::to_array<Parameter>({
        {"prompt", kHonoured, kString, R"("Other")"},
        {"system", kHonoured, kString, R"("Be brief.")"},
        {"raw", kHonoured, kBool, "true"},
        {"context", kHonoured, kIds, "[1,2]", "deprecated by Ollama; given back by every answer"},
        {"suffix", kIfModelCan, kString, R"("x")",
         "the answer goes between prompt and it: models that can insert; without system, think and "
         "context",
         R"("model":"coder")"},
        {"images", kRefused, kStrings, R"(["aGk="])"},
        {"template", kRefused, kString, R"("{{ .Prompt }}")",
         "a template from a request is a program from a stranger"},
    }));

constexpr auto kEmbed = std::to_array<Parameter>({
    {"model", kHonoured, kString, R"("minilm2")", {}, {}, true},
    {"input", kHonoured, kText, R"(["a","b"])", "at most 2048"},
    {"truncate", kHonoured, kBool, "false", "false: 400 when a text is too long"},
    {"dimensions", kHonoured, kCount, "2", "0: the model's own"},
    {"options", kIgnored, kObject, R"({"num_ctx":512})", kMachine},
    {"keep_alive", kHonoured, kAny, R"("5m")",
     "without a text the model is only loaded, or with 0 unloaded"},
});
constexpr auto kOldEmbed = std::to_array<Parameter>({
    {"model", kHonoured, kString, R"("minilm2")", {}, {}, true},
    {"prompt", kHonoured, kString, R"("Other")"},
    {"options", kIgnored, kObject, R"({"num_ctx":512})", kMachine},
    {"keep_alive", kHonoured, kAny, R"("5m")",
     "without a text the model is only loaded, or with 0 unloaded"},
});
constexpr std::string_view kOldName = "the older spelling, read when model is not given";
constexpr auto kShow = std::to_array<Parameter>({
    {"model", kHonoured, kString, R"("pupil")", {}, {}, true},
    {"name", kIgnored, kString, R"("pupil")", kOldName},
    {"verbose", kIgnored, kBool, "true"},
    {"system", kIgnored, kString, R"("x")"},
    {"template", kIgnored, kString, R"("x")"},
    {"options", kIgnored, kObject, R"({"num_ctx":512})"},
});

constexpr std::string_view kExample = R"("messages":[{"role":"user","content":"Hi"}])";
constexpr auto kCreate = std::to_array<Parameter>({
    {"model", kHonoured, kString, R"("other")", {}, {}, true},
    {"name", kIgnored, kString, R"("other")", kOldName},
    {"stream", kHonoured, kBool, "false", "true when not given"},
    {"from", kHonoured, kString, R"("pupil")", "it or files is required"},
    {"files", kHonoured, kObject,
     R"({"b.gguf":"sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"})",
     "one GGUF file, by the digest it was uploaded under",
     R"("from":"","files":{"a.gguf":)"
     R"("sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"})"},
    {"files (several)", kRefused, kObject, R"({"a":"x","b":"y"})"},
    {"system", kHonoured, kString, R"("Be brief.")"},
    {"template", kHonoured, kString, R"("{{ messages }}")", "Go's, as Ollama has them, or Jinja"},
    {"parameters", kHonoured, kObject, R"({"top_k":3})"},
    {"messages", kHonoured, kArray, R"([{"role":"user","content":"Hi"}])",
     "in front of every conversation; at most 256"},
    {"messages[].role",
     kHonoured,
     R"({"enum":["system","user","assistant"]})",
     R"("assistant")",
     {},
     kExample},
    {"messages[].content", kHonoured, kString, R"("Other")", {}, kExample},
    {"license", kHonoured, kText, R"(["MIT"])", "at most 64"},
    {"quantize", kRefused, kString, R"("q4_K_M")", "conclave-quantize does it beforehand"},
    {"adapters", kRefused, kObject, R"({"a":"x"})"},
    {"draft_files", kRefused, kObject, R"({"a":"x"})"},
});
constexpr auto kCopy = std::to_array<Parameter>({
    {"source", kHonoured, kString, R"("pupil")", {}, {}, true},
    {"destination", kHonoured, kString, R"("other")", {}, {}, true},
});
constexpr auto kDelete = std::to_array<Parameter>({
    {"model", kHonoured, kString, R"("pupil")", {}, {}, true},
    {"name", kIgnored, kString, R"("pupil")", kOldName},
});
constexpr auto kPull = std::to_array<Parameter>({
    {"model", kHonoured, kString, R"("other")", {}, {}, true},
    {"name", kIgnored, kString, R"("other")", kOldName},
    {"stream", kHonoured, kBool, "false", "true when not given"},
    {"insecure", kIgnored, kBool, "true", "where models come from is the workers' configuration"},
});

constexpr std::string_view kNdjson = "application/x-ndjson";
constexpr auto kEndpoints = std::to_array<Endpoint>({
    {.method = "POST",
     .path = "/api/chat",
     .summary = "An answer to a conversation, streamed unless stream is false",
     .body = R"({"model":"teacher","messages":[{"role":"user","content":"Hi"}]})",
     .parameters = kChat,
     .stream = kNdjson},
    {.method = "POST",
     .path = "/api/generate",
     .summary = "An answer to a prompt, streamed unless stream is false",
     .body = R"({"model":"teacher","prompt":"Hi"})",
     .parameters = kGenerate,
     .stream = kNdjson},
    {"POST", "/api/embed", "Vectors of texts", R"({"model":"minilm","input":"Hi"})", kEmbed},
    {"POST", "/api/embeddings", "The raw vector of one text", R"({"model":"minilm","prompt":"Hi"})",
     kOldEmbed},
    {"POST", "/api/show", "One model in full", R"({"model":"teacher"})", kShow},
    {.method = "POST",
     .path = "/api/create",
     .summary = "Make a model from another or from an uploaded file (administrators)",
     .body = R"({"model":"fresh","from":"teacher"})",
     .parameters = kCreate,
     .stream = kNdjson},
    {.method = "POST",
     .path = "/api/copy",
     .summary = "Give a model a second name (administrators)",
     .body = R"({"source":"teacher","destination":"fresh"})",
     .parameters = kCopy,
     .answer = {}},
    {.method = "DELETE",
     .path = "/api/delete",
     .summary = "Remove a registered model (administrators)",
     .body = R"({"model":"teacher"})",
     .parameters = kDelete,
     .answer = {}},
    {.method = "HEAD",
     .path = "/api/blobs/{digest}",
     .summary = "Whether every worker that takes files has this one (administrators)",
     .answer = {}},
    {.method = "POST",
     .path = "/api/blobs/{digest}",
     .summary = "Upload a file, which is the body as it is, to the workers (administrators)",
     .answer = {}},
    {.method = "POST",
     .path = "/api/pull",
     .summary = "Have the workers fetch a model from where they are told to (administrators)",
     .body = R"({"model":"fresh"})",
     .parameters = kPull,
     .stream = kNdjson},
    {"GET", "/api/tags", "The models that are served"},
    {"GET", "/api/ps", "The models that are loaded"},
    {"GET", "/api/version", "The version of Ollama whose features are served"},
    {.method = "GET", .path = "/", .summary = "Ollama is running", .answer = "text/plain"},
});
constexpr Unserved kUnserved[] = {{"/api/push"}};

}  // namespace

Coverage DialectCoverage() {
  return {{kEndpoints.begin(), kEndpoints.end()},
          {std::begin(kUnserved), std::end(kUnserved)},
          "0.13.0"};
}

}  // namespace conclave::gateway::ollama
