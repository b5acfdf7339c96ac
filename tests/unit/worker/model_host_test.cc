#include "worker/model_host.h"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "backends/scripted.h"
#include "base/status.h"
#include "unit/backends/recording_sink.h"

namespace conclave::worker {
namespace {

using std::chrono::milliseconds;

std::string WriteScript(const std::string& text) {
  std::string path = (std::filesystem::temp_directory_path() / "conclave-script-XXXXXX").string();
  const int fd = mkstemp(path.data());
  if (fd >= 0) close(fd);
  std::ofstream(path) << text;
  return path;
}

std::unique_ptr<backends::Backend> Scripted(const char* script) {
  return *backends::MakeScripted(script);
}

}  // namespace

TEST_CASE("a model loads from a file and is found by name and alias") {
  const std::string path = WriteScript("{}");
  ModelHost host({});
  REQUIRE(host.Load({.name = "m",
                     .path = path,
                     .backend = "scripted",
                     .aliases = {"alias"},
                     .trusted = true})
              .ok());
  CHECK(host.Acquire("m").ok());
  CHECK(host.Acquire("alias")->model().name == "m");
  const auto missing = host.Acquire("other").status();
  CHECK(missing.code() == absl::StatusCode::kNotFound);
  CHECK(base::ReasonOf(missing) == "model_not_found");
  // The digest comes later, in the background.
  uint64_t seen = 0;
  for (int i = 0; i < 20 && host.List()[0]->status().digest.empty(); ++i) {
    seen = host.WaitForChange(seen, milliseconds(1'000));
  }
  CHECK(host.List()[0]->status().digest.starts_with("sha256:"));
  std::filesystem::remove(path);
}

TEST_CASE("a model that fails to load says why, and may be tried again") {
  const std::string path = WriteScript("{\"nonsense\": 1}");
  ModelHost host({});
  const LoadSpec spec{
      .name = "m", .path = path, .backend = "scripted", .aliases = {}, .trusted = true};
  CHECK(host.Load(spec).code() == absl::StatusCode::kInvalidArgument);
  const auto failed = host.Acquire("m").status();
  CHECK(failed.code() == absl::StatusCode::kFailedPrecondition);
  CHECK(base::ReasonOf(failed) == "model_failed");
  std::ofstream(path) << "{}";
  CHECK(host.Load(spec).ok());
  CHECK(host.List().size() == 1);
  std::filesystem::remove(path);
}

TEST_CASE("what cannot be loaded is refused before it is listed") {
  ModelHost host({});
  const auto code = [&](LoadSpec spec) { return host.StartLoading(spec).status().code(); };
  CHECK(code({.name = "m", .path = "/nowhere", .backend = "", .aliases = {}, .trusted = true}) ==
        absl::StatusCode::kNotFound);
  CHECK(code({.name = "m", .path = "/etc/passwd", .backend = "", .aliases = {}}) ==
        absl::StatusCode::kPermissionDenied);
  CHECK(
      code({.name = "a b", .path = "/etc/passwd", .backend = "", .aliases = {}, .trusted = true}) ==
      absl::StatusCode::kInvalidArgument);
  CHECK(host.List().empty());
  REQUIRE(host.Add("m", Scripted(R"({"aliases": ["alias"]})")).ok());
  CHECK(host.Add("m", Scripted("{}")).code() == absl::StatusCode::kAlreadyExists);
  CHECK(host.Add("alias", Scripted("{}")).code() == absl::StatusCode::kAlreadyExists);
}

TEST_CASE("a host holds so many models and no more") {
  HostOptions options;
  options.models_max = 1;
  ModelHost host(options);
  REQUIRE(host.Add("a", Scripted("{}")).ok());
  CHECK(host.Add("b", Scripted("{}")).code() == absl::StatusCode::kResourceExhausted);
}

TEST_CASE("unloading waits for the lease and then frees the name") {
  ModelHost host({});
  REQUIRE(host.Add("m", Scripted("{}")).ok());
  auto lease = host.Acquire("m");
  REQUIRE(lease.ok());
  std::jthread unload([&] { CHECK(host.Unload("m").ok()); });
  uint64_t seen = 0;
  while (host.List().at(0)->status().state != HostedModel::State::kUnloading) {
    seen = host.WaitForChange(seen, milliseconds(1'000));
  }
  CHECK(base::ReasonOf(host.Acquire("m").status()) == "model_loading");
  CHECK(host.Unload("m").code() == absl::StatusCode::kFailedPrecondition);
  { const ModelLease gone = *std::move(lease); }
  unload.join();
  CHECK(host.List().empty());
  CHECK(host.Unload("m").code() == absl::StatusCode::kNotFound);
}

TEST_CASE("streams that outstay the drain time are cancelled by unloading") {
  HostOptions options;
  options.unload_drain = milliseconds(10);
  ModelHost host(options);
  REQUIRE(host.Add("m", Scripted(R"({"rules": [{"steps": [{"hang": true}]}]})")).ok());
  // The sink holds the lease, as a stream does.
  struct Holding final : backends::EventSink {
    backends::Flow OnEvent(backends::Event event) override {
      return recorder.OnEvent(std::move(event));
    }
    backends::RecordingSink recorder;
    std::optional<ModelLease> lease;
  };
  auto sink = std::make_shared<Holding>();
  sink->lease = *host.Acquire("m");
  backends::GenerateRequest request;
  request.id = "r";
  request.prompt = backends::TextPrompt{"x"};
  REQUIRE(sink->lease->backend().Generate(std::move(request), sink).ok());
  backends::RecordingSink* recorder = &sink->recorder;
  const std::weak_ptr<Holding> weak = sink;
  std::jthread release([recorder, held = std::move(sink)]() mutable {
    CHECK(recorder->WaitForEnd());
    held.reset();
  });
  CHECK(host.Unload("m").ok());
  release.join();
  CHECK(weak.expired());
}

}  // namespace conclave::worker
