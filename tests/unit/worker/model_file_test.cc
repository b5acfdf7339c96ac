#include "worker/model_file.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

namespace conclave::worker {
namespace {

namespace fs = std::filesystem;

// A folder of its own, gone with the test.
class Folder final {
 public:
  Folder() {
    std::string pattern = (fs::temp_directory_path() / "conclave-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~Folder() { fs::remove_all(path_); }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  std::string Write(const std::string& name, const std::string& text) const {
    fs::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << text;
    return (path_ / name).string();
  }
  std::string path() const { return path_.string(); }

 private:
  fs::path path_;
};

}  // namespace

TEST_CASE("a request reaches regular files inside the folders and nothing else") {
  const Folder folder;
  const Folder outside;
  folder.Write("models/a.gguf", "a");
  const std::string secret = outside.Write("secret", "s");
  fs::create_symlink(secret, folder / "models/link.gguf");
  fs::create_symlink(outside.path(), folder / "models/dir");
  const std::vector<std::string> allowed = {folder / "models"};

  CHECK(CheckModelFile("a.gguf", allowed).ok());
  CHECK(CheckModelFile(folder / "models/a.gguf", allowed).ok());
  const auto code = [&](const std::string& path) {
    return CheckModelFile(path, allowed).status().code();
  };
  CHECK(code(secret) == absl::StatusCode::kPermissionDenied);
  CHECK(code("link.gguf") == absl::StatusCode::kPermissionDenied);
  CHECK(code("dir/secret") == absl::StatusCode::kPermissionDenied);
  CHECK(code("../../../etc/passwd") == absl::StatusCode::kPermissionDenied);
  CHECK(code("../nothing") == absl::StatusCode::kPermissionDenied);
  CHECK(code("none.gguf") == absl::StatusCode::kNotFound);
  CHECK(code("") == absl::StatusCode::kInvalidArgument);
  CHECK(CheckModelFile("a.gguf", {}).status().code() == absl::StatusCode::kPermissionDenied);
}

TEST_CASE("the shards of a model are one model, and all of them lie inside the folder") {
  const Folder folder;
  const Folder outside;
  const std::string first = folder.Write("m-00001-of-00002.gguf", "first");
  const std::string second = folder.Write("m-00002-of-00002.gguf", "second");
  const std::vector<std::string> allowed = {folder.path()};
  CHECK(ModelNameOf(second) == "m");
  REQUIRE(CheckModelFile("m-00001-of-00002.gguf", allowed).ok());
  CHECK(CheckModelFile("m-00001-of-00002.gguf", allowed)->size_bytes == 11);
  CHECK(*Fingerprint(first) == *Fingerprint(second));
  CHECK(*Sha256Digest(first, {}) == *Sha256Digest(folder.Write("whole.gguf", "firstsecond"), {}));
  const std::string before = *Fingerprint(first);
  folder.Write("m-00002-of-00002.gguf", "Second");
  CHECK(*Fingerprint(first) != before);
  // Links to files of other names, as download caches have them, are followed but not renamed.
  const std::string link = folder / "links/m-00001-of-00002.gguf";
  fs::create_directories(folder / "links");
  fs::create_symlink(first, link);
  fs::create_symlink(second, folder / "links/m-00002-of-00002.gguf");
  CHECK(CheckModelFile(link, allowed)->path ==
        fs::canonical(folder / "links") / "m-00001-of-00002.gguf");
  CHECK(CheckModelFile(link, allowed)->size_bytes == 11);
  CHECK(CheckModelFile("links/../links/m-00001-of-00002.gguf", allowed).ok());
  fs::remove(second);
  CHECK(Fingerprint(first).ok());  // it may be whole in spite of its name
  CHECK(Fingerprint(second).status().code() == absl::StatusCode::kNotFound);
  fs::create_symlink(outside.Write("secret", "s"), second);
  CHECK(CheckModelFile("m-00001-of-00002.gguf", allowed).status().code() ==
        absl::StatusCode::kPermissionDenied);
}

TEST_CASE("special files are no models, even from the command line") {
  const Folder folder;
  CHECK_FALSE(CheckModelFile("/dev/zero").ok());
  REQUIRE(mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK_FALSE(CheckModelFile(folder / "pipe").ok());
  CHECK_FALSE(CheckModelFile(folder.path()).ok());
  folder.Write("config.json", "{}");
  CHECK(CheckModelFile(folder.path()).ok());
}

TEST_CASE("names of models are short and plain") {
  CHECK(IsModelName("Qwen/Qwen3-0.6B:Q8_0"));
  CHECK_FALSE(IsModelName(""));
  CHECK_FALSE(IsModelName(".hidden"));
  CHECK_FALSE(IsModelName("a b"));
  CHECK_FALSE(IsModelName(std::string(201, 'a')));
  CHECK(ModelNameOf("/models/teacher-q8_0.gguf") == "teacher-q8_0");
  CHECK(ModelNameOf("/models/bert/") == "bert");
}

TEST_CASE("the fingerprint sees a change anywhere near a sample, and the digest is sha256") {
  const Folder folder;
  const std::string a = folder.Write("a", "hello");
  const std::string b = folder.Write("b", "hellp");
  CHECK(*Fingerprint(a) == *Fingerprint(a));
  CHECK(*Fingerprint(a) != *Fingerprint(b));
  CHECK(Fingerprint(a)->size() == 16);
  CHECK(*Sha256Digest(a, {}) ==
        "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
  CHECK_FALSE(Fingerprint(folder / "none").ok());
  std::stop_source source;
  source.request_stop();
  CHECK(Sha256Digest(a, source.get_token()).status().code() == absl::StatusCode::kCancelled);
}

}  // namespace conclave::worker
