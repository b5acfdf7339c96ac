#include "engine/weights/mapped_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstring>

#include "engine/weights/gguf.h"
#include "engine/weights/gguf_writer.h"
#include "temp_file.h"

namespace conclave::engine {

TEST_CASE("only regular files with something in them are mapped") {
  const TempFolder folder;
  CHECK(MappedFile::Open(folder.path() + "/none").status().code() == absl::StatusCode::kNotFound);
  CHECK(MappedFile::Open(folder.path()).status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(MappedFile::Open("/dev/zero").status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(MappedFile::Open(folder.Write("empty", std::string_view())).status().code() ==
        absl::StatusCode::kInvalidArgument);
  const std::string pipe = folder.path() + "/pipe";
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(MappedFile::Open(pipe).status().code() == absl::StatusCode::kInvalidArgument);
  const auto file = MappedFile::Open(folder.Write("some", "hello"));
  REQUIRE(file.ok());
  CHECK(std::memcmp((*file)->bytes().data(), "hello", 5) == 0);
  CHECK_FALSE((*file)->faulted());
}

TEST_CASE("M12: a file cut short while mapped turns into zeros and a status") {
  GgufWriter writer;
  writer.AddTensor("t", DType::kF32, {64, 1024}, std::vector<float>(64 * 1024, 1.0f));
  const TempFolder folder;
  const std::string path = folder.path() + "/m.gguf";
  REQUIRE(writer.WriteFile(path).ok());
  const auto source = OpenGguf(path);
  REQUIRE(source.ok());
  const TensorView view = (*source)->FindTensor("t")->view;
  REQUIRE(truncate(path.c_str(), 4096) == 0);
  float last = 5.0f;
  std::memcpy(&last, view.data + view.bytes() - 4, 4);
  CHECK(last == 0.0f);
  CHECK((*source)->Health().code() == absl::StatusCode::kFailedPrecondition);
  // Another file is not concerned.
  const auto other = MappedFile::Open(folder.Write("other", "x"));
  CHECK_FALSE((*other)->faulted());
}

}  // namespace conclave::engine
