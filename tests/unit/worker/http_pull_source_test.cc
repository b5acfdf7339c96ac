#include "worker/http_pull_source.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status.h"
#include "support/http_peer.h"
#include "worker/puller.h"

namespace conclave::worker {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using support::HttpPeer;
using support::PeerConnection;
using support::PeerRequest;

std::string DigestOf(const std::string& bytes) {
  base::Sha256 hash;
  hash.Add(bytes.data(), bytes.size());
  return "sha256:" + hash.Hex();
}

std::string Weights() {
  std::string bytes;
  for (int i = 0; i < 60'000; ++i) absl::StrAppend(&bytes, i, " ");
  return bytes;
}

const std::string& File() {
  static const std::string bytes = Weights();
  return bytes;
}

constexpr const char* kManifest = "/v2/library/tiny/manifests/latest";

// What a mirror does with a request for the model's file, or for anything else not listed.
using Deed = std::function<void(const PeerRequest&, PeerConnection&)>;

int64_t RangeOf(const PeerRequest& request) {
  const auto range = request.headers.find("range");
  return range == request.headers.end() ? 0 : std::stoll(range->second.substr(6));
}

// The rest of the file that is asked for, but only so many bytes of it.
void SendRest(const PeerRequest& request, PeerConnection& connection, size_t bytes_max) {
  const auto from = static_cast<size_t>(RangeOf(request));
  const std::string rest = File().substr(from);
  std::string head = from == 0
                         ? "HTTP/1.1 200 OK\r\n"
                         : absl::StrCat("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes ",
                                        from, "-", File().size() - 1, "/", File().size(), "\r\n");
  connection.Send(absl::StrCat(head, "Content-Length: ", rest.size(), "\r\n\r\n"));
  connection.Send(rest.substr(0, bytes_max));
}

struct Mirror {
  explicit Mirror(Deed file_deed, int64_t size = static_cast<int64_t>(File().size()))
      : peer([file_deed, size](const PeerRequest& request, PeerConnection& connection) {
          if (request.path == kManifest) {
            return connection.Reply(
                200, absl::StrCat(R"({"layers":[{"mediaType":)",
                                  R"("application/vnd.ollama.image.model","digest":")",
                                  DigestOf(File()), R"(","size":)", size, "}]}"));
          }
          file_deed(request, connection);
        }) {
    std::string name = (fs::temp_directory_path() / "conclave-mirror-XXXXXX").string();
    folder = mkdtemp(name.data());
    Reopen();
  }
  ~Mirror() { fs::remove_all(folder); }

  // As after a restart of the worker. A mirror is given `silence` to say the next word.
  void Reopen(int64_t bytes_max = 1 << 20, milliseconds silence = milliseconds(500)) {
    puller.reset();
    store = *BlobStore::Open(folder, bytes_max);
    std::vector<std::unique_ptr<PullSource>> sources;
    const backends::HttpTimes times{.connect = milliseconds(2'000),
                                    .first_byte = silence,
                                    .idle = silence,
                                    .total = milliseconds(20'000)};
    sources.push_back(*OpenHttpSource("http://" + peer.address() + "/", times));
    puller = std::make_unique<Puller>(store.get(), std::move(sources));
  }
  absl::StatusOr<Pulled> Pull(const std::string& name = "tiny") {
    steps.clear();
    return puller->Pull(name, [this](const PullStep& step) {
      steps.push_back(step);
      return go_on(step);
    });
  }
  // The bytes that were asked for by each request for the file.
  std::vector<int64_t> Ranges() const {
    std::vector<int64_t> ranges;
    for (const PeerRequest& request : peer.requests()) {
      if (request.path != kManifest) ranges.push_back(RangeOf(request));
    }
    return ranges;
  }
  size_t NumFiles() const {
    size_t count = 0;
    for (const auto& entry : fs::directory_iterator(folder)) count += entry.is_regular_file();
    return count;
  }

  std::vector<PullStep> steps;
  std::function<bool(const PullStep&)> go_on = [](const PullStep&) { return true; };
  std::string folder;
  std::unique_ptr<BlobStore> store;
  std::unique_ptr<Puller> puller;
  HttpPeer peer;  // last: its handler uses nothing of the above
};

}  // namespace

TEST_CASE("a model of a mirror is pulled with its digest, its size and how far it is") {
  Mirror mirror([](const PeerRequest& request, PeerConnection& connection) {
    CHECK(request.path == "/v2/library/tiny/blobs/" + DigestOf(File()));
    SendRest(request, connection, File().size());
  });
  const auto pulled = mirror.Pull();
  INFO(pulled.status().ToString());
  REQUIRE(pulled.ok());
  CHECK(pulled->digest == DigestOf(File()));
  CHECK(*mirror.store->Find(pulled->digest) == static_cast<int64_t>(File().size()));
  CHECK(mirror.steps.front().status == "pulling manifest");
  CHECK(mirror.steps.back().status == "verifying sha256 digest");
  int64_t before = 0;
  for (const PullStep& step : mirror.steps) {
    if (step.digest.empty()) continue;
    CHECK(step.digest == pulled->digest);
    CHECK(step.total == static_cast<int64_t>(File().size()));
    CHECK(step.completed >= before);
    before = step.completed;
  }
  CHECK(before == static_cast<int64_t>(File().size()));
  CHECK(mirror.NumFiles() == 1);
}

TEST_CASE("a file without a manifest is pulled by its name") {
  Mirror mirror([](const PeerRequest& request, PeerConnection& connection) {
    if (request.path != "/other.gguf") return connection.Reply(404, "no");
    connection.Reply(200, "hello");
  });
  const auto pulled = mirror.Pull("other");
  REQUIRE(pulled.ok());
  CHECK(pulled->digest == DigestOf("hello"));
  const absl::Status missing = mirror.Pull("ghost").status();
  CHECK(absl::IsNotFound(missing));
  CHECK(base::ReasonOf(missing) == "model_not_found");
}

TEST_CASE("a download that breaks goes on where it was, whether the mirror knows ranges or not") {
  for (const bool ranges : {true, false}) {
    Mirror mirror([ranges](const PeerRequest& request, PeerConnection& connection) {
      const int64_t from = RangeOf(request);
      if (from > 200'000) {
        return ranges ? SendRest(request, connection, File().size())
                      : connection.Reply(200, File());
      }
      if (from > 0 && !ranges) {
        connection.Send(absl::StrCat("HTTP/1.1 200 OK\r\nContent-Length: ", File().size(),
                                     "\r\n\r\n", File().substr(0, 250'000)));
        return;
      }
      SendRest(request, connection, 100'001);
    });
    const auto pulled = mirror.Pull();
    INFO(pulled.status().ToString());
    REQUIRE(pulled.ok());
    CHECK(*mirror.store->Find(DigestOf(File())) == static_cast<int64_t>(File().size()));
    const std::vector<int64_t> asked = mirror.Ranges();
    REQUIRE(asked.size() >= 3);
    CHECK(asked[0] == 0);
    CHECK(asked[1] == 100'001);
    CHECK(asked.back() > 200'000);
  }
}

TEST_CASE("a mirror that brings nothing more is left, and the next pull goes on from there") {
  std::atomic<bool> well = false;
  Mirror mirror([&well](const PeerRequest& request, PeerConnection& connection) {
    if (RangeOf(request) == 0 || well) {
      return SendRest(request, connection, well ? File().size() : 50'000);
    }
    connection.Reply(503, "later");
  });
  const absl::Status lost = mirror.Pull().status();
  CHECK(absl::IsUnavailable(lost));
  CHECK(base::ReasonOf(lost) == "mirror_unavailable");
  const size_t tries = mirror.Ranges().size();
  CHECK(tries == 4);
  CHECK(!mirror.store->Find(DigestOf(File())).ok());
  // What is there stays and is counted, also after a restart.
  mirror.Reopen(50'010);
  CHECK(!(*mirror.store->Begin(""))->Append("twelve bytes").ok());
  mirror.Reopen();
  well = true;
  REQUIRE(mirror.Pull().ok());
  CHECK(mirror.Ranges().at(tries) == 50'000);
  CHECK(mirror.steps[1].completed == 50'000);
  CHECK(mirror.NumFiles() == 1);
}

TEST_CASE("what is not the file that was promised leaves nothing behind") {
  std::string body = File();
  body[1'000] ^= 1;
  Mirror other(
      [&body](const PeerRequest&, PeerConnection& connection) { connection.Reply(200, body); });
  CHECK(base::ReasonOf(other.Pull().status()) == "digest_mismatch");
  CHECK(other.NumFiles() == 0);

  Mirror longer([](const PeerRequest&, PeerConnection& connection) {
    connection.Send("HTTP/1.1 200 OK\r\n\r\n" + File() + "and more");
  });
  CHECK(base::ReasonOf(longer.Pull().status()) == "digest_mismatch");
  CHECK(longer.NumFiles() == 0);

  Mirror told([](const PeerRequest&, PeerConnection& connection) {
    connection.Reply(200, File() + "and more");
  });
  CHECK(base::ReasonOf(told.Pull().status()) == "digest_mismatch");
  CHECK(told.NumFiles() == 0);

  Mirror part([](const PeerRequest& request, PeerConnection& connection) {
    if (RangeOf(request) == 0) return SendRest(request, connection, 10);
    connection.Reply(206, File(), "Content-Range: bytes 5-9/10\r\n");
  });
  CHECK(base::ReasonOf(part.Pull().status()) == "mirror_refused");
}

TEST_CASE("a mirror that sends elsewhere, refuses or has no room here is told") {
  Mirror away([](const PeerRequest&, PeerConnection& connection) {
    connection.Reply(302, "", "Location: http://127.0.0.1:1/x\r\n");
  });
  CHECK(base::ReasonOf(away.Pull().status()) == "mirror_refused");
  CHECK(away.Ranges().size() == 1);

  Mirror closed(
      [](const PeerRequest&, PeerConnection& connection) { connection.Reply(403, "no"); });
  CHECK(absl::IsFailedPrecondition(closed.Pull().status()));

  Mirror large([](const PeerRequest& request, PeerConnection& connection) {
    SendRest(request, connection, File().size());
  });
  large.Reopen(100'000);
  CHECK(absl::IsResourceExhausted(large.Pull().status()));
}

TEST_CASE("a source that cannot be reached is passed over, one that lies is not") {
  Mirror mirror([](const PeerRequest& request, PeerConnection& connection) {
    SendRest(request, connection, File().size());
  });
  const auto pull = [&](const std::vector<std::string>& urls) {
    std::vector<std::unique_ptr<PullSource>> sources;
    const backends::HttpTimes times{.connect = milliseconds(2'000),
                                    .first_byte = milliseconds(500),
                                    .idle = milliseconds(500),
                                    .total = milliseconds(20'000)};
    for (const std::string& url : urls) sources.push_back(*OpenHttpSource(url, times));
    Puller puller(mirror.store.get(), std::move(sources));
    return puller.Pull("tiny", [](const PullStep&) { return true; });
  };
  HttpPeer broken(
      [](const PeerRequest&, PeerConnection& connection) { connection.Reply(500, ""); });
  HttpPeer empty([](const PeerRequest&, PeerConnection& connection) { connection.Reply(404, ""); });
  const std::string nobody = "http://127.0.0.1:1/";
  const std::string ill = "http://" + broken.address() + "/";
  const std::string without = "http://" + empty.address() + "/";
  // All of them are told, but for those that only do not have it.
  const absl::Status lost = pull({nobody, without, ill}).status();
  CHECK_FALSE(absl::IsNotFound(lost));
  CHECK(lost.message().find(nobody + ": ") != std::string::npos);
  CHECK(lost.message().find("; " + ill + ": ") != std::string::npos);
  CHECK(lost.message().find(without) == std::string::npos);
  CHECK(absl::IsNotFound(pull({without, without}).status()));
  const auto pulled = pull({nobody, ill, without, "http://" + mirror.peer.address() + "/"});
  REQUIRE(pulled.ok());
  CHECK(pulled->digest == DigestOf(File()));

  HttpPeer liar([](const PeerRequest& request, PeerConnection& connection) {
    if (request.path == kManifest) {
      return connection.Reply(
          200, absl::StrCat(R"({"layers":[{"mediaType":"application/vnd.ollama.image.system",)",
                            R"("digest":")", DigestOf("other"), R"(","size":3}]})"));
    }
    connection.Reply(200, "lie");
  });
  CHECK(base::ReasonOf(
            pull({"http://" + liar.address() + "/", "http://" + mirror.peer.address() + "/"})
                .status()) == "digest_mismatch");
}

TEST_CASE("who stops listening stops the download, also of a mirror that has fallen silent") {
  for (const size_t sent : {size_t{0}, size_t{10'000}}) {
    Mirror mirror([sent](const PeerRequest& request, PeerConnection& connection) {
      if (sent > 0) SendRest(request, connection, sent);
      connection.WaitForHangUp();
    });
    mirror.Reopen(1 << 20, milliseconds(10'000));
    mirror.go_on = [count = 0](const PullStep&) mutable { return ++count < 4; };
    CHECK(absl::IsCancelled(mirror.Pull().status()));
    mirror.puller.reset();  // with its client
    CHECK(mirror.Ranges().size() == 1);
  }
}

TEST_CASE("a mirror that falls silent is asked again, and then left") {
  Mirror mirror([](const PeerRequest& request, PeerConnection& connection) {
    if (RangeOf(request) == 0) SendRest(request, connection, 10'000);
    connection.WaitForHangUp();
  });
  const absl::Status silent = mirror.Pull().status();
  CHECK(absl::IsUnavailable(silent));
  CHECK(mirror.Ranges() == std::vector<int64_t>{0, 10'000, 10'000, 10'000});
}

TEST_CASE("only a folder behind http or https is a mirror") {
  for (const char* const url :
       {"ftp://mirror.example/", "file:///etc/", "http://user:pass@mirror.example/",
        "http://mirror.example/?x=1", "https://mirror.example/#a"}) {
    INFO(url);
    CHECK(absl::IsInvalidArgument(OpenHttpSource(url).status()));
  }
  CHECK(OpenHttpSource("https://mirror.example:8443/models").ok());
  CHECK(OpenHttpSource("http://[::1]:80/").ok());
}

}  // namespace conclave::worker
