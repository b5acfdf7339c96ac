// What every backend keeps, whatever stands behind it: the rows of AllBackends and
// AllProviderTypes, each with a model that is opened for the test. A new row without one fails
// here.
#include <catch2/catch.hpp>
#include <functional>
#include <map>

#include "backends/scripted.h"
#include "base/status.h"
#include "support/http_peer.h"
#include "support/wait_until.h"
#include "unit/backends/native_fixture.h"
#include "unit/backends/provider_fixture.h"

namespace conclave::backends {
namespace {

using support::HttpPeer;
using support::PeerConnection;
using support::PeerRequest;

// A model and whatever it needs to live, in the order of need.
struct Subject {
  std::shared_ptr<void> peer;
  Opened opened;
  Backend& model() { return *opened.backend; }
};

struct Row {
  bool generates = false;
  bool predicts = false;
  // An answer of many deltas; with `endless` one that does not end by itself.
  std::function<Subject(bool endless)> open;
};

Subject OpenNative(bool) {
  static const TinyModelFile file;
  Subject subject;
  subject.opened.backend = file.Open();
  return subject;
}

Subject OpenScript(bool endless) {
  const std::string text(endless ? 20'000 : 10, 'a');
  Subject subject;
  subject.opened.backend = *MakeScripted(std::string(endless ? R"({"token_ms":1,)" : "{") +
                                         R"("rules":[{"steps":[{"text":")" + text + "\"}]}]}");
  return subject;
}

Subject OpenRemote(bool endless) {
  Subject subject;
  auto peer =
      std::make_shared<HttpPeer>([endless](const PeerRequest& request, PeerConnection& connection) {
        if (request.path == "/models") return connection.Reply(200, R"({"data":[{"id":"m"}]})");
        connection.BeginStream();
        const std::string piece = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
        for (int i = 0; i < 10 || endless; ++i) {
          if (!connection.Send(piece)) return;
        }
        connection.Send(
            "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
            "data: [DONE]\n\n");
      });
  subject.opened = OpenModel("remote::openai", R"({"url":"http://)" + peer->address() + "\"}", "m");
  subject.peer = std::move(peer);
  return subject;
}

Subject OpenHttp(bool endless) {
  Subject subject;
  auto peer =
      std::make_shared<HttpPeer>([endless](const PeerRequest& request, PeerConnection& connection) {
        if (endless) {
          connection.WaitForHangUp();
        } else {
          connection.Reply(200, request.body);
        }
      });
  subject.opened = OpenModel("remote::http", R"({"destinations":[")" + peer->address() + "\"]}",
                             peer->address());
  subject.peer = std::move(peer);
  return subject;
}

Subject OpenProgram(bool endless) {
  const std::string script =
      "while read -r line; do id=${line#*\\\"id\\\":\\\"}; id=${id%%\\\"*}; i=0; "
      "while [ $i -lt " +
      std::string(endless ? "1000000" : "10") +
      " ]; do echo \"{\\\"id\\\":\\\"$id\\\",\\\"delta\\\":{\\\"content\\\":\\\"a\\\"}}\"; "
      "i=$((i+1)); done; echo \"{\\\"id\\\":\\\"$id\\\",\\\"finish_reason\\\":\\\"stop\\\"}\"; "
      "done";
  base::JsonWriter json;
  json.String(script);
  Subject subject;
  subject.opened = OpenModel("subprocess",
                             R"({"models":{"m":{"argv":["/bin/sh","-c",)" + json.Take() +
                                 R"(],"protocol":"chat","cancel_grace":"10ms"}}})",
                             "m");
  return subject;
}

// The same type's other protocol.
Subject OpenPredictProgram(bool endless) {
  Subject subject;
  subject.opened = OpenModel("subprocess",
                             std::string(R"({"models":{"m":{"argv":["/bin/)") +
                                 (endless ? R"(sleep","1000"])" : R"(cat"])") +
                                 R"(,"cancel_grace":"10ms","stop_grace":"0ms"}}})",
                             "m");
  return subject;
}

const std::map<std::string, Row>& Rows() {
  static const std::map<std::string, Row> rows = {
      {"native", {.generates = true, .predicts = false, .open = OpenNative}},
      {"scripted", {.generates = true, .predicts = false, .open = OpenScript}},
      {"remote::openai", {.generates = true, .predicts = false, .open = OpenRemote}},
      {"remote::http", {.generates = false, .predicts = true, .open = OpenHttp}},
      {"subprocess", {.generates = true, .predicts = false, .open = OpenProgram}},
      {"subprocess/predict", {.generates = false, .predicts = true, .open = OpenPredictProgram}}};
  return rows;
}

GenerateRequest Ask(const std::string& id, int32_t max_tokens = 400) {
  GenerateRequest request = AskChat(id);
  request.stop.max_tokens = max_tokens;
  request.stop.ignore_eos = true;
  return request;
}

void ForEach(bool Row::*kind, const std::function<void(const Row&)>& test) {
  for (const auto& [name, row] : Rows()) {
    if (!(row.*kind)) continue;
    CAPTURE(name);
    test(row);
  }
}

}  // namespace

TEST_CASE("every kind of backend and every type of provider is held to this") {
  for (const BackendKind& kind : AllBackends()) {
    CAPTURE(kind.name);
    CHECK(Rows().count(std::string(kind.name)) == 1);
  }
  for (const ProviderType& type : AllProviderTypes()) {
    CAPTURE(type.name);
    CHECK(Rows().count(std::string(type.name)) == 1);
  }
  CHECK(absl::IsNotFound(OpenBackend("other", {}).status()));
  CHECK(absl::IsInvalidArgument(OpenProvider("other", {}).status()));
}

TEST_CASE("an answer is deltas numbered without gaps and one end, and two at once do not mix") {
  ForEach(&Row::generates, [](const Row& row) {
    Subject subject = row.open(false);
    const auto a = std::make_shared<RecordingSink>();
    const auto b = std::make_shared<RecordingSink>();
    REQUIRE(subject.model().Generate(Ask("a", 12), a).ok());
    REQUIRE(subject.model().Generate(Ask("b", 12), b).ok());
    for (const auto& sink : {a, b}) {
      REQUIRE(sink->WaitForEnd());
      INFO(sink->failure().ToString());
      REQUIRE(sink->finished());
      const auto deltas = sink->deltas();
      CHECK(deltas.size() >= 10);
      for (size_t i = 0; i < deltas.size(); ++i) CHECK(deltas[i].seq == static_cast<int64_t>(i));
      CHECK(sink->finished()->usage.completion_tokens >= 10);
      CHECK(sink->ends() == 1);
    }
    CHECK(support::WaitUntil([&] { return subject.model().load().running == 0; }));
  });
}

TEST_CASE("a cancelled request ends as cancelled, once, and its place is free") {
  ForEach(&Row::generates, [](const Row& row) {
    Subject subject = row.open(true);
    for (int i = 0; i < 3; ++i) {
      const auto sink = std::make_shared<RecordingSink>();
      REQUIRE(subject.model().Generate(Ask("r"), sink).ok());
      REQUIRE(sink->WaitForDeltas(1));
      subject.model().Cancel("r");
      subject.model().Cancel("nobody");
      REQUIRE(sink->WaitForEnd());
      REQUIRE(sink->finished());
      CHECK(sink->finished()->reason == Finished::Reason::kCancelled);
      CHECK(sink->ends() == 1);
    }
  });
}

TEST_CASE("a paused request says nothing until it is resumed, and can be cancelled meanwhile") {
  ForEach(&Row::generates, [](const Row& row) {
    Subject subject = row.open(true);
    const auto paused = std::make_shared<RecordingSink>(3);
    REQUIRE(subject.model().Generate(Ask("paused"), paused).ok());
    REQUIRE(paused->WaitForDeltas(3));
    CHECK(paused->deltas().size() == 3);
    subject.model().Resume("paused");
    REQUIRE(paused->WaitForDeltas(6));
    subject.model().Cancel("paused");
    REQUIRE(paused->WaitForEnd());

    const auto stuck = std::make_shared<RecordingSink>(2);
    REQUIRE(subject.model().Generate(Ask("stuck"), stuck).ok());
    REQUIRE(stuck->WaitForDeltas(2));
    subject.model().Cancel("stuck");
    REQUIRE(stuck->WaitForEnd());
    CHECK(stuck->finished()->reason == Finished::Reason::kCancelled);
    CHECK(stuck->deltas().size() == 2);
  });
}

TEST_CASE("a backend that drains refuses, cancels what is left, and then has nothing running") {
  ForEach(&Row::generates, [](const Row& row) {
    Subject subject = row.open(true);
    const auto sink = std::make_shared<RecordingSink>();
    REQUIRE(subject.model().Generate(Ask("r"), sink).ok());
    REQUIRE(sink->WaitForDeltas(1));
    subject.model().Drain(std::chrono::milliseconds(0));
    REQUIRE(sink->WaitForEnd());
    CHECK(sink->ends() == 1);
    CHECK(absl::IsUnavailable(
        subject.model().Generate(Ask("late"), std::make_shared<RecordingSink>()).status()));
  });
}

TEST_CASE("who does not generate or predict says so") {
  for (const auto& [name, row] : Rows()) {
    CAPTURE(name);
    Subject subject = row.open(false);
    if (!row.predicts) {
      CHECK(absl::IsUnimplemented(AskPredict(subject.model(), "p", "{}").get().status()));
    }
    if (!row.generates) {
      CHECK(absl::IsUnimplemented(
          subject.model().Generate(Ask("g"), std::make_shared<RecordingSink>()).status()));
    }
    CHECK(subject.model().health().ok());
    CHECK(!subject.model().details().capabilities.empty());
  }
}

TEST_CASE("a prediction is JSON in and out, and cancelling ends it") {
  ForEach(&Row::predicts, [](const Row& row) {
    Subject subject = row.open(false);
    CHECK(*AskPredict(subject.model(), "1", R"({"a":[1,"é"]})").get() == R"({"a":[1,"é"]})");

    Subject endless = row.open(true);
    auto reply = AskPredict(endless.model(), "2", "1");
    endless.model().Cancel("2");
    CHECK(absl::IsCancelled(reply.get().status()));
    auto left = AskPredict(endless.model(), "3", "1");
    endless.model().Drain(std::chrono::milliseconds(0));
    CHECK(absl::IsCancelled(left.get().status()));
    CHECK(absl::IsUnavailable(AskPredict(endless.model(), "4", "1").get().status()));
  });
}

}  // namespace conclave::backends
