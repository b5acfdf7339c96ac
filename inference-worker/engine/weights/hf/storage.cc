// quantization_config: how the linear layers of a checkpoint are stored.
#include <algorithm>
#include <cctype>

#include "engine/weights/hf/config.h"

namespace conclave::engine {
namespace {

using base::JsonValue;

absl::Status ReadGroupSize(const JsonValue& field, int64_t* out) {
  ASSIGN_OR_RETURN(*out, field.AsInt(-1, kConfigSizeMax));
  return *out == 0 ? field.Error("expected -1 or more than 0") : absl::OkStatus();
}

absl::Status ExpectFourBits(const JsonValue& field) {
  ASSIGN_OR_RETURN(const int64_t bits, field.AsInt(1, 32));
  return bits == 4 ? absl::OkStatus() : FieldNotSupported(field, std::to_string(bits) + " bits");
}

absl::Status ExpectText(const JsonValue& field, std::string_view expected) {
  ASSIGN_OR_RETURN(std::string found, field.missing() ? std::string(expected) : field.AsString());
  std::transform(found.begin(), found.end(), found.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (found == expected) return absl::OkStatus();
  return FieldNotSupported(field, "\"" + found.substr(0, 64) + "\"");
}

absl::Status ReadFp8(const JsonValue& config, HfStorage* storage) {
  storage->method = HfQuantization::kFp8;
  storage->fp8_scale = ".weight_scale_inv";
  const JsonValue block = config.Get("weight_block_size");
  if (block.missing()) return FieldNotSupported(block, "FP8 without blocks");
  if (block.size() != 2) return block.Error("expected rows and columns");
  for (size_t i = 0; i < 2; ++i) {
    ASSIGN_OR_RETURN(storage->fp8_block[i], block.At(i).AsInt(1, kConfigSizeMax));
  }
  return absl::OkStatus();
}

absl::Status ReadGptq(const JsonValue& config, HfStorage* storage) {
  storage->method = HfQuantization::kGptq;
  RETURN_IF_ERROR(ExpectFourBits(config.Get("bits")));
  RETURN_IF_ERROR(ReadGroupSize(config.Get("group_size"), &storage->group_size));
  const JsonValue format = config.Get("checkpoint_format");
  ASSIGN_OR_RETURN(const auto name, format.OptionalString());
  storage->gptq_v2 = name.value_or("gptq") == "gptq_v2";
  return storage->gptq_v2 ? absl::OkStatus() : ExpectText(format, "gptq");
}

absl::Status ReadAwq(const JsonValue& config, HfStorage* storage) {
  storage->method = HfQuantization::kAwq;
  RETURN_IF_ERROR(ExpectFourBits(config.Get("bits")));
  RETURN_IF_ERROR(ReadGroupSize(config.Get("group_size"), &storage->group_size));
  return ExpectText(config.Get("version"), "gemm");
}

// The weights of compressed-tensors: one group of settings for all layers that are not left as they
// are, integers of four bits or e4m3 with a scale per row or for all.
absl::Status ReadCompressed(const JsonValue& config, HfStorage* storage) {
  const JsonValue groups = config.Get("config_groups");
  if (groups.size() != 1) return FieldNotSupported(groups, "anything but one group");
  JsonValue weights;
  groups.ForEachMember(
      [&](std::string_view, const JsonValue& group) { weights = group.Get("weights"); });
  if (!weights.is_object()) return groups.Error("expected an object with weights");
  ASSIGN_OR_RETURN(const bool symmetric, weights.Get("symmetric").AsBool());
  if (!symmetric) return FieldNotSupported(weights.Get("symmetric"), "false");
  const JsonValue format = config.Get("format"), strategy = weights.Get("strategy");
  ASSIGN_OR_RETURN(const std::string format_name, format.AsString());
  if (format_name == "pack-quantized") {
    storage->method = HfQuantization::kPacked;
    RETURN_IF_ERROR(ExpectText(weights.Get("type"), "int"));
    RETURN_IF_ERROR(ExpectFourBits(weights.Get("num_bits")));
    const JsonValue order = weights.Get("actorder");
    if (!order.missing()) return FieldNotSupported(order, "an order of columns");
    ASSIGN_OR_RETURN(const std::string name, strategy.AsString());
    if (name == "channel") {
      storage->group_size = -1;
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(ExpectText(strategy, "group"));
    return ReadGroupSize(weights.Get("group_size"), &storage->group_size);
  }
  RETURN_IF_ERROR(ExpectText(format, "float-quantized"));
  storage->method = HfQuantization::kFp8;
  storage->fp8_scale = ".weight_scale";
  RETURN_IF_ERROR(ExpectText(weights.Get("type"), "float"));
  ASSIGN_OR_RETURN(const std::string name, strategy.AsString());
  if (name == "tensor") return absl::OkStatus();  // one block, of all rows and columns
  storage->fp8_block[0] = 1;
  return ExpectText(strategy, "channel");
}

}  // namespace

absl::StatusOr<HfStorage> ReadStorage(const JsonValue& quantization) {
  HfStorage storage;
  if (quantization.missing()) return storage;
  const JsonValue field = quantization.Get("quant_method");
  ASSIGN_OR_RETURN(const std::string method, field.AsString());
  if (method == "fp8") {
    RETURN_IF_ERROR(ReadFp8(quantization, &storage));
  } else if (method == "gptq") {
    RETURN_IF_ERROR(ReadGptq(quantization, &storage));
  } else if (method == "awq") {
    RETURN_IF_ERROR(ReadAwq(quantization, &storage));
  } else if (method == "compressed-tensors") {
    RETURN_IF_ERROR(ReadCompressed(quantization, &storage));
  } else if (method == "mxfp4") {
    storage.method = HfQuantization::kMxfp4;
  } else {
    return FieldNotSupported(field, "\"" + method.substr(0, 64) + "\"");
  }
  return storage;
}

}  // namespace conclave::engine
