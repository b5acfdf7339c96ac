// conclave-convert HF_FOLDER OUT.gguf [--type F32|F16|BF16|Q8_0]
// Writes the GGUF file of a Hugging Face model: the same keys, names and order of rows the engine
// binds from (engine/weights/hf_folder.h), with the vocabulary spelt out.
#include <cstdio>
#include <cstring>
#include <iostream>
#include <optional>
#include <string>

#include "engine/quant/format.h"
#include "engine/tokenizer/export.h"
#include "engine/weights/gguf_writer.h"
#include "engine/weights/model_file.h"

namespace conclave::engine {
namespace {

struct Arguments {
  std::string folder, out;
  DType type = DType::kBF16;
};

std::optional<DType> TypeNamed(std::string_view name) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0}) {
    if (NameOf(dtype) == name) return dtype;
  }
  return std::nullopt;
}

bool ParseArguments(int count, char** values, Arguments* arguments) {
  for (int i = 1; i < count; ++i) {
    const std::string_view value = values[i];
    if (value == "--type" && i + 1 < count) {
      const std::optional<DType> type = TypeNamed(values[++i]);
      if (!type.has_value()) return false;
      arguments->type = *type;
    } else if (value.starts_with("--") || !arguments->out.empty()) {
      return false;
    } else {
      (arguments->folder.empty() ? arguments->folder : arguments->out) = value;
    }
  }
  return !arguments->out.empty();
}

// Matrices in the wanted type where their rows are whole blocks of it; vectors, and the router that
// chooses experts, stay F32, as other converters and loaders have it.
DType TypeOf(const TensorEntry& entry, DType wanted) {
  if (entry.view.shape.rank() < 2 || entry.name.find("ffn_gate_inp") != std::string::npos) {
    return DType::kF32;
  }
  return entry.view.cols() % InfoOf(wanted).block_elements == 0 ? wanted : DType::kF16;
}

absl::Status AddTensor(const ModelSource& source, const TensorEntry& entry, DType type,
                       GgufWriter* writer) {
  const QuantFormat* from = FindFormat(entry.view.dtype);
  const QuantFormat* to = FindFormat(type);
  if (from == nullptr || to == nullptr || to->quantize_row == nullptr) {
    return base::Unimplemented(entry.name + ": from " + std::string(NameOf(entry.view.dtype)) +
                               " to " + std::string(NameOf(type)));
  }
  const int64_t cols = entry.view.cols(), last = entry.view.rows() - 1;
  writer->AddTensor(entry.name, type, entry.view.shape,
                    [=, &source, &entry](int64_t row, std::span<std::byte> bytes) {
                      if (row == 0) source.Prepare(entry);
                      std::vector<float> values(static_cast<size_t>(cols));
                      from->dequantize_row(entry.view.row(row), values.data(), cols);
                      to->quantize_row(values.data(), bytes.data(), cols);
                      if (row == last) source.DoneWith(entry.view);
                    });
  return absl::OkStatus();
}

// general.file_type, as GGUF numbers what most of a file is.
uint32_t FileType(DType type) {
  switch (type) {
    case DType::kF32:
      return 0;
    case DType::kF16:
      return 1;
    case DType::kQ8_0:
      return 7;
    default:
      return 32;
  }
}

void AddMetadata(const MetadataEntry& entry, GgufWriter* writer) {
  if (const auto* text = std::get_if<std::string_view>(&entry.value)) {
    writer->SetString(entry.key, *text);
  } else if (const auto* flag = std::get_if<bool>(&entry.value)) {
    writer->SetBool(entry.key, *flag);
  } else if (const auto* number = std::get_if<int64_t>(&entry.value)) {
    writer->SetUint32(entry.key, static_cast<uint32_t>(*number));
  } else if (const auto* real = std::get_if<double>(&entry.value)) {
    writer->SetFloat(entry.key, static_cast<float>(*real));
  }
}

absl::Status AddVocabulary(const ModelSource& source, GgufWriter* writer) {
  if (!source.Has("tokenizer.huggingface.json")) {
    writer->SetString("tokenizer.ggml.model", "no_vocab");
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const ExportedVocabulary vocabulary, ExportVocabulary(source));
  writer->SetString("tokenizer.ggml.model", vocabulary.model);
  if (!vocabulary.pre.empty()) writer->SetString("tokenizer.ggml.pre", vocabulary.pre);
  writer->SetStrings("tokenizer.ggml.tokens", vocabulary.tokens);
  writer->SetInts("tokenizer.ggml.token_type", vocabulary.types);
  if (!vocabulary.merges.empty()) writer->SetStrings("tokenizer.ggml.merges", vocabulary.merges);
  if (!vocabulary.scores.empty()) writer->SetFloats("tokenizer.ggml.scores", vocabulary.scores);
  const auto set_id = [&](const char* key, TokenId id) {
    if (id >= 0) writer->SetUint32(key, static_cast<uint32_t>(id));
  };
  set_id("tokenizer.ggml.bos_token_id", vocabulary.bos);
  set_id("tokenizer.ggml.eos_token_id", vocabulary.eos);
  set_id("tokenizer.ggml.eot_token_id", vocabulary.eot);
  set_id("tokenizer.ggml.unknown_token_id", vocabulary.unknown);
  writer->SetBool("tokenizer.ggml.add_bos_token", vocabulary.add_bos);
  writer->SetBool("tokenizer.ggml.add_eos_token", vocabulary.add_eos);
  if (vocabulary.model == "llama") {
    writer->SetBool("tokenizer.ggml.add_space_prefix", vocabulary.add_space_prefix);
  }
  return absl::OkStatus();
}

absl::Status Convert(const Arguments& arguments) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const ModelSource> source,
                   OpenModelFile(arguments.folder));
  GgufWriter writer;
  for (const MetadataEntry& entry : source->metadata()) {
    const bool vocabulary =
        entry.key.starts_with("tokenizer.") && !entry.key.starts_with("tokenizer.chat_template");
    if (!vocabulary) AddMetadata(entry, &writer);
  }
  writer.SetUint32("general.file_type", FileType(arguments.type));
  RETURN_IF_ERROR(AddVocabulary(*source, &writer));
  for (const TensorEntry& entry : source->tensors()) {
    RETURN_IF_ERROR(AddTensor(*source, entry, TypeOf(entry, arguments.type), &writer));
  }
  RETURN_IF_ERROR(writer.WriteFile(arguments.out));
  return source->Health();
}

}  // namespace
}  // namespace conclave::engine

int main(int argc, char** argv) {
  conclave::engine::Arguments arguments;
  if (!conclave::engine::ParseArguments(argc, argv, &arguments)) {
    std::cerr << "usage: conclave-convert HF_FOLDER OUT.gguf [--type F32|F16|BF16|Q8_0]\n";
    return 2;
  }
  const absl::Status status = conclave::engine::Convert(arguments);
  if (status.ok()) return 0;
  std::cerr << status.message() << "\n";
  return 1;
}
