// Programs as models: small shell scripts in the roles of good and bad ones.
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "base/status.h"
#include "support/wait_until.h"
#include "unit/backends/provider_fixture.h"

namespace conclave::backends {
namespace {

// {"models":{"m":{…}}} with a shell script as the program.
std::string Config(const std::string& script, const std::string& more = "") {
  base::JsonWriter json;
  json.String(script);
  return R"({"models":{"m":{"argv":["/bin/sh","-c",)" + json.Take() + R"(],"restart_pause":"1ms")" +
         more + "}}}";
}

constexpr char kEcho[] = "while read -r line; do printf '{\"got\":%s}\\n' \"$line\"; done";
// Answers each request with its id, taken out of the line.
constexpr char kChat[] =
    "while read -r line; do id=${line#*\\\"id\\\":\\\"}; id=${id%%\\\"*}; "
    "case $line in *cancel*) echo \"{\\\"id\\\":\\\"$id\\\",\\\"finish_reason\\\":\\\"stop\\\"}\"; "
    "continue;; *wait*) echo "
    "\"{\\\"id\\\":\\\"$id\\\",\\\"delta\\\":{\\\"content\\\":\\\"A\\\"}}\"; "
    "continue;; *die*) echo "
    "\"{\\\"id\\\":\\\"$id\\\",\\\"delta\\\":{\\\"content\\\":\\\"A\\\"}}\"; "
    "exit 4;; *fail*) echo \"{\\\"id\\\":\\\"$id\\\",\\\"error\\\":{\\\"message\\\":\\\"no\\\","
    "\\\"code\\\":\\\"400\\\",\\\"param\\\":\\\"messages\\\"}}\"; continue;; esac; "
    "for t in Hel lo; do echo "
    "\"{\\\"id\\\":\\\"$id\\\",\\\"delta\\\":{\\\"content\\\":\\\"$t\\\"}}\"; "
    "done; echo \"{\\\"id\\\":\\\"$id\\\",\\\"finish_reason\\\":\\\"stop\\\","
    "\\\"usage\\\":{\\\"prompt_tokens\\\":5,\\\"completion_tokens\\\":2}}\"; done";
constexpr char kChatProtocol[] = R"(,"protocol":"chat")";

bool Logged(const ModelLog& log, const std::string& message) {
  for (const auto& entry : log.Newest(0)) {
    if (entry.message.find(message) != std::string::npos) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("predict is a line in and a line out, one after the other") {
  const Opened opened = OpenModel("subprocess", Config(kEcho), "m");
  std::vector<std::future<absl::StatusOr<std::string>>> replies;
  for (int i = 0; i < 20; ++i) {
    // A body of several lines is one line to the child.
    replies.push_back(
        AskPredict(*opened.backend, std::to_string(i), "{\n\"n\": " + std::to_string(i) + "\n}"));
  }
  for (int i = 0; i < 20; ++i) {
    CHECK(*replies[static_cast<size_t>(i)].get() == "{\"got\":{\"n\":" + std::to_string(i) + "}}");
  }
  CHECK(absl::IsUnimplemented(
      opened.backend->Generate(AskChat("r"), std::make_shared<RecordingSink>()).status()));
  CHECK(opened.backend->load().running == 0);
}

TEST_CASE("what a program says on stderr is in the model's log, and so are its starts and ends") {
  const Opened opened = OpenModel(
      "subprocess", Config("echo loading >&2; read -r line; echo '{}'; echo bye >&2; exit 7"), "m");
  CHECK(AskPredict(*opened.backend, "1", "{\"secret\":1}").get().ok());
  CHECK(support::WaitUntil([&] { return Logged(*opened.log, "process ended"); }));
  CHECK(Logged(*opened.log, "loading"));
  CHECK(Logged(*opened.log, "bye"));
  CHECK(Logged(*opened.log, "process started"));
  CHECK(!Logged(*opened.log, "secret"));
}

TEST_CASE("a program that ends is started again, and a request it had is an error") {
  const Opened opened = OpenModel(
      "subprocess",
      Config("read -r line; case $line in *die*) exit 3;; esac; echo '\"ok\"'; "
             "while read -r line; do case $line in *die*) exit 3;; esac; echo '\"ok\"'; done"),
      "m");
  CHECK(*AskPredict(*opened.backend, "1", "1").get() == "\"ok\"");
  const absl::Status lost = AskPredict(*opened.backend, "2", "\"die\"").get().status();
  CHECK(absl::IsInternal(lost));
  CHECK(base::ReasonOf(lost) == "upstream_lost");
  CHECK(*AskPredict(*opened.backend, "3", "1").get() == "\"ok\"");
  CHECK(opened.backend->health().ok());
}

TEST_CASE("a program that keeps ending is unhealthy; with restart never after the first time") {
  const Opened opened = OpenModel("subprocess", Config("exit 1"), "m");
  REQUIRE(support::WaitUntil([&] { return !opened.backend->health().ok(); }));
  CHECK(absl::IsUnavailable(AskPredict(*opened.backend, "1", "1").get().status()));
  const Opened once =
      OpenModel("subprocess", Config("read -r line; exit 0", R"(,"restart":"never")"), "m");
  CHECK(once.backend->health().ok());
  CHECK(!AskPredict(*once.backend, "1", "1").get().ok());
  REQUIRE(support::WaitUntil([&] { return !once.backend->health().ok(); }));
  CHECK(once.backend->health().message().find("has ended (exit status 0)") !=
        absl::string_view::npos);
}

TEST_CASE(
    "who takes too long, writes too much, nonsense or nothing, is an error, and the next request "
    "is served") {
  const std::string script =
      "while read -r line; do case $line in *hang*) sleep 1000;; *text*) echo hello;; "
      "*long*) head -c 3000 /dev/zero | tr '\\0' x; echo;; "
      "*flood*) tr '\\0' x </dev/zero;; *close*) exec 1>&-; sleep 1000;; *) echo '\"ok\"';; esac; "
      "done";
  const Opened opened = OpenModel(
      "subprocess", Config(script, R"(,"request_timeout":"2s","line_bytes_max":2048)"), "m");
  const auto outcome = [&](const std::string& body) {
    return AskPredict(*opened.backend, body, "\"" + body + "\"").get().status();
  };
  CHECK(absl::IsDeadlineExceeded(outcome("hang")));
  CHECK(outcome("fine").ok());
  CHECK(base::ReasonOf(outcome("text")) == "upstream_invalid");
  CHECK(base::ReasonOf(outcome("long")) == "upstream_invalid");
  CHECK(base::ReasonOf(outcome("flood")) == "upstream_invalid");
  CHECK(base::ReasonOf(outcome("close")) == "upstream_lost");
  CHECK(outcome("fine again").ok());
}

TEST_CASE("a chat is streamed in lines") {
  const Opened opened = OpenModel("subprocess", Config(kChat, kChatProtocol), "m");
  const auto sink = std::make_shared<RecordingSink>();
  REQUIRE(opened.backend->Generate(AskChat("r1"), sink).ok());
  REQUIRE(sink->WaitForEnd());
  CHECK(sink->text() == "Hello");
  REQUIRE(sink->finished());
  CHECK(sink->finished()->usage.prompt_tokens == 5);
  CHECK(absl::IsUnimplemented(AskPredict(*opened.backend, "p", "1").get().status()));

  const auto failed = std::make_shared<RecordingSink>();
  REQUIRE(opened.backend->Generate(AskChat("r2", "fail"), failed).ok());
  REQUIRE(failed->WaitForEnd());
  CHECK(absl::IsInvalidArgument(failed->failure()));
  CHECK(base::ParamOf(failed->failure()) == "messages");

  const auto lost = std::make_shared<RecordingSink>();
  REQUIRE(opened.backend->Generate(AskChat("r3", "die"), lost).ok());
  REQUIRE(lost->WaitForEnd());
  CHECK(absl::IsInternal(lost->failure()));
  CHECK(base::ReasonOf(lost->failure()) == "upstream_lost");
  CHECK(lost->text() == "A");
}

TEST_CASE("a program gives several answers, one after the other") {
  const Opened opened = OpenModel("subprocess", Config(kChat, kChatProtocol), "m");
  const auto sink = std::make_shared<RecordingSink>(0, 3);
  GenerateRequest request = AskChat("r");
  request.n = 3;
  REQUIRE(opened.backend->Generate(std::move(request), sink).ok());
  REQUIRE(sink->WaitForEnd());
  for (int32_t index = 0; index < 3; ++index) CHECK(sink->text(index) == "Hello");
  REQUIRE(sink->all_finished().size() == 3);
  for (const Finished& one : sink->all_finished()) CHECK(one.usage.completion_tokens == 2);
  // All end with the request: one with the program, the others in its queue.
  const auto waits = std::make_shared<RecordingSink>(0, 3);
  request = AskChat("w", "wait");
  request.n = 3;
  REQUIRE(opened.backend->Generate(std::move(request), waits).ok());
  REQUIRE(waits->WaitForDeltas(1));
  opened.backend->Cancel("w");
  REQUIRE(waits->WaitForEnd());
  CHECK(waits->all_finished().size() == 3);
  CHECK(opened.backend->load().running == 0);
}

TEST_CASE("a cancelled chat ends at once, whether the program listens or not") {
  for (const std::string& script :
       {std::string(kChat), std::string("read -r line; echo '{\"id\":\"r1\",\"delta\":{\"content\":"
                                        "\"A\"}}'; sleep 1000")}) {
    const Opened opened =
        OpenModel("subprocess", Config(script, R"(,"protocol":"chat","cancel_grace":"50ms")"), "m");
    const auto sink = std::make_shared<RecordingSink>();
    REQUIRE(opened.backend->Generate(AskChat("r1", "wait"), sink).ok());
    REQUIRE(sink->WaitForDeltas(1));
    const auto waiting = std::make_shared<RecordingSink>();
    REQUIRE(opened.backend->Generate(AskChat("r2"), waiting).ok());
    opened.backend->Cancel("r2");
    REQUIRE(waiting->WaitForEnd());
    CHECK(waiting->finished()->reason == Finished::Reason::kCancelled);
    opened.backend->Cancel("r1");
    REQUIRE(sink->WaitForEnd());
    CHECK(sink->finished()->reason == Finished::Reason::kCancelled);
    // The place is free again.
    const auto next = std::make_shared<RecordingSink>();
    REQUIRE(opened.backend->Generate(AskChat("r1"), next).ok());
    CHECK(next->WaitForDeltas(1));
  }
}

TEST_CASE("several processes answer at once") {
  std::string folder = (std::filesystem::temp_directory_path() / "conclave-XXXXXX").string();
  REQUIRE(mkdtemp(folder.data()) != nullptr);
  // Nobody answers before three have been asked.
  const std::string script =
      "while read -r line; do : >\"$D/$$\"; "
      "while [ \"$(ls $D | wc -l)\" -lt 3 ]; do sleep 0.01; done; "
      "echo '\"ok\"'; done";
  {
    const Opened opened = OpenModel(
        "subprocess", Config(script, R"(,"processes":3,"env":{"D":")" + folder + "\"}"), "m");
    std::vector<std::future<absl::StatusOr<std::string>>> replies;
    for (int i = 0; i < 3; ++i) {
      replies.push_back(AskPredict(*opened.backend, std::to_string(i), "1"));
    }
    for (auto& reply : replies) CHECK(reply.get().ok());
  }
  std::filesystem::remove_all(folder);
}

TEST_CASE("a full queue refuses, and who waits too long is told so") {
  const Opened opened = OpenModel(
      "subprocess",
      Config("sleep 1000", R"(,"max_queued":1,"request_timeout":"300ms","stop_grace":"0ms")"), "m");
  auto running = AskPredict(*opened.backend, "1", "1");
  REQUIRE(support::WaitUntil([&] { return opened.backend->load().waiting == 0; }));
  auto waiting = AskPredict(*opened.backend, "2", "1");
  auto more = AskPredict(*opened.backend, "3", "1");
  CHECK(absl::IsResourceExhausted(AskPredict(*opened.backend, "4", "1").get().status()));
  CHECK(absl::IsDeadlineExceeded(running.get().status()));
  CHECK(absl::IsDeadlineExceeded(waiting.get().status()));
  CHECK(absl::IsDeadlineExceeded(more.get().status()));
}

TEST_CASE("only what the configuration holds is run") {
  const auto provider = MakeProvider("subprocess", Config(kEcho));
  REQUIRE(provider.ok());
  const auto open = [&](const std::string& id, const std::string& config) {
    return (*provider)
        ->Open({.name = "x", .model_id = id, .config_json = config, .log = nullptr})
        .status();
  };
  CHECK(absl::IsNotFound(open("/bin/sh", "")));
  CHECK(absl::IsNotFound(open("m; rm -rf /", "")));
  CHECK(absl::IsInvalidArgument(open("m", R"({"argv":["/bin/id"]})")));
  const auto refusal = [](const std::string& program) {
    return std::string(
        MakeProvider("subprocess", R"({"models":{"m":)" + program + "}}").status().message());
  };
  CHECK(refusal("{}") == "models.m.argv: required");
  CHECK(refusal(R"({"argv":["sh"]})").find("models.m.argv: ") == 0);
  CHECK(refusal(R"({"argv":["/bin/sh"],"shell":true})") ==
        "models.m.shell: there is no such setting");
  CHECK(refusal(R"({"argv":["/bin/sh"],"protocol":"x"})").find("models.m.protocol: ") == 0);
  CHECK(refusal(R"({"argv":["/bin/sh"],"processes":0})").find("models.m.processes: ") == 0);
  const auto missing = MakeProvider("subprocess", R"({"models":{"m":{"argv":["/nowhere/x"]}}})");
  REQUIRE(missing.ok());
  CHECK((*missing)
            ->Open({.name = "x", .model_id = "m", .config_json = "", .log = nullptr})
            .status()
            .message() == "/nowhere/x: No such file or directory");
}

}  // namespace conclave::backends
