#include "engine/weights/gguf.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "engine/weights/directory.h"
#include "engine/weights/gguf_split.h"
#include "engine/weights/gguf_types.h"
#include "engine/weights/mapped_file.h"

namespace conclave::engine {
namespace {

// Beyond these no real model goes; they bound what an index of a hostile file can cost.
constexpr uint64_t kMaxMetadata = 65'536;
constexpr uint64_t kMaxTensors = 65'536;
constexpr uint64_t kMaxStrings = uint64_t{1} << 22;  // of all arrays: vocabulary and merges
constexpr uint64_t kMaxNameBytes = 1'024;
constexpr uint64_t kMaxAlignment = 65'536;
// Fewest bytes an entry takes: a string of one byte, types, one value or one dimension.
constexpr uint64_t kMinMetadataBytes = 8 + 1 + 4 + 1;
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;

using enum GgufValue::Type;

// The bytes of a scalar of the type; 0 for strings, arrays and unknown types.
uint64_t ScalarBytes(uint32_t type) {
  switch (type) {
    case kUint8:
    case kInt8:
    case kBool:
      return 1;
    case kUint16:
    case kInt16:
      return 2;
    case kUint32:
    case kInt32:
    case kFloat32:
      return 4;
    case kUint64:
    case kInt64:
    case kFloat64:
      return 8;
    default:
      return 0;
  }
}

MetadataNumbers::Type NumbersType(uint32_t type) {
  using Type = MetadataNumbers::Type;
  switch (type) {
    case kUint8:
      return Type::kUint8;
    case kInt8:
      return Type::kInt8;
    case kUint16:
      return Type::kUint16;
    case kInt16:
      return Type::kInt16;
    case kUint32:
      return Type::kUint32;
    case kInt32:
      return Type::kInt32;
    case kFloat32:
      return Type::kFloat32;
    case kBool:
      return Type::kBool;
    case kUint64:
      return Type::kUint64;
    case kInt64:
      return Type::kInt64;
    default:
      return Type::kFloat64;
  }
}

struct PendingTensor {
  std::string name;
  std::string field;    // for messages
  TensorView view;      // without data
  uint64_t offset = 0;  // from the start of the data
  uint64_t bytes = 0;
  uint64_t where = 0;  // file offset of the offset field
};

// Walks the file front to back. One use.
class Parser final {
 public:
  Parser(std::span<const std::byte> bytes, DirectorySource& source)
      : bytes_(bytes), source_(source) {}

  absl::Status Parse() {
    RETURN_IF_ERROR(ReadHeader());
    for (uint64_t i = 0; i < num_metadata_; ++i) RETURN_IF_ERROR(ReadMetadata(i));
    RETURN_IF_ERROR(ReadAlignment());
    pending_.reserve(num_tensors_);
    for (uint64_t i = 0; i < num_tensors_; ++i) RETURN_IF_ERROR(ReadTensorInfo(i));
    return PlaceTensors();
  }

 private:
  uint64_t remaining() const { return bytes_.size() - position_; }

  absl::Status Error(std::string_view field, std::string_view why, uint64_t offset) const {
    return base::InvalidArgument(std::string(source_.path()) + ": gguf: " + std::string(field) +
                                 ": " + std::string(why) + " at offset " + std::to_string(offset));
  }

  template <typename T>
  absl::StatusOr<T> Read(std::string_view field) {
    if (remaining() < sizeof(T)) return Error(field, "the file ends here", position_);
    T value;
    std::memcpy(&value, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return value;
  }

  absl::StatusOr<std::string_view> ReadString(std::string_view field) {
    const uint64_t at = position_;
    ASSIGN_OR_RETURN(const uint64_t length, Read<uint64_t>(field));
    if (length > remaining()) {
      return Error(field,
                   "string of " + std::to_string(length) + " bytes, " +
                       std::to_string(remaining()) + " are left",
                   at);
    }
    const std::string_view text(reinterpret_cast<const char*>(bytes_.data() + position_), length);
    position_ += length;
    return text;
  }

  absl::StatusOr<std::string_view> ReadName(std::string_view field) {
    const uint64_t at = position_;
    ASSIGN_OR_RETURN(const std::string_view name, ReadString(field));
    if (name.empty() || name.size() > kMaxNameBytes) {
      return Error(field, "length " + std::to_string(name.size()) + " is not in 1..1024", at);
    }
    for (const char c : name) {
      if (c < 0x20 || c > 0x7e) return Error(field, "not printable ASCII", at);
    }
    return name;
  }

  absl::Status ReadHeader() {
    if (bytes_.size() < 4 || std::memcmp(bytes_.data(), "GGUF", 4) != 0) {
      return Error("magic", "not GGUF", 0);
    }
    position_ = 4;
    ASSIGN_OR_RETURN(const uint32_t version, Read<uint32_t>("version"));
    if (version != 2 && version != 3) {
      const bool swapped = version == 0x02000000u || version == 0x03000000u;
      return Error("version",
                   swapped ? std::string("big-endian files are not read")
                           : "expected 2 or 3, found " + std::to_string(version),
                   4);
    }
    ASSIGN_OR_RETURN(num_tensors_, Read<uint64_t>("n_tensors"));
    ASSIGN_OR_RETURN(num_metadata_, Read<uint64_t>("n_kv"));
    if (num_metadata_ > kMaxMetadata || num_metadata_ > remaining() / kMinMetadataBytes) {
      return Error("n_kv", "more than the file can hold: " + std::to_string(num_metadata_), 16);
    }
    if (num_tensors_ > kMaxTensors || num_tensors_ > remaining() / kMinTensorBytes) {
      return Error("n_tensors", "more than the file can hold: " + std::to_string(num_tensors_), 8);
    }
    return absl::OkStatus();
  }

  absl::Status ReadMetadata(uint64_t i) {
    const std::string field = "kv[" + std::to_string(i) + "]";
    const uint64_t at = position_;
    ASSIGN_OR_RETURN(const std::string_view key, ReadName(field + ".key"));
    const std::string named = field + " (" + std::string(key) + ")";
    const uint64_t type_at = position_;
    ASSIGN_OR_RETURN(const uint32_t type, Read<uint32_t>(named + ".type"));
    absl::StatusOr<MetadataValue> value = MetadataValue(false);
    if (type == kString) {
      ASSIGN_OR_RETURN(const std::string_view text, ReadString(named));
      value = MetadataValue(text);
    } else if (type == kArray) {
      value = ReadArray(named);
    } else if (ScalarBytes(type) != 0) {
      value = ReadScalar(named, type);
    } else {
      return Error(named + ".type", "unknown value type " + std::to_string(type), type_at);
    }
    if (!value.ok()) return value.status();
    const auto raw = bytes_.subspan(at, position_ - at);
    if (!source_.AddMetadata(key, *std::move(value), raw)) {
      return Error(named, "duplicate key", at);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<MetadataValue> ReadScalar(const std::string& field, uint32_t type) {
    const uint64_t at = position_;
    switch (type) {
      case kUint8:
        return AsInteger<uint8_t>(field);
      case kInt8:
        return AsInteger<int8_t>(field);
      case kUint16:
        return AsInteger<uint16_t>(field);
      case kInt16:
        return AsInteger<int16_t>(field);
      case kUint32:
        return AsInteger<uint32_t>(field);
      case kInt32:
        return AsInteger<int32_t>(field);
      case kInt64:
        return AsInteger<int64_t>(field);
      case kUint64: {
        ASSIGN_OR_RETURN(const uint64_t value, Read<uint64_t>(field));
        if (value > static_cast<uint64_t>(INT64_MAX)) return MetadataValue(value);
        return MetadataValue(static_cast<int64_t>(value));
      }
      case kFloat32: {
        ASSIGN_OR_RETURN(const float value, Read<float>(field));
        return MetadataValue(static_cast<double>(value));
      }
      case kFloat64: {
        ASSIGN_OR_RETURN(const double value, Read<double>(field));
        return MetadataValue(value);
      }
      default: {
        ASSIGN_OR_RETURN(const uint8_t value, Read<uint8_t>(field));
        if (value > 1) return Error(field, "a bool is 0 or 1", at);
        return MetadataValue(value == 1);
      }
    }
  }

  template <typename T>
  absl::StatusOr<MetadataValue> AsInteger(const std::string& field) {
    ASSIGN_OR_RETURN(const T value, Read<T>(field));
    return MetadataValue(static_cast<int64_t>(value));
  }

  absl::StatusOr<MetadataValue> ReadArray(const std::string& field) {
    const uint64_t at = position_;
    ASSIGN_OR_RETURN(const uint32_t type, Read<uint32_t>(field + ".type"));
    if (type == kArray) return Error(field + ".type", "arrays of arrays are not read", at);
    if (type != kString && ScalarBytes(type) == 0) {
      return Error(field + ".type", "unknown value type " + std::to_string(type), at);
    }
    const uint64_t count_at = position_;
    ASSIGN_OR_RETURN(const uint64_t count, Read<uint64_t>(field + ".count"));
    const uint64_t element_bytes = type == kString ? 8 : ScalarBytes(type);
    if (count > remaining() / element_bytes) {
      return Error(field + ".count", "more than the file can hold: " + std::to_string(count),
                   count_at);
    }
    if (type == kString) return ReadStrings(field, count, count_at);
    MetadataNumbers numbers;
    numbers.type = NumbersType(type);
    numbers.count = static_cast<int64_t>(count);
    numbers.data = bytes_.data() + position_;
    position_ += count * element_bytes;
    return MetadataValue(numbers);
  }

  absl::StatusOr<MetadataValue> ReadStrings(const std::string& field, uint64_t count,
                                            uint64_t count_at) {
    if (count > kMaxStrings - num_strings_) {
      return Error(field + ".count", "more than 4194304 strings", count_at);
    }
    num_strings_ += count;
    std::vector<std::string_view> strings;
    strings.reserve(count);
    for (uint64_t i = 0; i < count; ++i) {
      ASSIGN_OR_RETURN(const std::string_view text, ReadString(field));
      strings.push_back(text);
    }
    return MetadataValue(std::move(strings));
  }

  absl::Status ReadAlignment() {
    const MetadataEntry* entry = source_.FindMetadata("general.alignment");
    if (entry == nullptr) return absl::OkStatus();
    const auto* value = std::get_if<int64_t>(&entry->value);
    const bool good = value != nullptr && *value >= 8 && *value <= int64_t{kMaxAlignment} &&
                      (*value & (*value - 1)) == 0;
    if (!good) {
      return Error("general.alignment", "expected a power of two between 8 and 65536", position_);
    }
    alignment_ = static_cast<uint64_t>(*value);
    return absl::OkStatus();
  }

  absl::Status ReadTensorInfo(uint64_t i) {
    PendingTensor tensor;
    tensor.field = "tensor[" + std::to_string(i) + "]";
    ASSIGN_OR_RETURN(const std::string_view name, ReadName(tensor.field + ".name"));
    tensor.name = name;
    tensor.field += " (" + tensor.name + ")";
    RETURN_IF_ERROR(ReadDimensions(tensor));
    RETURN_IF_ERROR(ReadType(tensor));
    tensor.where = position_;
    ASSIGN_OR_RETURN(tensor.offset, Read<uint64_t>(tensor.field + ".offset"));
    if (tensor.offset % alignment_ != 0) {
      return Error(tensor.field + ".offset",
                   "not a multiple of the alignment " + std::to_string(alignment_), tensor.where);
    }
    pending_.push_back(std::move(tensor));
    return absl::OkStatus();
  }

  absl::Status ReadDimensions(PendingTensor& tensor) {
    const uint64_t at = position_;
    ASSIGN_OR_RETURN(const uint32_t num_dims, Read<uint32_t>(tensor.field + ".n_dims"));
    if (num_dims < 1 || num_dims > static_cast<uint32_t>(kMaxRank)) {
      return Error(tensor.field + ".n_dims", "expected 1..4, found " + std::to_string(num_dims),
                   at);
    }
    int64_t extents[kMaxRank] = {};  // outermost first: the file has them the other way round
    uint64_t elements = 1;
    for (uint32_t d = 0; d < num_dims; ++d) {
      const uint64_t dim_at = position_;
      const std::string field = tensor.field + ".ne[" + std::to_string(d) + "]";
      ASSIGN_OR_RETURN(const uint64_t extent, Read<uint64_t>(field));
      if (extent == 0) return Error(field, "an extent of 0", dim_at);
      // 2^48 elements exceed any file; the product then never overflows.
      if (extent > (uint64_t{1} << 48) / elements) {
        return Error(field, "more elements than any file holds", dim_at);
      }
      elements *= extent;
      extents[num_dims - 1 - d] = static_cast<int64_t>(extent);
    }
    tensor.view.shape = Shape(std::span<const int64_t>(extents, num_dims));
    return absl::OkStatus();
  }

  absl::Status ReadType(PendingTensor& tensor) {
    const uint64_t at = position_;
    ASSIGN_OR_RETURN(const uint32_t id, Read<uint32_t>(tensor.field + ".type"));
    const std::optional<DType> dtype = DTypeFromGguf(id);
    if (!dtype.has_value()) {
      return Error(tensor.field + ".type", "unknown type " + std::to_string(id), at);
    }
    tensor.view.dtype = *dtype;
    const DTypeInfo& info = InfoOf(*dtype);
    if (tensor.view.cols() % info.block_elements != 0) {
      return Error(tensor.field + ".ne[0]",
                   std::to_string(tensor.view.cols()) + " is not a multiple of the " +
                       std::string(info.name) + " block of " + std::to_string(info.block_elements),
                   at);
    }
    tensor.bytes = static_cast<uint64_t>(tensor.view.bytes());
    return absl::OkStatus();
  }

  // Tensors lie inside the data and beside each other, and have names of their own.
  absl::Status PlaceTensors() {
    if (pending_.empty()) return absl::OkStatus();
    const uint64_t data_start = (position_ + alignment_ - 1) / alignment_ * alignment_;
    if (data_start > bytes_.size()) {
      return Error("tensor data", "the file ends before it", position_);
    }
    const uint64_t data_bytes = bytes_.size() - data_start;
    for (const PendingTensor& tensor : pending_) {
      if (tensor.offset > data_bytes || tensor.bytes > data_bytes - tensor.offset) {
        return Error(tensor.field + ".offset",
                     std::to_string(tensor.bytes) + " bytes from " + std::to_string(tensor.offset) +
                         " go beyond the end of the file",
                     tensor.where);
      }
    }
    std::vector<const PendingTensor*> by_offset;
    by_offset.reserve(pending_.size());
    for (const PendingTensor& tensor : pending_) by_offset.push_back(&tensor);
    std::sort(by_offset.begin(), by_offset.end(),
              [](const PendingTensor* a, const PendingTensor* b) { return a->offset < b->offset; });
    for (size_t i = 1; i < by_offset.size(); ++i) {
      const PendingTensor& before = *by_offset[i - 1];
      if (before.offset + before.bytes > by_offset[i]->offset) {
        return Error(by_offset[i]->field + ".offset", "overlaps " + before.name,
                     by_offset[i]->where);
      }
    }
    for (PendingTensor& tensor : pending_) {
      tensor.view.data = bytes_.data() + data_start + tensor.offset;
      if (!source_.AddTensor(tensor.name, tensor.view)) {
        return Error(tensor.field + ".name", "duplicate tensor", tensor.where);
      }
    }
    return absl::OkStatus();
  }

  std::span<const std::byte> bytes_;
  DirectorySource& source_;
  uint64_t position_ = 0;
  uint64_t num_tensors_ = 0;
  uint64_t num_metadata_ = 0;
  uint64_t num_strings_ = 0;  // in arrays, so far
  uint64_t alignment_ = 32;
  std::vector<PendingTensor> pending_;
};

}  // namespace

namespace {

absl::StatusOr<std::shared_ptr<DirectorySource>> OpenShard(const std::string& path) {
  ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> file, MappedFile::Open(path));
  auto source = std::make_shared<DirectorySource>(path);
  const MappedFile& mapped = *file;
  source->AddFile(std::move(file));
  RETURN_IF_ERROR(Parser(mapped.bytes(), *source).Parse());
  RETURN_IF_ERROR(source->Health());
  return source;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const ModelSource>> OpenGguf(const std::string& path) {
  ASSIGN_OR_RETURN(std::shared_ptr<DirectorySource> given, OpenShard(path));
  ASSIGN_OR_RETURN(const GgufSplit split, ReadSplit(*given));
  if (split.count == 1) return given;
  ASSIGN_OR_RETURN(const std::vector<std::string> paths, ShardPaths(path, split));
  std::vector<std::shared_ptr<DirectorySource>> shards;
  for (const std::string& shard : paths) {
    if (shard == path) {
      shards.push_back(std::move(given));
      continue;
    }
    absl::StatusOr<std::shared_ptr<DirectorySource>> opened = OpenShard(shard);
    if (!opened.ok()) {
      return base::Annotate(opened.status(), "while opening the shards of " + path);
    }
    shards.push_back(*std::move(opened));
  }
  return JoinShards(path, std::move(shards));
}

absl::StatusOr<std::shared_ptr<const ModelSource>> OpenGgufBytes(std::span<const std::byte> bytes,
                                                                 const std::string& name) {
  const GgufBytes only = {bytes, name};
  return OpenGgufShards({&only, 1});
}

absl::StatusOr<std::shared_ptr<const ModelSource>> OpenGgufShards(
    std::span<const GgufBytes> shards) {
  std::vector<std::shared_ptr<DirectorySource>> parsed;
  for (const GgufBytes& shard : shards) {
    parsed.push_back(std::make_shared<DirectorySource>(shard.name));
    RETURN_IF_ERROR(Parser(shard.bytes, *parsed.back()).Parse());
  }
  if (parsed.size() == 1) {
    ASSIGN_OR_RETURN(const GgufSplit split, ReadSplit(*parsed[0]));
    if (split.count == 1) return parsed[0];
  }
  const std::string name(parsed.front()->path());
  return JoinShards(name, std::move(parsed));
}

}  // namespace conclave::engine
