// Every dialect × every kind of bad request (mesh reference 2.3: H, J and I): the status, the form
// of the dialect's errors, and what a stream that breaks ends with.
#include <functional>
#include <string>
#include <vector>

#include "base/json.h"
#include "catch2/catch.hpp"
#include "gateway/http/front_door.h"
#include "support/endpoint_probe.h"
#include "support/error_forms.h"

namespace conclave::gateway {
namespace {

using base::JsonDocument;
using base::JsonValue;

void CheckError(const Endpoint& endpoint, const Outcome& outcome, int status) {
  static const Harness harness;
  INFO(outcome.all);
  CHECK(outcome.status == status);
  FormOf(harness.router, endpoint).check(Parsed(outcome.body).root());
}

// ---- J: bodies ---------------------------------------------------------------------------------

std::string Repeated(std::string_view text, size_t times) {
  std::string all;
  for (size_t i = 0; i < times; ++i) all += text;
  return all;
}

struct BadBody {
  std::string name;
  std::string body;
  std::string says;  // in the answer
};

// `good` is a whole request of the endpoint, an object.
std::vector<BadBody> BadBodies(const std::string& good) {
  const std::string open = good.substr(0, good.size() - 1) + (good.size() > 2 ? "," : "");
  const auto with = [&open](const std::string& member) { return open + member + "}"; };
  std::string many_keys = open;
  for (int i = 0; i < 100'000; ++i) many_keys += "\"k" + std::to_string(i) + "\":1,";
  many_keys += "\"end\":1}";
  return {
      {"J1 arrays 65 deep", with("\"deep\":" + Repeated("[", 64) + Repeated("]", 64)),
       "nesting deeper than 64"},
      {"J1 objects 65 deep", with("\"deep\":" + Repeated("{\"a\":", 64) + "1" + Repeated("}", 64)),
       "nesting deeper than 64"},
      {"J1 two million brackets", Repeated("[", 2'000'000), "nesting deeper than 64"},
      {"J2 100,000 keys", many_keys, "members"},
      {"J2 a key twice", with(R"("twice":1,"twice":2)"), "twice"},
      {"J3 a stray byte", with("\"x\":\"\xff\""), "byte"},
      {"J3 an overlong form", with("\"x\":\"\xc0\xaf\""), "byte"},
      {"J3 an encoded surrogate", with("\"x\":\"\xed\xa0\x80\""), "byte"},
      {"J3 a lone surrogate", with(R"("x":"\uD800")"), "byte"},
      {"J4 bytes after the end", good + "x", "byte"},
      {"J4 two documents", good + good, "byte"},
      {"J4 NaN", with("\"x\":NaN"), "byte"},
      {"J4 a comment", "/* a */" + good, "byte"},
      {"J4 a leading zero", with("\"x\":01"), "byte"},
      {"J4 beyond a double", with("\"x\":1e999"), "byte"},
      {"H5 nothing", "", ""},
      {"not an object", "[]", ""},
  };
}

bool IsStored(const Endpoint& endpoint) {
  return endpoint.path.substr(0, 14) == "/v1/assistants" ||
         endpoint.path.substr(0, 11) == "/v1/threads" || endpoint.path == "/admin/models" ||
         endpoint.path == "/api/create" || endpoint.path == "/api/copy" ||
         endpoint.path == "/api/pull" || IsRegistration(endpoint);
}

// ---- J5, J7: values of the wrong type and out of range, as the table's schema says --------------

std::vector<std::string> WrongValues(std::string_view schema_text, bool ranges) {
  const JsonDocument schema = Parsed(std::string(schema_text));
  const std::string type = schema.root().Get("type").AsString().value_or("");
  std::vector<std::string> wrong;
  if (type == "number" || type == "integer") wrong.push_back(R"("hot")");
  if (type == "integer") wrong.push_back("1.5");
  if (type == "boolean") wrong.push_back(R"("hot")");
  if (type == "string") wrong.push_back("7");
  if (type == "array" || type == "object") wrong.push_back("7");
  if (schema.root().Get("enum").size() > 0) wrong.push_back(R"("no such word")");
  if (!ranges) return wrong;
  const auto low = schema.root().Get("minimum").AsNumber();
  const auto high = schema.root().Get("maximum").AsNumber();
  if (low.ok())
    wrong.push_back(type == "integer" ? std::to_string(static_cast<int64_t>(*low) - 1)
                                      : std::to_string(*low - 0.01));
  if (high.ok())
    wrong.push_back(type == "integer" ? std::to_string(static_cast<int64_t>(*high) + 1)
                                      : std::to_string(*high + 0.01));
  if (type == "integer") wrong.push_back("18446744073709551616");  // 2^64
  const auto most = schema.root().Get("maxItems").AsInt();
  if (most.ok()) wrong.push_back("[" + Repeated("{},", static_cast<size_t>(*most)) + "{}]");
  return wrong;
}

}  // namespace

TEST_CASE("a body that is no JSON of ours is 400 in every dialect's form") {
  ForEachEndpoint([](const Endpoint& endpoint) {
    if (endpoint.body.empty()) return;
    for (const BadBody& bad : BadBodies(std::string(endpoint.body))) {
      INFO(bad.name);
      // What is stored may come with an empty body: nothing is given then.
      if (bad.body.empty() && IsStored(endpoint) && endpoint.body == "{}") continue;
      const Outcome outcome = SendTo(endpoint, bad.body);
      CheckError(endpoint, outcome, 400);
      CHECK(outcome.body.find(bad.says) != std::string::npos);
    }
  });
}

TEST_CASE("a value of the wrong type or out of its range is 400 and named, in every dialect") {
  ForEachEndpoint([](const Endpoint& endpoint) {
    for (const Parameter& row : endpoint.parameters) {
      const bool read =
          row.treatment == Treatment::kHonoured || row.treatment == Treatment::kIfModelCan;
      if (!read) continue;
      INFO("parameter " << row.name);
      // Ranges of what is stored are the store's to check.
      for (const std::string& value : WrongValues(row.schema, !IsStored(endpoint))) {
        INFO("value " << value);
        const Outcome outcome =
            SendTo(endpoint, WithField(BodyFor(endpoint, row), row.name, value));
        CheckError(endpoint, outcome, 400);
        CHECK(outcome.Names(row.name));
      }
    }
  });
}

TEST_CASE("NUL is text for a model, and refused where PostgreSQL would store it") {
  ForEachEndpoint([](const Endpoint& endpoint) {
    if (endpoint.body.empty()) return;
    const Outcome outcome = SendTo(
        endpoint, WithField(std::string(endpoint.body), "metadata", R"({"user_id":"a\u0000b"})"));
    INFO(outcome.all);
    CHECK((outcome.status == 400) == IsStored(endpoint));
  });
}

TEST_CASE("unknown models are 404 and loading ones 503 with Retry-After, in every dialect") {
  ForEachEndpoint([](const Endpoint& endpoint) {
    if (SendTo(endpoint, std::string(endpoint.body)).model_calls == 0) return;
    CheckError(endpoint, SendFor(endpoint, "ghost"), 404);
    Harness harness;
    AnswerEverything(harness);
    for (v1::ModelStatus& model : harness.models.models) {
      model.set_state(v1::ModelStatus::STATE_LOADING);
    }
    const RecordingWriter answer =
        harness.Call(std::string(endpoint.method), TargetOf(endpoint) + QueryOf(endpoint),
                     std::string(endpoint.body));
    CHECK(answer.response.status ==
          harness.router.error_family(endpoint.method, endpoint.path).unavailable_status);
    FormOf(harness.router, endpoint).check(Parsed(answer.response.body).root());
    bool says_when = false;
    for (const auto& [name, value] : answer.response.headers)
      says_when = says_when || name == "Retry-After";
    CHECK(says_when);
  });
}

TEST_CASE("a prompt beyond the context is 400 with both numbers, in every dialect") {
  ForEachEndpoint([](const Endpoint& endpoint) {
    if (endpoint.stream.empty() || IsStored(endpoint)) return;
    for (const char* const stream : {"true", "false"}) {
      Harness harness;
      AnswerEverything(harness);
      harness.inference.events.clear();
      harness.inference.status = base::WithReason(
          absl::OutOfRangeError("the context of this model is 512 tokens, the prompt has 600"),
          "context_length_exceeded");
      const RecordingWriter answer =
          harness.Call(std::string(endpoint.method), TargetOf(endpoint) + QueryOf(endpoint),
                       WithField(std::string(endpoint.body), "stream", stream));
      INFO(answer.response.body);
      CHECK(answer.response.status == 400);
      FormOf(harness.router, endpoint).check(Parsed(answer.response.body).root());
      CHECK(answer.response.body.find("512") != std::string::npos);
      CHECK(answer.response.body.find("600") != std::string::npos);
    }
  });
}

TEST_CASE("a stream that breaks ends with an error of its dialect, never with its end") {
  ForEachEndpoint([](const Endpoint& endpoint) {
    if (endpoint.stream.empty() || IsStored(endpoint)) return;
    Harness harness;
    AnswerEverything(harness);
    harness.inference.events.pop_back();  // Finished
    harness.inference.status =
        base::WithReason(base::Unavailable("the worker was lost"), "worker_lost");
    const RecordingWriter answer =
        harness.Call(std::string(endpoint.method), TargetOf(endpoint) + QueryOf(endpoint),
                     WithField(std::string(endpoint.body), "stream", "true"));
    INFO(answer.response.body);
    CHECK(answer.response.status == 200);
    CHECK(answer.aborted);
    FormOf(harness.router, endpoint).check_broken_stream(answer.response.body);
  });
}

// ---- H: heads ----------------------------------------------------------------------------------

namespace {

struct BadHead {
  const char* name;
  std::function<void(const Route& route, RequestHead* head)> spoil;
  int status;
  bool needs_key = false;  // open routes do not ask for one
};

const BadHead kBadHeads[] = {
    {"no key", [](const Route&, RequestHead* head) { head->fields.clear(); }, 401, true},
    {"a foreign host", [](const Route&, RequestHead* head) { head->host = "evil.example"; }, 421},
    {"a foreign page",
     [](const Route&, RequestHead* head) {
       head->fields.push_back({"origin", "https://evil.example"});
     },
     403},
    {"a compressed body",
     [](const Route&, RequestHead* head) {
       head->content_length = 2;
       head->fields.push_back({"content-encoding", "gzip"});
     },
     415},
    {"a body that is too large",
     [](const Route& route, RequestHead* head) {
       head->content_length = route.options.body_bytes_max + 1;
     },
     413},
    {"a method of nobody's", [](const Route&, RequestHead* head) { head->method = "BREW"; }, 405},
    {"a path of nobody's",
     [](const Route&, RequestHead* head) { head->path += "/no/such/path/here"; }, 404},
    {"an escape that is no UTF-8",
     [](const Route&, RequestHead* head) {
       head->method = "GET";
       head->path = "/v1/models/%ff";
     },
     400},
};

RequestHead GoodHead(const Route& route) {
  RequestHead head;
  head.method = route.method;
  head.path = TargetOf(route.pattern);
  head.host = "localhost";
  head.fields = {{"authorization", "Bearer key"}, {"content-type", "application/json"}};
  return head;
}

}  // namespace

TEST_CASE("a head that is refused is refused in the form of its path's family, on every route") {
  Harness harness;
  FilterOptions options;
  options.api_keys = {"key"};
  options.admin_open = true;
  const Filters filters = *Filters::Make(options);
  FrontDoor door(&harness.router, &filters, &harness.metrics,
                 [](std::string_view prefix) { return std::string(prefix) + "test"; });
  for (const Route* route : harness.router.routes()) {
    INFO(route->method << " " << route->pattern);
    CHECK_FALSE(door.OnHead(GoodHead(*route)).refusal.has_value());
    const bool takes_all_below = route->pattern.find("...}") != std::string::npos;
    for (const BadHead& bad : kBadHeads) {
      if (bad.needs_key && route->options.open) continue;
      if (bad.status == 404 && takes_all_below) continue;
      INFO(bad.name);
      RequestHead head = GoodHead(*route);
      bad.spoil(*route, &head);
      const HeadVerdict verdict = door.OnHead(head);
      // Another route may lie below the path, for this method or for others.
      if (bad.status == 404 && !verdict.refusal.has_value()) continue;
      REQUIRE(verdict.refusal.has_value());
      INFO(verdict.refusal->body);
      const bool below = bad.status == 404 && verdict.refusal->status == 405;
      CHECK((below || verdict.refusal->status == bad.status));
      FormOf(harness.router, head.method, head.path).check(Parsed(verdict.refusal->body).root());
      bool allows = false;
      for (const auto& [name, value] : verdict.refusal->headers) allows = allows || name == "Allow";
      CHECK(allows == (verdict.refusal->status == 405));
    }
  }
}

TEST_CASE(
    "a body that is no JSON by its own account is 415, but for those whose clients say nothing") {
  const Harness harness;
  FilterOptions options;
  options.admin_open = true;
  const Filters filters = *Filters::Make(options);
  FrontMetrics metrics(nullptr);
  FrontDoor door(&harness.router, &filters, &metrics);
  ForEachEndpoint([&](const Endpoint& endpoint) {
    if (endpoint.body.empty()) return;
    const Router::Match match = harness.router.Find(endpoint.method, TargetOf(endpoint));
    REQUIRE(match.route != nullptr);
    RequestHead head = GoodHead(*match.route);
    head.content_length = 2;
    head.fields = {{"content-type", "text/plain"}};
    const HeadVerdict verdict = door.OnHead(head);
    CHECK(verdict.refusal.has_value() != match.route->options.any_content_type);
    if (verdict.refusal) CHECK(verdict.refusal->status == 415);
  });
}

}  // namespace conclave::gateway
