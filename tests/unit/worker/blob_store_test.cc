#include "worker/blob_store.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/json.h"
#include "base/sha256.h"
#include "base/status.h"
#include "worker/puller.h"

namespace conclave::worker {
namespace {

namespace fs = std::filesystem;

// sha256("hello")
const std::string kHello =
    "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

struct Folder {
  Folder() {
    std::string name = (fs::temp_directory_path() / "conclave-blobs-XXXXXX").string();
    path = mkdtemp(name.data());
  }
  ~Folder() { fs::remove_all(path); }
  void Write(const std::string& name, const std::string& text) const {
    fs::create_directories((path / name).parent_path());
    std::ofstream(path / name) << text;
  }
  fs::path path;
};

std::string ReadAll(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::unique_ptr<BlobStore> Open(const Folder& folder, int64_t bytes_max = 1 << 20) {
  auto store = BlobStore::Open((folder.path / "blobs").string(), bytes_max);
  REQUIRE(store.ok());
  return *std::move(store);
}

absl::StatusOr<std::string> Put(BlobStore& store, const std::string& digest,
                                const std::string& bytes) {
  auto writer = store.Begin(digest);
  RETURN_IF_ERROR(writer.status());
  RETURN_IF_ERROR((*writer)->Append(bytes));
  return (*writer)->Commit();
}

size_t NumFiles(const BlobStore& store) {
  size_t count = 0;
  for (const auto& entry : fs::directory_iterator(store.folder())) count += entry.is_regular_file();
  return count;
}

std::string DigestOf(const std::string& bytes) {
  base::Sha256 hash;
  hash.Add(bytes.data(), bytes.size());
  return "sha256:" + hash.Hex();
}

struct Steps {
  std::vector<std::string> told;
  bool go_on = true;
  std::function<bool(const PullStep&)> Hear() {
    return [this](const PullStep& step) {
      std::string text = step.status;
      if (step.total > 0) {
        text += " " + std::to_string(step.completed) + "/" + std::to_string(step.total);
      }
      told.push_back(text);
      return go_on;
    };
  }
};

}  // namespace

TEST_CASE("a blob appears whole under its digest, or not at all") {
  const Folder folder;
  const auto store = Open(folder);
  CHECK(store->Find(kHello).status().code() == absl::StatusCode::kNotFound);
  REQUIRE(Put(*store, kHello, "hello").ok());
  CHECK(*store->Find(kHello) == 5);
  CHECK(ReadAll(fs::path(store->folder()) / BlobName(kHello)) == "hello");
  CHECK(Put(*store, kHello, "hello").ok());  // again

  const absl::Status mismatch = Put(*store, kHello, "hellO").status();
  CHECK(mismatch.code() == absl::StatusCode::kInvalidArgument);
  CHECK(base::ReasonOf(mismatch) == "digest_mismatch");
  { const auto abandoned = *store->Begin(kHello); }
  CHECK(NumFiles(*store) == 1);
}

TEST_CASE("a digest is a digest, and leads nowhere else") {
  const Folder folder;
  const auto store = Open(folder);
  for (const std::string& bad :
       {std::string("sha256:../../etc/passwd"), std::string("sha256:"), std::string("md5:00"),
        std::string("sha256:" + std::string(63, 'a') + "G"), "sha256:" + std::string(65, 'a'),
        "sha256:" + std::string(64, 'A')}) {
    INFO(bad);
    CHECK(store->Find(bad).status().code() == absl::StatusCode::kInvalidArgument);
    CHECK(store->Begin(bad).status().code() == absl::StatusCode::kInvalidArgument);
  }
  // A link under a blob's name is no blob.
  fs::create_symlink("/etc/passwd", fs::path(store->folder()) / BlobName(kHello));
  CHECK(store->Find(kHello).status().code() == absl::StatusCode::kNotFound);
}

TEST_CASE("a full folder refuses, and gives the room of what failed back") {
  const Folder folder;
  const auto store = Open(folder, 8);
  CHECK(Put(*store, "", "123456789").status().code() == absl::StatusCode::kResourceExhausted);
  CHECK(Put(*store, kHello, "hello").ok());
  CHECK(Put(*store, "", "1234").status().code() == absl::StatusCode::kResourceExhausted);
  CHECK(Put(*store, "", "123").ok());
  // What is there counts after a restart; what was left half is cleared away.
  std::ofstream(fs::path(store->folder()) / ".partial-1") << "leftover";
  const auto again = Open(folder, 9);
  CHECK(NumFiles(*again) == 2);
  CHECK(Put(*again, "", "12").status().code() == absl::StatusCode::kResourceExhausted);
  CHECK(Put(*again, "", "1").ok());
}

TEST_CASE("a worker that starts on a shared folder leaves alone what another is writing") {
  const Folder folder;
  const auto store = Open(folder);
  auto running = *store->Begin(kHello);
  REQUIRE(running->Append("hel").ok());
  // What a killed writer leaves has nobody's lock on it.
  std::ofstream(fs::path(store->folder()) / ".partial-left") << "x";
  const auto other = Open(folder);
  CHECK_FALSE(fs::exists(fs::path(store->folder()) / ".partial-left"));
  CHECK(NumFiles(*store) == 1);
  REQUIRE(running->Append("lo").ok());
  CHECK(*running->Commit() == kHello);
  CHECK(*other->Find(kHello) == 5);
}

TEST_CASE("a plain file is pulled by name and tag") {
  const Folder folder;
  folder.Write("mirror/tiny.gguf", "hello");
  folder.Write("mirror/big-q8.gguf", "big");
  folder.Write("mirror/org/other/v2.gguf", "other");
  const auto store = Open(folder);
  std::vector<std::unique_ptr<PullSource>> sources;
  sources.push_back(*OpenFolderSource((folder.path / "mirror").string()));
  Puller puller(store.get(), std::move(sources));
  Steps steps;
  const auto pulled = puller.Pull("tiny", steps.Hear());
  REQUIRE(pulled.ok());
  CHECK(pulled->digest == kHello);
  CHECK(store->Find(kHello).ok());
  CHECK(steps.told == std::vector<std::string>{"pulling manifest", "pulling tiny.gguf 0/5",
                                               "pulling tiny.gguf 5/5", "verifying sha256 digest"});
  CHECK(puller.Pull("tiny:latest", steps.Hear()).ok());
  CHECK(puller.Pull("big:q8", steps.Hear()).ok());
  CHECK(puller.Pull("org/other:v2", steps.Hear()).ok());
  const absl::Status missing = puller.Pull("ghost", steps.Hear()).status();
  CHECK(missing.code() == absl::StatusCode::kNotFound);
  CHECK(base::ReasonOf(missing) == "model_not_found");
}

TEST_CASE("a model of an Ollama's folder is pulled with what is said of it") {
  const Folder folder;
  const std::string system = "Arr.";
  const std::string parameters = R"({"stop":["x"]})";
  const auto layer = [&](const std::string& type, const std::string& bytes) {
    folder.Write("ollama/blobs/" + BlobName(DigestOf(bytes)), bytes);
    return R"({"mediaType":"application/vnd.ollama.image.)" + type + R"(","digest":")" +
           DigestOf(bytes) + R"(","size":)" + std::to_string(bytes.size()) + "}";
  };
  folder.Write("ollama/manifests/registry.ollama.ai/library/pirate/latest",
               R"({"schemaVersion":2,"layers":[)" + layer("model", "hello") + "," +
                   layer("system", system) + "," + layer("params", parameters) + "," +
                   layer("template", "{{ .Prompt }}") + "," +
                   layer("messages", R"([{"role":"user","content":"hi"}])") + "]}");
  const auto store = Open(folder);
  std::vector<std::unique_ptr<PullSource>> sources;
  sources.push_back(*OpenFolderSource((folder.path / "ollama").string()));
  Puller puller(store.get(), std::move(sources));
  Steps steps;
  const auto pulled = puller.Pull("Pirate", steps.Hear());
  REQUIRE(pulled.ok());
  CHECK(pulled->digest == kHello);
  CHECK(pulled->system == system);
  CHECK(pulled->parameters == parameters);
  REQUIRE(pulled->messages.size() == 1);
  CHECK(pulled->messages[0].second == "hi");
  CHECK(steps.told[1] == "pulling 2cf24dba5fb0 0/5");
  // The second time the file is here already.
  steps.told.clear();
  REQUIRE(puller.Pull("pirate", steps.Hear()).ok());
  CHECK(steps.told == std::vector<std::string>{"pulling manifest", "pulling 2cf24dba5fb0 5/5"});

  // A blob that was changed is not believed.
  fs::remove(fs::path(store->folder()) / BlobName(kHello));
  folder.Write("ollama/blobs/" + BlobName(kHello), "hellO");
  CHECK(base::ReasonOf(puller.Pull("pirate", steps.Hear()).status()) == "digest_mismatch");
}

TEST_CASE("a pull stays inside its source and stops when nobody listens") {
  const Folder folder;
  folder.Write("secret.gguf", "secret");
  folder.Write("mirror/tiny.gguf", "hello");
  fs::create_symlink(folder.path / "secret.gguf", folder.path / "mirror/link.gguf");
  const auto store = Open(folder);
  std::vector<std::unique_ptr<PullSource>> sources;
  sources.push_back(*OpenFolderSource((folder.path / "mirror").string()));
  Puller puller(store.get(), std::move(sources));
  Steps steps;
  for (const std::string& bad : {std::string("../secret"), std::string("a/../../secret"),
                                 std::string("/etc/passwd"), std::string()}) {
    INFO(bad);
    CHECK(puller.Pull(bad, steps.Hear()).status().code() == absl::StatusCode::kInvalidArgument);
  }
  CHECK(puller.Pull("link", steps.Hear()).status().code() == absl::StatusCode::kNotFound);
  steps.go_on = false;
  CHECK(puller.Pull("tiny", steps.Hear()).status().code() == absl::StatusCode::kCancelled);
  CHECK(NumFiles(*store) == 0);
  Puller none(store.get(), {});
  CHECK(base::ReasonOf(none.Pull("tiny", steps.Hear()).status()) == "no_pull_source");
}

}  // namespace conclave::worker
