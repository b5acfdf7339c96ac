// Good files, and those of test list M13.
#include "engine/weights/safetensors.h"

#include <catch2/catch.hpp>
#include <cstring>

#include "base/strings.h"
#include "temp_file.h"

namespace conclave::engine {
namespace {

std::string File(std::string_view header, size_t data_bytes, uint64_t length = 0) {
  if (length == 0) length = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  file += header;
  for (size_t i = 0; i < data_bytes; ++i) file += static_cast<char>(i);
  return file;
}

absl::StatusOr<std::shared_ptr<const ModelSource>> Open(const std::string& file) {
  return OpenSafetensorsBytes(std::as_bytes(std::span(file)), "m.safetensors");
}

void Refused(const std::string& file, std::string_view why) {
  const auto source = Open(file);
  REQUIRE_FALSE(source.ok());
  const std::string message(base::Std(source.status().message()));
  CAPTURE(message, why);
  CHECK(source.status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(message.find("m.safetensors: safetensors: ") == 0);
  CHECK(message.find(why) != std::string::npos);
}

}  // namespace

TEST_CASE("tensors and text of a safetensors file") {
  const std::string file = File(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F16","shape":[2,3],"data_offsets":[8,20]},)"
      R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
      R"("s":{"dtype":"I64","shape":[],"data_offsets":[20,28]}})",
      28);
  const auto source = Open(file);
  REQUIRE(source.ok());
  CHECK(*(*source)->GetString("format") == "pt");
  CHECK((*source)->tensors().size() == 3);
  const TensorView b = (*source)->FindTensor("b")->view;
  CHECK(b.dtype == DType::kF16);
  CHECK(b.shape == Shape{2, 3});
  CHECK(b.row(1)[0] == std::byte{14});
  CHECK((*source)->FindTensor("s")->view.shape == Shape{});
}

TEST_CASE("M13: headers that lie") {
  Refused(std::string(7, 'x'), "header length");
  Refused(File("{}", 0, uint64_t{1} << 63), "header length");
  Refused(File("{}", 0, 3), "header length");
  Refused(File("[]", 0), "expected an object");
  Refused(File("{", 0), "header");
  Refused(File(std::string(100'000, '['), 0), "header");
  Refused(File(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
               R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
               4),
          "header");
  Refused(File(R"({"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}})", 4), "a.dtype");
  Refused(File(R"({"a":{"shape":[1],"data_offsets":[0,4]}})", 4), "a.dtype");
  Refused(File(R"({"a":5})", 4), "a.dtype");
}

TEST_CASE("M13: shapes and places that do not fit") {
  const auto one = [](const std::string& shape, const std::string& offsets) {
    return File(R"({"a":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}",
                8);
  };
  CHECK(Open(one("[2]", "[0,8]")).ok());
  Refused(one("[2]", "[0,9]"), "a.data_offsets");
  Refused(one("[3]", "[0,8]"), "a.data_offsets");
  Refused(one("[2]", "[8,0]"), "a.data_offsets");
  Refused(one("[2]", "[-8,0]"), "a.data_offsets");
  Refused(one("[2]", "[0]"), "a.data_offsets");
  Refused(one("[2]", "[0,9223372036854775807]"), "a.data_offsets");
  Refused(one("[-2]", "[0,8]"), "a.shape");
  Refused(one("[1.5]", "[0,8]"), "a.shape");
  Refused(one("[1,1,1,1,2]", "[0,8]"), "a.shape");
  Refused(one("[4294967296,4294967296]", "[0,8]"), "a.shape");
  Refused(one("[1]", "[0,4]"), "after the last tensor");
  Refused(one("[1]", "[4,8]"), "gap");
  Refused(File(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
               R"("b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}})",
               7),
          "overlaps");
}

TEST_CASE("shards are found through an index, and only beside it") {
  const TempFolder folder;
  const std::string a = File(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 2);
  const std::string b = File(R"({"b":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})", 3);
  folder.Write("model-1.safetensors", a);
  folder.Write("model-2.safetensors", b);
  const auto index = [&](const std::string& map) {
    return folder.Write("model.safetensors.index.json", R"({"weight_map":)" + map + "}");
  };
  const std::string path = index(R"({"a":"model-1.safetensors","b":"model-2.safetensors"})");
  for (const std::string& opened : {path, folder.path()}) {
    const auto source = OpenSafetensors(opened);
    REQUIRE(source.ok());
    CHECK((*source)->FindTensor("b")->view.shape == Shape{3});
  }
  for (const char* name : {"../../etc/passwd", "/etc/passwd", "sub/x.safetensors", "..safetensors",
                           ".hidden.safetensors", "model.bin", "", "../x.safetensors"}) {
    const auto source = OpenSafetensors(index(R"({"a":")" + std::string(name) + R"("})"));
    CAPTURE(name);
    CHECK(source.status().code() == absl::StatusCode::kInvalidArgument);
  }
  CHECK(OpenSafetensors(index(R"({"a":"model-9.safetensors"})")).status().code() ==
        absl::StatusCode::kNotFound);
  CHECK(OpenSafetensors(index(R"({"c":"model-1.safetensors"})")).status().code() ==
        absl::StatusCode::kInvalidArgument);
  CHECK(OpenSafetensors(index(R"({"a":5})")).status().code() == absl::StatusCode::kInvalidArgument);
  folder.Write("model-2.safetensors", a);
  CHECK_FALSE(OpenSafetensors(path).ok());
}

TEST_CASE("a folder with one file needs no index") {
  const TempFolder folder;
  folder.Write("model.safetensors",
               File(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 2));
  CHECK(OpenSafetensors(folder.path()).ok());
  const TempFolder empty;
  CHECK(OpenSafetensors(empty.path()).status().code() == absl::StatusCode::kNotFound);
}

}  // namespace conclave::engine
