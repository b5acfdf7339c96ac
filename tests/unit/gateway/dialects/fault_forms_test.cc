// Every dialect × every fault of what is behind the gateway × streamed or not × how much had been
// said (mesh reference 2.3 and F3): the status, the dialect's own form, when to come again, nothing
// of our inside, and never an end that looks whole.
#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "base/status.h"
#include "catch2/catch.hpp"
#include "support/endpoint_probe.h"
#include "support/error_forms.h"

namespace conclave::gateway {
namespace {

using std::chrono::milliseconds;

struct Fault {
  const char* name;
  absl::Status status;  // of the call to the worker
  int http_status;
  const char* retry_after;  // "" = no such header
  const char* says;
  const char* hides;  // "" = nothing to hide
};

const std::vector<Fault>& Faults() {
  static const std::vector<Fault> kFaults = {
      {"lost", base::WithReason(base::Unavailable("the worker was lost"), "worker_lost"), 503, "1",
       "the worker was lost", ""},
      {"refused by the transport",
       base::Unavailable("ipv4:10.0.0.7:50051: Failed to connect to remote host"), 503, "1",
       "not available", "10.0.0.7"},
      {"overloaded",
       base::WithRetryAfter(
           base::WithReason(absl::ResourceExhaustedError("the queue is full"), "queue_full"),
           milliseconds(6'100)),
       429, "7", "the queue is full", ""},
      {"another server's loss",
       base::WithReason(base::Internal("the remote server ended its answer early"),
                        "upstream_lost"),
       500, "", "early", ""},
      {"a mistake of the worker's", base::Internal("null weights of /srv/models/secret.gguf"), 500,
       "", "internal error", "secret"},
      {"a request that the model refuses",
       base::WithParam(base::InvalidArgument("response_format: too many rules"), "response_format"),
       400, "", "too many rules", ""},
      {"what the model cannot do",
       base::WithReason(base::Unimplemented("this model keeps to no format"), "not_supported"), 501,
       "", "no format", ""},
      {"a model that has gone",
       base::WithReason(absl::NotFoundError("the model is not here any more"), "model_not_found"),
       404, "", "not here", ""},
      {"out of time", absl::DeadlineExceededError("the generation took too long"), 504, "",
       "too long", ""},
  };
  return kFaults;
}

// Of AnswerEverything: accepted, how far the prompt is read, a thought, a text, the end.
constexpr size_t kEventsBeforeEnd = 4;
constexpr const char* kThought = "hm";
constexpr const char* kText = " two";

std::string HeaderOf(const RecordingWriter& answer, std::string_view name) {
  for (const auto& [key, value] : answer.response.headers) {
    if (key == name) return value;
  }
  return "";
}

RecordingWriter Ask(Harness& harness, const Endpoint& endpoint, const std::string& body,
                    std::function<void(RecordingWriter&)> after_write = nullptr) {
  return harness.Call(std::string(endpoint.method), TargetOf(endpoint) + QueryOf(endpoint), body,
                      std::move(after_write));
}

// What the endpoint's example leads to.
struct Asked {
  bool generates = false;
  bool asks_else = false;  // for vectors, ranks or tokens
};
Asked AskedBy(const Endpoint& endpoint) {
  if (IsEndless(endpoint)) return {};
  Harness harness;
  AnswerEverything(harness);
  Ask(harness, endpoint, std::string(endpoint.body));
  const FakeInference& inference = harness.inference;
  Asked asked{.generates = !inference.requests.empty()};
  asked.asks_else = !harness.embedding.requests.empty() || !harness.embedding.reranked.empty() ||
                    !inference.tokenized.empty() || !inference.detokenized.empty();
  return asked;
}

// Visits what generates; `streamed` only where the endpoint can.
void ForEachGeneration(
    const std::function<void(const Endpoint&, const std::string& body, bool streamed)>& visit) {
  int visited = 0;
  ForEachEndpoint([&](const Endpoint& endpoint) {
    if (!AskedBy(endpoint).generates) return;
    ++visited;
    const std::string body(endpoint.body);
    if (endpoint.stream.empty()) return visit(endpoint, body, false);
    for (const bool streamed : {false, true}) {
      INFO("streamed " << streamed);
      visit(endpoint, WithField(body, "stream", streamed ? "true" : "false"), streamed);
    }
  });
  CHECK(visited >= 15);  // or the visit shows nothing
}

void CheckRefusal(const Harness& harness, const Endpoint& endpoint, const RecordingWriter& answer,
                  const Fault& fault) {
  INFO(answer.response.body);
  const int unavailable =
      harness.router.error_family(endpoint.method, endpoint.path).unavailable_status;
  CHECK(answer.response.status == (fault.http_status == 503 ? unavailable : fault.http_status));
  CHECK(HeaderOf(answer, "Retry-After") == fault.retry_after);
  const bool in_vain = fault.http_status == 500 || fault.http_status == 501;
  CHECK(HeaderOf(answer, "x-should-retry") == (in_vain ? "false" : ""));
  FormOf(harness.router, endpoint).check(Parsed(answer.response.body).root());
  CHECK(answer.response.body.find(fault.says) != std::string::npos);
  CHECK(answer.response.body.find(kThought) == std::string::npos);
  CHECK(answer.response.body.find(kText) == std::string::npos);
}

void CheckBroken(const Harness& harness, const Endpoint& endpoint, const RecordingWriter& answer,
                 std::string_view says) {
  INFO(answer.response.body);
  CHECK(answer.response.status == 200);
  CHECK(answer.response.content_type.rfind(endpoint.stream, 0) == 0);
  CHECK(answer.aborted);  // the connection does not end as after a whole answer, either
  FormOf(harness.router, endpoint).check_broken_stream(answer.response.body);
  CHECK(answer.response.body.find(says) != std::string::npos);
}

}  // namespace

TEST_CASE("a fault before, in and at the end of an answer is told in the dialect's form") {
  ForEachGeneration([](const Endpoint& endpoint, const std::string& body, bool streamed) {
    for (const Fault& fault : Faults()) {
      for (size_t said = 0; said <= kEventsBeforeEnd; ++said) {
        INFO(fault.name << " after " << said << " events");
        Harness harness;
        AnswerEverything(harness);
        harness.inference.events.resize(said);
        harness.inference.status = fault.status;
        const RecordingWriter answer = Ask(harness, endpoint, body);
        if (streamed && said > 0) {
          CheckBroken(harness, endpoint, answer, fault.says);
          const bool has_text = answer.response.body.find(kText) != std::string::npos;
          CHECK(has_text == (said == kEventsBeforeEnd));  // what was said stays said
        } else {
          CheckRefusal(harness, endpoint, answer, fault);
        }
        const std::string hidden = fault.hides;
        if (!hidden.empty()) CHECK(answer.response.body.find(hidden) == std::string::npos);
        CHECK(answer.ended);
      }
    }
  });
}

TEST_CASE("an answer that its worker gave up is an error, not a short answer") {
  ForEachGeneration([](const Endpoint& endpoint, const std::string& body, bool streamed) {
    Harness harness;
    AnswerEverything(harness);
    harness.inference.events.back().mutable_finished()->set_reason(v1::Finished::REASON_CANCELLED);
    const RecordingWriter answer = Ask(harness, endpoint, body);
    const Fault given_up = {"given up", absl::OkStatus(), 503, "1", "gave the request up", ""};
    if (streamed) {
      CheckBroken(harness, endpoint, answer, given_up.says);
    } else {
      CheckRefusal(harness, endpoint, answer, given_up);
    }
  });
}

TEST_CASE("a drain that cannot wait for a stream ends it with an error") {
  ForEachGeneration([](const Endpoint& endpoint, const std::string& body, bool streamed) {
    if (!streamed) return;
    Harness harness;
    AnswerEverything(harness);
    harness.inference.events.pop_back();
    harness.inference.never_ends = true;
    const RecordingWriter answer = Ask(harness, endpoint, body, [](RecordingWriter& writer) {
      if (writer.reason != CancelReason::kNone) return;
      writer.reason = CancelReason::kDrain;
      writer.on_cancel();
    });
    CHECK(harness.inference.cancelled == 1);
    CheckBroken(harness, endpoint, answer, "shutting down");
  });
}

TEST_CASE("a client that goes cancels its generation and hears nothing more") {
  ForEachGeneration([](const Endpoint& endpoint, const std::string& body, bool streamed) {
    if (!streamed) return;
    Harness harness;
    AnswerEverything(harness);
    harness.inference.events.pop_back();
    harness.inference.never_ends = true;
    size_t heard = 0;
    const RecordingWriter answer = Ask(harness, endpoint, body, [&](RecordingWriter& writer) {
      heard = writer.response.body.size();
      if (writer.reason != CancelReason::kNone) return;
      writer.reason = CancelReason::kClientGone;
      writer.on_cancel();
    });
    CHECK(harness.inference.cancelled == 1);
    CHECK(answer.response.body.size() == heard);
    CHECK(answer.response.body.find("error") == std::string::npos);
  });
}

TEST_CASE("of several answers, one that is whole does not make the stream whole") {
  int visited = 0;
  ForEachGeneration([&visited](const Endpoint& endpoint, const std::string& body, bool streamed) {
    const bool several = std::any_of(
        endpoint.parameters.begin(), endpoint.parameters.end(), [](const Parameter& row) {
          return row.name == "n" && row.treatment == Treatment::kHonoured;
        });
    if (!several) return;
    ++visited;
    Harness harness;
    AnswerEverything(harness);
    harness.inference.status = Faults().front().status;  // the other never finishes
    const RecordingWriter answer = Ask(harness, endpoint, WithField(body, "n", "2"));
    if (streamed) {
      CheckBroken(harness, endpoint, answer, Faults().front().says);
    } else {
      CheckRefusal(harness, endpoint, answer, Faults().front());
    }
  });
  CHECK(visited >= 4);
}

TEST_CASE("a fault under embeddings, ranks and tokens is told in the dialect's form") {
  int visited = 0;
  ForEachEndpoint([&visited](const Endpoint& endpoint) {
    const Asked asked = AskedBy(endpoint);
    if (asked.generates || !asked.asks_else) return;
    ++visited;
    for (const Fault& fault : Faults()) {
      INFO(fault.name);
      Harness harness;
      AnswerEverything(harness);
      harness.embedding.status = harness.inference.status = fault.status;
      const RecordingWriter answer = Ask(harness, endpoint, std::string(endpoint.body));
      CheckRefusal(harness, endpoint, answer, fault);
      const std::string hidden = fault.hides;
      if (!hidden.empty()) CHECK(answer.response.body.find(hidden) == std::string::npos);
    }
  });
  CHECK(visited >= 10);
}

}  // namespace conclave::gateway
