#include "engine/weights/safetensors.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/strings.h"
#include "engine/weights/directory.h"
#include "engine/weights/mapped_file.h"

namespace conclave::engine {
namespace {

constexpr uint64_t kMaxHeaderBytes = uint64_t{32} << 20;
constexpr size_t kMaxShards = 1'024;
constexpr char kIndexName[] = "model.safetensors.index.json";
constexpr char kFileName[] = "model.safetensors";

// A header nests tensor → shape and no deeper; members are tensors.
constexpr base::JsonLimits kHeaderLimits = {
    .depth_max = 8, .members_max = 200'000, .values_max = 4'000'000, .allow_nul_in_strings = false};

absl::Status Error(std::string_view path, std::string_view field, std::string_view why) {
  return base::InvalidArgument(std::string(path) + ": safetensors: " + std::string(field) + ": " +
                               std::string(why));
}

std::optional<DType> DTypeNamed(std::string_view name) {
  struct Row {
    std::string_view name;
    DType dtype;
  };
  constexpr Row kRows[] = {
      {"F32", DType::kF32},   {"F16", DType::kF16},         {"BF16", DType::kBF16},
      {"F64", DType::kF64},   {"I8", DType::kI8},           {"I16", DType::kI16},
      {"I32", DType::kI32},   {"I64", DType::kI64},         {"U8", DType::kU8},
      {"U16", DType::kU16},   {"U32", DType::kU32},         {"U64", DType::kU64},
      {"BOOL", DType::kBool}, {"F8_E4M3", DType::kF8_E4M3}, {"F8_E5M2", DType::kF8_E5M2},
  };
  for (const Row& row : kRows) {
    if (row.name == name) return row.dtype;
  }
  return std::nullopt;
}

struct Placed {
  std::string name;
  TensorView view;
  int64_t begin = 0;
  int64_t end = 0;
};

absl::StatusOr<Shape> ReadShape(std::string_view path, const std::string& name,
                                const base::JsonValue& value) {
  if (!value.is_array() || value.size() > static_cast<size_t>(kMaxRank)) {
    return Error(path, name + ".shape", "expected an array of at most 4 extents");
  }
  int64_t extents[kMaxRank] = {};
  int64_t elements = 1;
  for (size_t i = 0; i < value.size(); ++i) {
    const absl::StatusOr<int64_t> extent = value.At(i).AsInt(0, int64_t{1} << 48);
    if (!extent.ok()) return Error(path, name + ".shape", "expected extents of 0..2^48");
    if (*extent > 0 && elements > (int64_t{1} << 48) / *extent) {
      return Error(path, name + ".shape", "more elements than any file holds");
    }
    elements *= *extent;
    extents[i] = *extent;
  }
  return Shape(std::span<const int64_t>(extents, value.size()));
}

absl::StatusOr<Placed> ReadTensor(std::string_view path, std::string_view name,
                                  const base::JsonValue& value, int64_t data_bytes) {
  Placed tensor;
  tensor.name = name;
  if (name.empty() || name.size() > 1'024) {
    return Error(path, "tensor name", "expected 1..1024 bytes");
  }
  const absl::StatusOr<std::string_view> dtype_name = value.Get("dtype").AsStringView();
  const std::optional<DType> dtype = dtype_name.ok() ? DTypeNamed(*dtype_name) : std::nullopt;
  if (!dtype.has_value()) return Error(path, tensor.name + ".dtype", "unknown type");
  tensor.view.dtype = *dtype;
  ASSIGN_OR_RETURN(tensor.view.shape, ReadShape(path, tensor.name, value.Get("shape")));
  const base::JsonValue offsets = value.Get("data_offsets");
  const absl::StatusOr<int64_t> begin =
      offsets.size() == 2 ? offsets.At(0).AsInt(0, data_bytes) : absl::StatusOr<int64_t>(-1);
  const absl::StatusOr<int64_t> end =
      offsets.size() == 2 ? offsets.At(1).AsInt(0, data_bytes) : absl::StatusOr<int64_t>(-1);
  if (!begin.ok() || !end.ok() || *begin < 0 || *begin > *end) {
    return Error(path, tensor.name + ".data_offsets",
                 "expected [begin, end] within " + std::to_string(data_bytes) + " bytes of data");
  }
  tensor.begin = *begin;
  tensor.end = *end;
  if (tensor.end - tensor.begin != tensor.view.bytes()) {
    return Error(path, tensor.name + ".data_offsets",
                 std::to_string(tensor.end - tensor.begin) + " bytes, the shape takes " +
                     std::to_string(tensor.view.bytes()));
  }
  return tensor;
}

// The format's own rule: tensors fill the data without gap or overlap.
absl::Status CheckTiling(std::string_view path, const std::vector<Placed>& tensors,
                         int64_t data_bytes) {
  std::vector<const Placed*> order;
  order.reserve(tensors.size());
  for (const Placed& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const Placed* a, const Placed* b) {
    return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
  });
  int64_t position = 0;
  for (const Placed* tensor : order) {
    if (tensor->begin != position) {
      return Error(path, tensor->name + ".data_offsets",
                   tensor->begin < position ? "overlaps another tensor" : "leaves a gap before it");
    }
    position = tensor->end;
  }
  if (position != data_bytes) return Error(path, "data", "bytes after the last tensor");
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Placed>> ReadFile(std::span<const std::byte> bytes,
                                             DirectorySource& source, std::string_view path) {
  uint64_t header_bytes = 0;
  if (bytes.size() < 8) return Error(path, "header length", "the file ends here");
  std::memcpy(&header_bytes, bytes.data(), 8);
  if (header_bytes > kMaxHeaderBytes || header_bytes > bytes.size() - 8) {
    return Error(path, "header length",
                 "more than the file can hold: " + std::to_string(header_bytes));
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data() + 8), header_bytes);
  const absl::StatusOr<base::JsonDocument> document =
      base::JsonDocument::Parse(text, kHeaderLimits);
  if (!document.ok()) {
    return Error(path, "header", base::Std(document.status().message()));
  }
  if (!document->root().is_object()) return Error(path, "header", "expected an object");
  const int64_t data_bytes = static_cast<int64_t>(bytes.size() - 8 - header_bytes);
  std::vector<Placed> tensors;
  absl::Status first_error;
  document->root().ForEachMember([&](std::string_view name, const base::JsonValue& value) {
    if (!first_error.ok()) return;
    if (name == "__metadata__") {
      value.ForEachMember([&](std::string_view key, const base::JsonValue& entry) {
        const absl::StatusOr<std::string> string = entry.AsString();
        if (!string.ok()) return;  // the format allows strings only; others carry nothing for us
        const std::string_view kept = source.Keep(*string);
        source.AddMetadata(source.Keep(std::string(key)), MetadataValue(kept));
      });
      return;
    }
    absl::StatusOr<Placed> tensor = ReadTensor(path, name, value, data_bytes);
    if (!tensor.ok()) {
      first_error = tensor.status();
      return;
    }
    tensor->view.data = bytes.data() + 8 + header_bytes + tensor->begin;
    tensors.push_back(*std::move(tensor));
  });
  RETURN_IF_ERROR(first_error);
  RETURN_IF_ERROR(CheckTiling(path, tensors, data_bytes));
  return tensors;
}

absl::Status AddAll(DirectorySource& source, std::vector<Placed> tensors, std::string_view path) {
  for (Placed& tensor : tensors) {
    const std::string name = tensor.name;
    if (!source.AddTensor(std::move(tensor.name), tensor.view)) {
      return Error(path, name, "the tensor is in two shards");
    }
  }
  return absl::OkStatus();
}

absl::Status AddFile(DirectorySource& source, const std::string& path) {
  ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> file, MappedFile::Open(path));
  const MappedFile& mapped = *file;
  source.AddFile(std::move(file));
  ASSIGN_OR_RETURN(std::vector<Placed> tensors, ReadFile(mapped.bytes(), source, path));
  return AddAll(source, std::move(tensors), path);
}

// A shard is a plain file name: nothing that could leave the folder of the index.
bool IsShardName(std::string_view name) {
  return name.size() <= 255 && name.size() > 12 && name.ends_with(".safetensors") &&
         name.front() != '.' &&
         name.find_first_not_of(
             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
             std::string_view::npos;
}

absl::Status AddShards(DirectorySource& source, const std::string& index_path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<MappedFile> index, MappedFile::Open(index_path));
  if (index->bytes().size() > kMaxHeaderBytes) return Error(index_path, "index", "too large");
  const std::string_view text(reinterpret_cast<const char*>(index->bytes().data()),
                              index->bytes().size());
  const absl::StatusOr<base::JsonDocument> document =
      base::JsonDocument::Parse(text, kHeaderLimits);
  if (!document.ok()) return Error(index_path, "index", base::Std(document.status().message()));
  const base::JsonValue map = document->root().Get("weight_map");
  if (!map.is_object()) return Error(index_path, "weight_map", "expected an object");
  std::set<std::string> shards;
  std::vector<std::string> names;
  absl::Status first_error;
  map.ForEachMember([&](std::string_view name, const base::JsonValue& value) {
    const absl::StatusOr<std::string_view> shard = value.AsStringView();
    if (!shard.ok() || !IsShardName(*shard)) {
      first_error = Error(index_path, "weight_map." + std::string(name),
                          "expected the plain name of a .safetensors file");
      return;
    }
    shards.emplace(*shard);
    names.emplace_back(name);
  });
  RETURN_IF_ERROR(first_error);
  if (shards.size() > kMaxShards) return Error(index_path, "weight_map", "more than 1024 shards");
  const std::string folder = index_path.substr(0, index_path.find_last_of('/') + 1);
  for (const std::string& shard : shards) RETURN_IF_ERROR(AddFile(source, folder + shard));
  for (const std::string& name : names) {
    if (source.FindTensor(name) == nullptr) {
      return Error(index_path, "weight_map." + name, "no shard holds this tensor");
    }
  }
  return absl::OkStatus();
}

bool IsFolder(const std::string& path) {
  struct stat facts = {};
  return stat(path.c_str(), &facts) == 0 && S_ISDIR(facts.st_mode);
}
bool IsFile(const std::string& path) {
  struct stat facts = {};
  return stat(path.c_str(), &facts) == 0 && S_ISREG(facts.st_mode);
}

}  // namespace

absl::StatusOr<std::shared_ptr<const ModelSource>> OpenSafetensors(const std::string& path) {
  std::string file = path;
  if (IsFolder(path)) {
    const std::string index = path + "/" + kIndexName;
    file = IsFile(index) ? index : path + "/" + kFileName;
  }
  auto source = std::make_shared<DirectorySource>(file);
  RETURN_IF_ERROR(file.ends_with(".json") ? AddShards(*source, file) : AddFile(*source, file));
  RETURN_IF_ERROR(source->Health());
  return std::shared_ptr<const ModelSource>(std::move(source));
}

absl::StatusOr<std::shared_ptr<const ModelSource>> OpenSafetensorsBytes(
    std::span<const std::byte> bytes, const std::string& name) {
  auto source = std::make_shared<DirectorySource>(name);
  ASSIGN_OR_RETURN(std::vector<Placed> tensors, ReadFile(bytes, *source, name));
  RETURN_IF_ERROR(AddAll(*source, std::move(tensors), name));
  return std::shared_ptr<const ModelSource>(std::move(source));
}

}  // namespace conclave::engine
