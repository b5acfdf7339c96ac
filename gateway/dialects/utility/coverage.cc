#include "gateway/dialects/coverage.h"

#include "gateway/dialects/utility/routes.h"

namespace conclave::gateway::utility {
namespace {

using enum Treatment;
using namespace schema;  // NOLINT(google-build-using-namespace): names of nothing but schemas

constexpr std::string_view kTools =
    R"("tools":[{"type":"function","function":{"name":"look","parameters":{"type":"object"}}}])";
constexpr std::string_view kLlama = R"("content":"Hi")";
constexpr std::string_view kChatInput = R"("messages":[{"role":"user","content":"Hi"}])";
constexpr std::string_view kTei = R"("texts":["a","b"])";
constexpr std::string_view kAnyModel = "needed only where several models are served";

// openai::ReadConversation.
constexpr auto kConversation = std::to_array<Parameter>({
    {"model", kHonoured, kString, R"("pupil")", kAnyModel},
    {"messages", kHonoured, kArray, R"([{"role":"user","content":"Other"}])", {}, {}, true},
    {"tools", kIfModelCan, kArray, R"([{"type":"function","function":{"name":"look"}}])"},
    {"tool_choice", kIfModelCan, kAny, R"("none")", {}, kTools},
    {"parallel_tool_calls", kIfModelCan, kBool, "false", {}, kTools},
    {"chat_template_kwargs", kHonoured, kObject, R"({"enable_thinking":false})"},
    {"reasoning_effort", kIfModelCan, kString, R"("low")"},
    {"thinking_budget", kIfModelCan, R"({"type":"integer","minimum":0,"maximum":1073741824})",
     "256"},
    {"add_generation_prompt", kHonoured, kBool, "false"},
    {"continue_final_message", kHonoured, kBool, "true"},
    {"functions", kIfModelCan, kArray, R"([{"name":"look"}])"},
    {"function_call", kIfModelCan, kAny, R"("none")", {}, R"("functions":[{"name":"look"}])"},
});

constexpr auto kTokenize = std::to_array<Parameter>({
    {"model", kHonoured, kString, R"("pupil")", kAnyModel},
    {"prompt",
     kHonoured,
     kString,
     R"("Other")",
     "or messages, or llama-server's content",
     {},
     true},
    {"add_special_tokens", kHonoured, kBool, "false", "of prompt; true when not given"},
    {"return_token_strs", kHonoured, kBool, "true"},
    {"messages", kHonoured, kArray, R"([{"role":"user","content":"Other"}])"},
    {"add_special_tokens (messages)", kIgnored, kBool, "true",
     "the template has its special tokens in it", kChatInput},
    {"add_generation_prompt", kHonoured, kBool, "false", {}, kChatInput},
    {"continue_final_message", kHonoured, kBool, "true", {}, kChatInput},
    {"chat_template", kRefused, kString, R"("{{ messages }}")", {}, kChatInput},
    {"chat_template_kwargs", kHonoured, kObject, R"({"enable_thinking":false})", {}, kChatInput},
    {"tools",
     kIfModelCan,
     kArray,
     R"([{"type":"function","function":{"name":"look"}}])",
     {},
     kChatInput},
    {"content", kHonoured, kString, R"("Other")", "llama-server's prompt"},
    {"add_special", kHonoured, kBool, "true", "of content; false when not given", kLlama},
    {"parse_special", kHonoured, kBool, "false", "of content; true when not given", kLlama},
    {"with_pieces", kHonoured, kBool, "true", "of content", kLlama},
});
constexpr auto kDetokenize = std::to_array<Parameter>({
    {"model", kHonoured, kString, R"("pupil")", kAnyModel},
    {"tokens", kHonoured, kIds, "[7,8]", {}, {}, true},
});
constexpr auto kRenderText = std::to_array<Parameter>({
    {"model", kHonoured, kString, R"("pupil")", kAnyModel},
    {"prompt", kHonoured, kString, R"("Other")", {}, {}, true},
});

// DecodeInfillRequest.
constexpr std::string_view kHeld = "the same as in completions; docs/structured-output.md";
constexpr auto kInfill = std::to_array<Parameter>({
    {"model", kHonoured, kString, R"("coder2")", "needed where several models can insert"},
    {"input_prefix", kHonoured, kString, R"("other")", {}, {}, true},
    {"input_suffix", kHonoured, kString, R"("other")", {}, {}, true},
    {"prompt", kHonoured, kString, R"("x = ")", "the line up to the gap: put behind input_prefix"},
    {"input_extra", kHonoured, R"({"type":"array","maxItems":256})",
     R"([{"filename":"a.cc","text":"int a;"}])",
     "files in front; with the model's marks for them where it has such"},
    {"n_predict", kHonoured, R"({"type":"integer","minimum":-1})", "5",
     "-1: as much as fits; 0: the prompt is only read"},
    {"stream", kHonoured, kBool, "true"},
    {"return_tokens", kHonoured, kBool, "true", "a stream has them anyway"},
    {"response_fields", kHonoured, kStrings, R"(["content","timings/prompt_n"])",
     "paths in the last object; all of it when not given"},
    {"n_probs", kHonoured, R"({"type":"integer","minimum":0,"maximum":20})", "2"},
    {"temperature", kHonoured, R"({"type":"number","minimum":0,"maximum":2})", "0.5"},
    {"top_p", kHonoured, kFraction, "0.5"},
    {"top_k", kHonoured, R"({"type":"integer","minimum":-1})", "5"},
    {"min_p", kHonoured, kFraction, "0.1"},
    {"typical_p", kHonoured, kFraction, "0.5"},
    {"repeat_penalty", kHonoured, R"({"type":"number","minimum":0.01,"maximum":10})", "1.1"},
    {"repetition_penalty", kHonoured, R"({"type":"number","minimum":0.01,"maximum":10})", "1.1"},
    {"repeat_last_n", kHonoured, R"({"type":"integer","minimum":-1})", "32"},
    {"frequency_penalty", kHonoured, R"({"type":"number","minimum":-2,"maximum":2})", "0.5"},
    {"presence_penalty", kHonoured, R"({"type":"number","minimum":-2,"maximum":2})", "0.5"},
    {"seed", kHonoured, kInteger, "7", "below 0: drawn"},
    {"stop", kHonoured, kText, R"(["END"])", "at most 16"},
    {"stop_token_ids", kHonoured, kIds, "[7]"},
    {"min_tokens", kHonoured, kCount, "3"},
    {"ignore_eos", kHonoured, kBool, "true"},
    {"logit_bias", kHonoured, kObject, R"({"7":-100})", "by token id of the model"},
    {"priority", kHonoured, R"({"type":"integer","minimum":-100,"maximum":100})", "5"},
    {"service_tier", kHonoured, kString, R"("flex")"},
    {"grammar", kHonoured, kString, R"("root ::= \"a\"")", kHeld},
    {"json_schema", kHonoured, kObject, R"({"type":"object"})", kHeld},
    {"response_format", kHonoured, kObject, R"({"type":"json_object"})", kHeld},
    {"ebnf", kHonoured, kString, R"("root ::= \"a\"")", kHeld},
    {"regex", kHonoured, kString, R"("a+")", kHeld},
    {"guided_json", kHonoured, kObject, R"({"type":"object"})", kHeld},
    {"guided_regex", kHonoured, kString, R"("a+")", kHeld},
    {"guided_choice", kHonoured, kStrings, R"(["a","b"])", kHeld},
    {"guided_grammar", kHonoured, kString, R"("root ::= \"a\"")", kHeld},
    {"structured_outputs", kHonoured, kObject, R"({"regex":"a+"})", kHeld},
    {"n", kRefused, kInteger, "2"},
    {"mirostat", kRefused, kInteger, "2", "0 is its off"},
    {"lora", kRefused, kArray, R"([{"id":0,"scale":1}])"},
    {"cache_prompt", kIgnored, kBool, "false", "prefixes are always kept"},
    {"samplers", kIgnored, kStrings, R"(["top_k"])", "the order is fixed"},
    {"id_slot", kIgnored, kInteger, "1"},
    {"t_max_prompt_ms", kIgnored, kInteger, "100"},
    {"t_max_predict_ms", kIgnored, kInteger, "100"},
    {"n_indent", kIgnored, kInteger, "4"},
});
constexpr std::string_view kGapBody = R"({"model":"coder","input_prefix":"a","input_suffix":"c"})";

constexpr auto kRerank = std::to_array<Parameter>({
    {"model", kHonoured, kString, R"("ranker2")", kAnyModel},
    {"query", kHonoured, kString, R"("other")", {}, {}, true},
    {"documents",
     kHonoured,
     kArray,
     R"([{"text":"a"},"c"])",
     "strings, or objects with text; at most 1024",
     {},
     true},
    {"top_n", kHonoured, kCount, "1", "0: all"},
    {"return_documents", kHonoured, kBool, "true", "false when not given"},
    {"texts", kHonoured, kStrings, R"(["a","c"])",
     "text-embeddings-inference's documents; the answer is its bare array"},
    {"truncate", kHonoured, kBool, "true", "with texts; false when not given", kTei},
    {"truncation_direction", kHonoured, kString, R"("left")", "with texts",
     R"("texts":["a"],"truncate":true)"},
    {"raw_scores", kHonoured, kBool, "true", "with texts", kTei},
    {"return_text", kHonoured, kBool, "true", "with texts", kTei},
    {"truncate_prompt_tokens", kIgnored, kInteger, "100",
     "a document is cut to what the model takes beside the query"},
    {"max_tokens_per_doc", kIgnored, kInteger, "100"},
    {"rank_fields", kIgnored, kStrings, R"(["title"])"},
    {"user", kIgnored, kString, R"("u")"},
});
constexpr std::string_view kRankBody = R"({"model":"ranker","query":"q","documents":["a","b"]})";
constexpr std::string_view kChatBody =
    R"({"model":"teacher","messages":[{"role":"user","content":"Hi"}]})";
constexpr std::string_view kTextBody = R"({"model":"teacher","prompt":"Hi"})";

constexpr auto kInfoQuery = std::to_array<Parameter>({
    {"model", kHonoured, kString, "pupil", kAnyModel},
});

constexpr auto kPropsQuery = std::to_array<Parameter>({
    {"model", kHonoured, kString, "pupil", "without it, of several models none is told of"},
});
constexpr auto kSlotsQuery = std::to_array<Parameter>({
    {"model", kHonoured, kString, "pupil", kAnyModel, {}, true},
    {"fail_on_no_slot", kHonoured, kString, "1", "503 while all slots are taken"},
});

constexpr auto kEndpoints = std::to_array<Endpoint>({
    {"POST", "/v1/tokenize", "Text to token ids", kTextBody, kTokenize},
    {"POST", "/v1/detokenize", "Token ids to text", R"({"model":"teacher","tokens":[7]})",
     kDetokenize},
    {"POST", "/v1/apply-template", "The prompt that a conversation becomes", kChatBody,
     kConversation},
    {"POST", "/v1/chat/completions/render", "The same, with its token ids", kChatBody,
     kConversation},
    {"POST", "/v1/completions/render", "A prompt with its token ids", kTextBody, kRenderText},
    {"POST", "/v1/chat/completions/input_tokens", "How many tokens a conversation becomes",
     kChatBody, kConversation},
    {.method = "GET",
     .path = "/v1/tokenizer_info",
     .summary = "Special tokens, chat template and context of a model",
     .query = kInfoQuery},
    {.method = "POST",
     .path = "/v1/infill",
     .summary = "What stands in a gap of a text, whole or streamed, as llama-server answers",
     .body = kGapBody,
     .parameters = kInfill,
     .stream = "text/event-stream"},
    {.method = "GET",
     .path = "/props",
     .summary = "A model's defaults, context and template, as llama-server tells them",
     .query = kPropsQuery},
    {"POST", "/props", "501: the settings are the operator's"},
    {.method = "GET",
     .path = "/slots",
     .summary = "How many requests can run at once, and which places are taken",
     .query = kSlotsQuery},
    {.method = "GET",
     .path = "/models/sse",
     .summary = "What becomes of the models, as llama-server's router tells it",
     .answer = "text/event-stream"},
    {"POST", "/v1/rerank", "How well each document answers a query", kRankBody, kRerank},
    {"POST", "/v1/reranking", "The same", kRankBody, kRerank},
    {"POST", "/v2/rerank", "The same, under Cohere's path", kRankBody, kRerank},
    {"GET", "/livez", "200 while the process runs"},
    {"GET", "/readyz", "200 when a model can serve, 503 with the reason otherwise"},
    {"GET", "/v1/health", "The same in llama-server's shape"},
    {"GET", "/ping", "The same without a body"},
    {"GET", "/v1/version", "Version, commit and dialects"},
    {"GET", "/v1/openapi.json", "These routes as OpenAPI 3.1"},
    {"GET", "/v1/capabilities", "What every parameter does, and what each model can"},
    {"GET", "/system-info", "The machine, the workers and what they carry"},
    {.method = "GET", .path = "/metrics", .summary = "Prometheus text", .answer = "text/plain"},
});

}  // namespace

Coverage DialectCoverage() { return {{kEndpoints.begin(), kEndpoints.end()}}; }

}  // namespace conclave::gateway::utility
