// What chat completions, completions and embeddings do with each field.
#include "gateway/dialects/openai/coverage.h"

namespace conclave::gateway::openai {
namespace {

using enum Treatment;
using namespace schema;  // NOLINT(google-build-using-namespace): names of nothing but schemas

constexpr std::string_view kTools =
    R"("tools":[{"type":"function","function":{"name":"look","parameters":{"type":"object"}}}])";
constexpr std::string_view kStreamed = R"("stream":true)";
constexpr std::string_view kOther = R"([{"role":"user","content":"Other"}])";
constexpr std::string_view kFunctionTurns =
    R"([{"role":"user","content":"Hi"},{"role":"assistant","content":null,"function_call":{"name":"look","arguments":"{}"}},{"role":"function","name":"look","content":"1"}])";
constexpr std::string_view kSchema = R"({"type":"object","properties":{"a":{"type":"integer"}}})";
constexpr std::string_view kOneFormat =
    "one of the ways to give a format; a second has to say the same";
constexpr std::string_view kEchoed =
    R"([{"role":"assistant","content":"x","reasoning_content":"y"},{"role":"user","content":"z"}])";

// ReadSampling, ReadStreamOptions, ReadFormat: of chat and completions alike.
constexpr auto kSampling = std::to_array<Parameter>({
    {"temperature", kHonoured, R"({"type":"number","minimum":0,"maximum":2})", "0.5"},
    {"top_p", kHonoured, kFraction, "0.5"},
    {"top_k", kHonoured, R"({"type":"integer","minimum":-1})", "5", "-1 and 0: off"},
    {"min_p", kHonoured, kFraction, "0.1"},
    {"typical_p", kHonoured, kFraction, "0.5"},
    {"frequency_penalty", kHonoured, R"({"type":"number","minimum":-2,"maximum":2})", "0.5"},
    {"presence_penalty", kHonoured, R"({"type":"number","minimum":-2,"maximum":2})", "0.5"},
    {"repetition_penalty", kHonoured, R"({"type":"number","minimum":0.01,"maximum":10})", "1.1"},
    {"logit_bias", kHonoured,
     R"({"type":"object","maxProperties":1024,"additionalProperties":{"type":"number","minimum":-100,"maximum":100}})",
     R"({"7":-100})", "by token id of the model"},
    {"seed", kHonoured, kInteger, "7", "the same seed gives the same tokens whatever the load"},
    {"stop_token_ids", kHonoured, kIds, "[7]", "at most 64"},
    {"min_tokens", kHonoured, kCount, "3"},
    {"ignore_eos", kHonoured, kBool, "true"},
    {"n", kHonoured, R"({"type":"integer","minimum":1,"maximum":16})", "2"},
    {"priority", kHonoured, R"({"type":"integer","minimum":-100,"maximum":100})", "5",
     "higher goes first"},
    {"service_tier", kHonoured, kString, R"("flex")", "flex and priority; the others: normal"},
    {"mirostat", kRefused, kInteger, "2", "0 is its off"},
    {"lora", kRefused, kArray, R"([{"id":0,"scale":1}])"},
    {"stream", kHonoured, kBool, "true"},
    {"stream_options.include_usage", kHonoured, kBool, "true", {}, kStreamed},
    {"stream_options.include_obfuscation", kIgnored, kBool, "true", {}, kStreamed},
    {"response_format", kHonoured, kObject, R"({"type":"json_object"})",
     "text, json_object (with llama-server's schema), json_schema, TGI's json and regex (with a "
     "value); docs/structured-output.md"},
    {"json_schema", kHonoured, kObject, kSchema, kOneFormat},
    {"grammar", kHonoured, kString, R"("root ::= \"a\"")", kOneFormat},
    {"ebnf", kHonoured, kString, R"("root ::= \"a\"")", "SGLang's grammar"},
    {"regex", kHonoured, kString, R"("a+")", "SGLang's"},
    {"guided_json", kHonoured, kObject, kSchema, kOneFormat},
    {"guided_regex", kHonoured, kString, R"("a+")", kOneFormat},
    {"guided_choice", kHonoured, kStrings, R"(["a","b"])", kOneFormat},
    {"guided_grammar", kHonoured, kString, R"("root ::= \"a\"")", kOneFormat},
    {"structured_outputs.json", kHonoured, kObject, kSchema, kOneFormat},
    {"structured_outputs.regex", kHonoured, kString, R"("a+")", kOneFormat},
    {"structured_outputs.choice", kHonoured, kStrings, R"(["a","b"])", kOneFormat},
    {"structured_outputs.grammar", kHonoured, kString, R"("root ::= \"a\"")", kOneFormat},
    {"structured_outputs.structural_tag", kRefused, kObject, R"({"structures":[]})"},
    {"user", kIgnored, kString, R"("u")"},
    {"skip_special_tokens", kIgnored, kBool, "false", "they are never in the text"},
    {"spaces_between_special_tokens", kIgnored, kBool, "false"},
    {"dry_multiplier", kIgnored, kNumber, "0.8"},
    {"xtc_probability", kIgnored, kFraction, "0.5"},
    {"cache_prompt", kIgnored, kBool, "false", "prefixes are cached without being asked"},
    {"id_slot", kIgnored, kInteger, "1", "the scheduler's to choose"},
    {"return_tokens", kIgnored, kBool, "true"},
    {"return_token_ids", kIgnored, kBool, "true"},
    {"return_progress", kHonoured, kBool, "true",
     "prompt_progress in chunks of their own while the prompt is read", kStreamed},
    {"return_speed", kHonoured, kBool, "true", "prefill_time and decode_time in usage, in seconds"},
    {"timings_per_token", kHonoured, kBool, "true",
     "timings in the last chunk or the whole answer"},
    {"keep_alive", kIgnored, kAny, R"("5m")", "of Ollama's routes"},
    {"use_beam_search", kIgnored, kBool, "true"},
    {"length_penalty", kIgnored, kNumber, "1.2"},
    {"truncate_prompt_tokens", kIgnored, kInteger, "10"},
});

constexpr auto kChatOnly = std::to_array<Parameter>({
    {"model", kHonoured, kString, R"("pupil")", {}, {}, true},
    {"messages", kHonoured, R"({"type":"array","minItems":1})", kOther, {}, {}, true},
    {"messages[].role", kHonoured, kString, R"("developer")",
     "system, developer, user, assistant, tool, function; none: user"},
    {"messages[].content", kHonoured, kAny, R"([{"type":"text","text":"Other"}])",
     "string, or text and refusal parts"},
    {"messages[].content (image_url)", kRefused, kArray,
     R"([{"type":"image_url","image_url":{"url":"http://169.254.169.254/"}}])",
     "nothing is fetched"},
    {"messages[].content (input_audio)", kRefused, kArray,
     R"([{"type":"input_audio","input_audio":{"data":"","format":"wav"}}])"},
    {"messages[].content (file)", kRefused, kArray, R"([{"type":"file","file":{"file_id":"f"}}])"},
    {"messages[].name", kHonoured, kString, R"("ann")", "handed to the template"},
    {"messages (reasoning_content)", kHonoured, kArray, kEchoed,
     "also reasoning: what the model thought is given back to its template"},
    {"max_completion_tokens", kHonoured, kPositive, "5", "goes before max_tokens"},
    {"max_tokens", kHonoured, kPositive, "5"},
    {"stop", kHonoured, kText, R"(["END"])", "at most 4"},
    {"logprobs", kHonoured, kBool, "true"},
    {"top_logprobs",
     kHonoured,
     R"({"type":"integer","minimum":0,"maximum":20})",
     "3",
     {},
     R"("logprobs":true)"},
    {"tools", kIfModelCan, R"({"type":"array","maxItems":128})",
     R"([{"type":"function","function":{"name":"look"}}])"},
    {"tools (custom)", kIfModelCan, kArray, R"([{"type":"custom","custom":{"name":"look"}}])",
     "the input is any text, or matches a regular expression"},
    {"tools (custom, lark)", kRefused, kArray,
     R"([{"type":"custom","custom":{"name":"look","format":{"type":"grammar","grammar":{"syntax":"lark","definition":"start: \"a\""}}}}])"},
    {"tools[].function.strict", kIfModelCan, kBool, "true", {}, kTools},
    {"tool_choice", kIfModelCan, kAny, R"("required")",
     "none, auto, required, a function or custom tool by name, allowed_tools", kTools},
    {"parallel_tool_calls", kIfModelCan, kBool, "false", {}, kTools},
    {"functions", kIfModelCan, kArray, R"([{"name":"look"}])",
     "the old name of tools, at most one call; not beside tools, tool_choice, parallel_tool_calls"},
    {"function_call", kIfModelCan, kAny, R"({"name":"look"})",
     "none, auto, a function by name: with functions", R"("functions":[{"name":"look"}])"},
    {"messages (function_call)", kHonoured, kArray, kFunctionTurns,
     "of the assistant; messages of role function answer it"},
    {"reasoning_effort", kIfModelCan,
     R"({"enum":["none","minimal","low","medium","high","xhigh","max"]})", R"("low")",
     "a variable of the model's template, and a budget for its thinking"},
    {"thinking_budget", kIfModelCan, R"({"type":"integer","minimum":0,"maximum":1073741824})",
     "256", "tokens; goes before what reasoning_effort stands for"},
    {"prompt_logprobs", kHonoured, R"({"type":"integer","minimum":0,"maximum":20})", "1",
     "not in a stream"},
    {"reasoning_format", kHonoured, R"({"enum":["auto","deepseek","none"]})", R"("none")",
     "none: the thinking stays in the text"},
    {"chat_template_kwargs", kHonoured, kObject, R"({"enable_thinking":false})",
     "variables of the model's template, at most 64"},
    {"add_generation_prompt", kHonoured, kBool, "false"},
    {"continue_final_message", kHonoured, kBool, "true",
     "the answer goes on where the last message ends"},
    {"modalities", kRefused, kStrings, R"(["text","audio"])", "text only"},
    {"audio", kIgnored, kObject, R"({"voice":"ash","format":"wav"})",
     "nothing without modalities, which is refused"},
    {"prediction", kIgnored, kObject, R"({"type":"content","content":"x"})"},
    {"store", kIgnored, kBool, "true", "chats are not stored"},
    {"metadata", kIgnored, kObject, R"({"a":"b"})"},
    {"safety_identifier", kIgnored, kString, R"("u")"},
    {"prompt_cache_key", kHonoured, R"({"type":"string","maxLength":512})", R"("k")",
     "requests of one key go to one worker, where prompts and load do not speak against it"},
    {"prompt_cache_options", kIgnored, kObject, R"({"mode":"auto"})"},
    {"prompt_cache_retention", kIgnored, kString, R"("24h")"},
    {"moderation", kIgnored, kObject, R"({"model":"m"})"},
    {"verbosity", kIgnored, kString, R"("low")"},
    {"web_search_options", kIgnored, kObject, R"({"search_context_size":"low"})"},
    {"chat_template", kIgnored, kString, R"("{{ messages }}")",
     "a template from a request is a program from a stranger"},
    {"echo", kIgnored, kBool, "true", "of completions"},
});
constexpr auto kChat = Join(kChatOnly, kSampling);

constexpr auto kCompletionsOnly = std::to_array<Parameter>({
    {"model", kHonoured, kString, R"("pupil")", {}, {}, true},
    {"prompt",
     kHonoured,
     R"({"oneOf":[{"type":"string"},{"type":"array"}]})",
     "[7,8]",
     "a string, strings, token ids, lists of token ids; at most 64",
     {},
     true},
    {"prompt (several)", kHonoured, kStrings, R"(["a","b"])", "an answer to each, by index"},
    {"max_tokens", kHonoured, kPositive, "5", "16 when not given; 0 with echo"},
    {"stop", kHonoured, kText, R"(["END"])", "at most 16"},
    {"best_of", kHonoured, R"({"type":"integer","minimum":1,"maximum":16})", "2",
     "at least n; more than n not in a stream"},
    {"suffix", kIfModelCan, kString, R"("x")", "not with echo"},
    {"echo", kHonoured, kBool, "true"},
    {"logprobs", kHonoured, R"({"type":"integer","minimum":0,"maximum":20})", "1",
     "with echo those of the prompt, too"},
    {"prompt_logprobs", kRefused, kCount, "1", "use echo and logprobs"},
});
constexpr auto kCompletions = Join(kCompletionsOnly, kSampling);

constexpr auto kEmbeddings = std::to_array<Parameter>({
    {"model", kHonoured, kString, R"("minilm2")", {}, {}, true},
    {"input",
     kHonoured,
     R"({"oneOf":[{"type":"string"},{"type":"array"}]})",
     "[[7,8],[9]]",
     "a string, strings, token ids, lists of token ids; at most 2048",
     {},
     true},
    {"encoding_format", kHonoured, R"({"enum":["float","base64"]})", R"("base64")"},
    {"dimensions", kHonoured, kPositive, "2", "cut, and made of length 1 again"},
    {"truncate", kHonoured, R"({"enum":["none","start","end"]})", R"("start")"},
    {"normalize", kHonoured, kBool, "false"},
    {"user", kIgnored, kString, R"("u")"},
    {"task_type", kIgnored, kString, R"("query")"},
});

constexpr auto kEndpoints = std::to_array<Endpoint>({
    {.method = "POST",
     .path = "/v1/chat/completions",
     .summary = "An answer to a conversation, whole or streamed",
     .body = R"({"model":"teacher","messages":[{"role":"user","content":"Hi"}]})",
     .parameters = kChat,
     .stream = "text/event-stream"},
    {.method = "POST",
     .path = "/v1/completions",
     .summary = "What follows a text, whole or streamed",
     .body = R"({"model":"teacher","prompt":"Hi"})",
     .parameters = kCompletions,
     .stream = "text/event-stream"},
    {.method = "POST",
     .path = "/v1/embeddings",
     .summary = "Vectors of texts",
     .body = R"({"model":"minilm","input":"Hi"})",
     .parameters = kEmbeddings},
    {.method = "GET", .path = "/v1/models", .summary = "The models that are served"},
    {.method = "GET", .path = "/v1/models/{model...}", .summary = "One model"},
    {.method = "DELETE",
     .path = "/v1/models/{model...}",
     .summary = "Remove a registered model (administrators)"},
});

}  // namespace

std::span<const Endpoint> GenerationEndpoints() { return kEndpoints; }

}  // namespace conclave::gateway::openai
