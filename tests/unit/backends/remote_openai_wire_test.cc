#include "backends/remote_openai_wire.h"

#include <catch2/catch.hpp>

#include "backends/remote_openai_request.h"

#include "base/status.h"

namespace conclave::backends {
namespace {

GenerateRequest Ask() {
  GenerateRequest request;
  ChatPrompt chat;
  chat.conversation.messages.push_back({.role = "user", .content = "hi"});
  request.prompt = std::move(chat);
  return request;
}

std::string Body(const GenerateRequest& request, const OpenAiDialect& dialect = {}) {
  const auto call = EncodeOpenAiCall(request, "m", dialect);
  REQUIRE(call.ok());
  return call->body;
}

constexpr char kTail[] = R"("stream":true,"stream_options":{"include_usage":true}})";

// One line per event.
std::string Story(const std::vector<std::string>& chunks, OpenAiStream::Options options = {}) {
  OpenAiStream stream(std::move(options));
  std::vector<Event> events;
  std::string story;
  absl::Status status;
  for (const std::string& chunk : chunks) {
    status = stream.Read(chunk, &events);
    if (!status.ok()) break;
  }
  const absl::StatusOr<Finished> finished =
      status.ok() ? stream.End(&events) : absl::StatusOr<Finished>(status);
  int64_t seq = 0;
  for (const Event& event : events) {
    const Delta& delta = std::get<Delta>(event);
    CHECK(delta.seq == seq++);
    if (!delta.text.empty()) story += "t:" + delta.text;
    if (!delta.reasoning.empty()) story += "r:" + delta.reasoning;
    if (delta.tool_call) {
      const ToolCallDelta& call = *delta.tool_call;
      story += "c" + std::to_string(call.index) + std::to_string(static_cast<int>(call.state)) +
               call.id + call.name + call.arguments;
    }
    for (const TokenLogprob& logprob : delta.logprobs) story += "<" + logprob.bytes + ">";
    story += "|";
  }
  if (!finished.ok()) return story + "!" + base::ReasonOf(finished.status());
  return story + "end" + std::to_string(static_cast<int>(finished->reason)) + "/" +
         std::to_string(finished->usage.prompt_tokens) + "+" +
         std::to_string(finished->usage.completion_tokens) + finished->matched_stop;
}

std::string Choice(const std::string& fields) { return R"({"choices":[{)" + fields + "}]}"; }
std::string Delta_(const std::string& fields) { return Choice(R"("delta":{)" + fields + "}"); }

const std::string kStop = Choice(R"("delta":{},"finish_reason":"stop")");

absl::Status Error(int status, const std::string& body) {
  return OpenAiError({.status = status, .content_type = "", .retry_after = {}}, body);
}

}  // namespace

TEST_CASE("a plain chat is written without what nobody said") {
  CHECK(Body(Ask()) ==
        std::string(R"({"model":"m","messages":[{"role":"user","content":"hi"}],)") + kTail);
  GenerateRequest tokens;
  tokens.prompt = TokenPrompt{{1, 2}};
  CHECK(Body(tokens) == std::string(R"({"model":"m","prompt":[1,2],)") + kTail);
}

TEST_CASE("every parameter of a request is passed on or refused") {
  GenerateRequest request = Ask();
  auto& chat = std::get<ChatPrompt>(request.prompt);
  chat.conversation.messages.push_back({.role = "assistant",
                                        .content = "",
                                        .content_is_null = true,
                                        .reasoning = "hm",
                                        .tool_calls = {{"c1", "f", "{\"a\":1}"}},
                                        .tool_call_id = "",
                                        .name = ""});
  chat.conversation.tools.push_back(
      {.name = "f", .description = "d", .parameters = R"({"type":"object"})", .strict = true});
  chat.tool_choice = {.mode = ToolChoice::Mode::kNamed, .name = "f"};
  chat.parallel_tool_calls = false;
  chat.reasoning_budget = 50;
  chat.conversation.template_variables = {{"enable_thinking", "false"}};
  request.sampling = {.temperature = 0.5f,
                      .top_k = 3,
                      .top_p = 0.25f,
                      .min_p = 0.125f,
                      .typical_p = 0.75f,
                      .repetition_penalty = 1.5f,
                      .frequency_penalty = -1.0f,
                      .presence_penalty = 1.0f,
                      .penalty_last_n = std::nullopt,
                      .seed = 18446744073709551615ULL,
                      .logit_bias = {{5, -100.0f}}};
  request.stop = {
      .max_tokens = 9, .strings = {"\n"}, .token_ids = {7}, .min_tokens = 2, .ignore_eos = true};
  request.top_logprobs = 2;
  request.response_format = {.kind = ResponseFormat::Kind::kJsonSchema, .definition = "{\"a\":{}}"};
  const std::string body = Body(request, {.max_tokens_field = "max_completion_tokens"});
  for (
      const char* part :
      {R"("reasoning_content":"hm","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}])",
       R"("parameters":{"type":"object"},"strict":true)",
       R"("parallel_tool_calls":false)",
       R"("tool_choice":{"type":"function","function":{"name":"f"}})",
       R"("chat_template_kwargs":{"enable_thinking":false})",
       R"("temperature":0.5)",
       R"("top_k":3)",
       R"("top_p":0.25)",
       R"("min_p":0.125)",
       R"("typical_p":0.75)",
       R"("thinking_budget":50)",
       R"("repetition_penalty":1.5)",
       R"("frequency_penalty":-1.0)",
       R"("presence_penalty":1.0)",
       R"("seed":18446744073709551615)",
       R"("logit_bias":{"5":-100.0})",
       R"("max_completion_tokens":9)",
       R"("min_tokens":2)",
       R"("ignore_eos":true)",
       R"("stop":["\u000a"])",
       R"("stop_token_ids":[7])",
       R"("logprobs":true,"top_logprobs":2)",
       R"("json_schema":{"name":"answer","schema":{"a":{}},"strict":true})"}) {
    CAPTURE(part, body);
    CHECK(body.find(part) != std::string::npos);
  }
  const auto refused = [](const GenerateRequest& asked) {
    const absl::Status status = EncodeOpenAiCall(asked, "m", {}).status();
    CHECK(absl::IsUnimplemented(status));
    return base::ParamOf(status);
  };
  request.sampling.penalty_last_n = 64;
  CHECK(refused(request) == "penalty_last_n");
  request = Ask();
  request.prompt_report = PromptReport{};
  CHECK(refused(request) == "echo");
}

TEST_CASE("a gap has a suffix on this wire, and no files") {
  GenerateRequest request;
  request.prompt = TextPrompt{"a"};
  request.infill = Infill{.suffix = "c"};
  CHECK(Body(request) == std::string(R"({"model":"m","prompt":"a","suffix":"c",)") + kTail);
  request.infill->files.push_back({.name = "f", .text = "t"});
  CHECK(base::ParamOf(EncodeOpenAiCall(request, "m", {}).status()) == "input_extra");
  request.infill->files.clear();
  request.prompt = TokenPrompt{{1}};
  CHECK(base::ParamOf(EncodeOpenAiCall(request, "m", {}).status()) == "suffix");
}

TEST_CASE("a grammar goes only to a server that keeps it") {
  GenerateRequest request = Ask();
  request.response_format = {.kind = ResponseFormat::Kind::kRegex, .definition = "a+"};
  CHECK(absl::IsUnimplemented(EncodeOpenAiCall(request, "m", {}).status()));
  CHECK(Body(request, {.guided = true}).find(R"("guided_regex":"a+")") != std::string::npos);
}

TEST_CASE("text, reasoning and usage become deltas") {
  CHECK(Story({Delta_(R"("role":"assistant","content":"")"), Delta_(R"("reasoning_content":"hm")"),
               Delta_(R"("reasoning":"so")"), Delta_(R"("content":"A")"),
               Choice(R"("delta":{"content":"b"},"finish_reason":"stop","stop_reason":"END")"),
               R"({"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":3}})", "[DONE]",
               "not read any more"}) == "r:hm|r:so|t:A|t:b|end0/5+3END");
  CHECK(Story({Choice(R"("text":"A","finish_reason":null)"),
               Choice(R"("text":"","finish_reason":"length")")}) == "t:A|end1/0+1");
  CHECK(Story({Delta_(R"("reasoning_content":"hm")"), Delta_(R"("content":"A")"), kStop},
              {.split_reasoning = false, .logprobs = false, .call_id_prefix = ""}) ==
        "t:<think>hm|t:</think>A|end0/0+2");
}

TEST_CASE("tool calls are told as they come and judged when they end") {
  CHECK(
      Story(
          {Delta_(R"("tool_calls":[{"index":0,"id":"x","function":{"name":"f","arguments":""}}])"),
           Delta_(R"("tool_calls":[{"index":0,"function":{"arguments":"{\"a\""}}])"),
           Delta_(R"("tool_calls":[{"index":0,"function":{"arguments":":1}"}}])"),
           Delta_(
               R"("tool_calls":[{"index":1,"id":"y","function":{"name":"g","arguments":"[1]"}}])"),
           Choice(R"("delta":{},"finish_reason":"tool_calls")")}) ==
      R"(c00xf|c01{"a"|c01:1}|c02|c10yg|c11[1]|c13|end2/0+0)");
  // Without ids and indexes, whole calls; and "stop" after them.
  CHECK(Story({Delta_(R"("tool_calls":[{"function":{"name":"f","arguments":"{}"}},
                                       {"function":{"name":"g","arguments":"{}"}}])"),
               kStop},
              {.split_reasoning = true, .logprobs = false, .call_id_prefix = "call_"}) ==
        "c00call_0f|c01{}|c02|c10call_1g|c11{}|c12|end2/0+0");
  CHECK(Story({Delta_(R"("tool_calls":[{"index":0,"function":{"arguments":"{}"}}])"), kStop}) ==
        "!upstream_invalid");
}

TEST_CASE("logprobs come with their tokens, in both shapes") {
  const OpenAiStream::Options options{
      .split_reasoning = true, .logprobs = true, .call_id_prefix = ""};
  CHECK(Story({Choice(R"("delta":{"content":"é"},"logprobs":{"content":[
                 {"token":"\\xc3","bytes":[195],"logprob":-0.5,"top_logprobs":[]},
                 {"token":"\\xa9","bytes":[169],"logprob":-0.5,"top_logprobs":[]}]})"),
               kStop},
              options) == "t:é<\xc3><\xa9>|end0/0+1");
  CHECK(Story({Choice(R"("text":"ab","logprobs":{"tokens":["a","b"],"token_logprobs":[null,-1],
                 "top_logprobs":[null,{"c":-2}]})"),
               kStop},
              options) == "t:ab<a><b>|end0/0+1");
}

TEST_CASE("a stream that ends early, lies or breaks off is an error and never an end") {
  CHECK(Story({Delta_(R"("content":"A")")}) == "t:A|!upstream_lost");
  CHECK(Story({}) == "!upstream_lost");
  CHECK(Story({"[DONE]"}) == "!upstream_lost");
  for (const std::string bad :
       {"{\"choices\":[", "[]", "7", "{\"choices\":[{\"delta\":{\"content\":7}}]}",
        "{\"choices\":[{\"delta\":{\"content\":\"\xff\"}}]}",
        "{\"choices\":[],\"usage\":{\"prompt_tokens\":-1}}"}) {
    CAPTURE(bad);
    CHECK(Story({Delta_(R"("content":"A")"), bad, kStop}) == "t:A|!upstream_invalid");
  }
  CHECK(Story({R"({"error":{"message":"boom","type":"server_error","code":500}})"}) ==
        "!upstream_error");
}

TEST_CASE("errors keep what a caller can act on") {
  const absl::Status bad = Error(
      400,
      R"({"error":{"message":"too hot","type":"invalid_request_error","param":"temperature"}})");
  CHECK(absl::IsInvalidArgument(bad));
  CHECK(base::ParamOf(bad) == "temperature");
  CHECK(bad.message() == "the remote server: too hot");
  const absl::Status context =
      Error(400, R"({"error":{"message":"long","code":"context_length_exceeded"}})");
  CHECK(absl::IsOutOfRange(context));
  CHECK(base::ReasonOf(context) == "context_length_exceeded");
  CHECK(base::ReasonOf(Error(404, "<html>")) == "model_not_found");
  const absl::Status busy = OpenAiError(
      {.status = 429, .content_type = "", .retry_after = std::chrono::milliseconds(700)}, "{}");
  CHECK(absl::IsResourceExhausted(busy));
  CHECK(base::RetryAfterOf(busy) == std::chrono::milliseconds(700));
  CHECK(base::RetryAfterOf(Error(429, "")) > std::chrono::milliseconds(0));
  // The key is ours: the caller hears neither it nor what was said of it.
  const absl::Status key = Error(401, R"({"error":{"message":"Incorrect API key: sk-123"}})");
  CHECK(absl::IsInternal(key));
  CHECK(key.message().find("sk-123") == absl::string_view::npos);
  CHECK(absl::IsUnavailable(Error(500, "")));
  CHECK(absl::IsUnavailable(Error(502, R"({"error":"bad gateway"})")));
  CHECK(absl::IsDeadlineExceeded(Error(504, "")));
  CHECK(absl::IsUnimplemented(Error(501, "")));
  CHECK(base::ReasonOf(Error(307, "")) == "upstream_redirect");
  CHECK(Error(422, R"({"detail":"no"})").message() == "the remote server: no");
}

}  // namespace conclave::backends
