#include "tools/convert_model.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>
#include <vector>

#include "engine/quant/format.h"
#include "engine/tokenizer/export.h"
#include "engine/tokenizer/load.h"
#include "engine/weights/gguf_writer.h"

namespace conclave::engine {
namespace {

constexpr DType kTypes[] = {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0};

bool IsFloat(DType type) {
  return type == DType::kF32 || type == DType::kF16 || type == DType::kBF16;
}

// Matrices in the wanted type where their rows are whole blocks of it; what is stored in blocks
// already stays as it is. Vectors, biases and the router that chooses experts are F32, as other
// converters and loaders have it.
DType TypeOf(const TensorEntry& entry, DType wanted) {
  if (!IsFloat(entry.view.dtype)) return entry.view.dtype;
  const bool weight = entry.view.shape.rank() > 1 && entry.name.ends_with(".weight");
  if (!weight || entry.name.find("ffn_gate_inp") != std::string::npos) return DType::kF32;
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
  const auto copy_row = [=, &entry](int64_t row, std::span<std::byte> bytes) {
    if (from == to) {
      std::memcpy(bytes.data(), entry.view.row(row), bytes.size());
      return;
    }
    std::vector<float> values(static_cast<size_t>(cols));
    from->dequantize_row(entry.view.row(row), values.data(), cols);
    to->quantize_row(values.data(), bytes.data(), cols);
  };
  writer->AddTensor(entry.name, type, entry.view.shape,
                    [=, &source, &entry](int64_t row, std::span<std::byte> bytes) {
                      if (row == 0) source.Prepare(entry);
                      copy_row(row, bytes);
                      if (row == last) source.DoneWith(entry.view);
                    });
  return absl::OkStatus();
}

// general.file_type of a file most of whose weights are of this type, as llama.cpp numbers it.
uint32_t FileType(DType type) {
  switch (type) {
    case DType::kF32:
      return 0;
    case DType::kF16:
      return 1;
    case DType::kQ4_0:
      return 2;
    case DType::kQ8_0:
      return 7;
    case DType::kMXFP4:
      return 38;
    default:
      return 32;
  }
}

// The type that most elements have.
DType MostlyOf(const ModelSource& source, DType wanted) {
  std::map<DType, int64_t> elements;
  for (const TensorEntry& entry : source.tensors()) {
    elements[TypeOf(entry, wanted)] += entry.view.shape.elements();
  }
  return std::max_element(elements.begin(), elements.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

void AddNumbers(std::string_view key, const ModelSource& source, GgufWriter* writer) {
  if (const auto ints = source.GetInts(key); ints.ok()) {
    writer->SetInts(key, std::vector<int32_t>(ints->begin(), ints->end()));
  } else if (const auto floats = source.GetFloats(key); floats.ok()) {
    writer->SetFloats(key, *floats);
  }
}

// Integers are written in 32 bits where they fit, as loaders expect them.
void AddInteger(std::string_view key, int64_t value, GgufWriter* writer) {
  if (value < 0) {
    writer->SetInt32(key, static_cast<int32_t>(value));
  } else if (value <= std::numeric_limits<uint32_t>::max()) {
    writer->SetUint32(key, static_cast<uint32_t>(value));
  } else {
    writer->SetUint64(key, static_cast<uint64_t>(value));
  }
}

void AddMetadata(const MetadataEntry& entry, const ModelSource& source, GgufWriter* writer) {
  if (const auto* text = std::get_if<std::string_view>(&entry.value)) {
    writer->SetString(entry.key, *text);
  } else if (const auto* flag = std::get_if<bool>(&entry.value)) {
    writer->SetBool(entry.key, *flag);
  } else if (const auto* number = std::get_if<int64_t>(&entry.value)) {
    AddInteger(entry.key, *number, writer);
  } else if (const auto* big = std::get_if<uint64_t>(&entry.value)) {
    writer->SetUint64(entry.key, *big);
  } else if (const auto* real = std::get_if<double>(&entry.value)) {
    writer->SetFloat(entry.key, static_cast<float>(*real));
  } else if (const auto* texts = std::get_if<std::vector<std::string_view>>(&entry.value)) {
    writer->SetStrings(entry.key, std::vector<std::string>(texts->begin(), texts->end()));
  } else if (const auto* numbers = std::get_if<MetadataNumbers>(&entry.value)) {
    if (numbers->type == MetadataNumbers::Type::kBool) {
      writer->SetBools(entry.key, {reinterpret_cast<const uint8_t*>(numbers->data),
                                   static_cast<size_t>(numbers->count)});
    } else {
      AddNumbers(entry.key, source, writer);
    }
  }
}

// As many tokens as the embedding table has rows, which is what loaders take the number from.
absl::Status PadVocabulary(const ModelSource& source, ExportedVocabulary* vocabulary) {
  const TensorEntry* table = source.FindTensor("token_embd.weight");
  const auto rows = static_cast<size_t>(table->view.shape[0]);
  if (vocabulary->tokens.size() > rows) {
    return base::InvalidArgument("tokenizer.json: " + std::to_string(vocabulary->tokens.size()) +
                                 " tokens, but the embedding table has " + std::to_string(rows) +
                                 " rows");
  }
  const bool scored = !vocabulary->scores.empty();
  for (size_t i = vocabulary->tokens.size(); i < rows; ++i) {
    vocabulary->tokens.push_back("[PAD" + std::to_string(i) + "]");
    vocabulary->types.push_back(static_cast<int32_t>(TokenType::kUnused));
    if (scored) vocabulary->scores.push_back(-1e9f);
  }
  return absl::OkStatus();
}

absl::Status AddVocabulary(const ModelSource& source, GgufWriter* writer,
                           const std::function<void(std::string_view)>& note) {
  if (!source.Has("tokenizer.huggingface.json")) {
    writer->SetString("tokenizer.ggml.model", "no_vocab");
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(ExportedVocabulary vocabulary, ExportVocabulary(source));
  RETURN_IF_ERROR(PadVocabulary(source, &vocabulary));
  writer->SetString("tokenizer.ggml.model", vocabulary.model);
  if (!vocabulary.pre.empty()) writer->SetString("tokenizer.ggml.pre", vocabulary.pre);
  writer->SetStrings("tokenizer.ggml.tokens", vocabulary.tokens);
  writer->SetInts("tokenizer.ggml.token_type", vocabulary.types);
  if (!vocabulary.merges.empty()) writer->SetStrings("tokenizer.ggml.merges", vocabulary.merges);
  if (!vocabulary.scores.empty()) writer->SetFloats("tokenizer.ggml.scores", vocabulary.scores);
  const auto set_id = [&](const char* key, TokenId id) {
    if (id >= 0) writer->SetUint32(key, static_cast<uint32_t>(id));
  };
  const bool bert = vocabulary.model == "bert", t5 = vocabulary.model == "t5";
  set_id("tokenizer.ggml.bos_token_id", vocabulary.bos);
  set_id("tokenizer.ggml.eos_token_id", vocabulary.eos);
  set_id("tokenizer.ggml.eot_token_id", vocabulary.eot);
  set_id("tokenizer.ggml.unknown_token_id", vocabulary.unknown);
  writer->SetBool("tokenizer.ggml.add_bos_token", vocabulary.add_bos);
  writer->SetBool("tokenizer.ggml.add_eos_token", vocabulary.add_eos);
  if (bert) {
    set_id("tokenizer.ggml.cls_token_id", vocabulary.bos);
    set_id("tokenizer.ggml.seperator_token_id", vocabulary.eos);  // the key is misspelt for good
    writer->SetBool("tokenizer.ggml.normalizer.lowercase", vocabulary.lower_case);
    writer->SetBool("tokenizer.ggml.normalizer.strip_accents", vocabulary.strip_accents);
  }
  if (t5 || vocabulary.model == "llama") {
    writer->SetBool("tokenizer.ggml.add_space_prefix", vocabulary.add_space_prefix);
  }
  if (t5) {
    writer->SetBool("tokenizer.ggml.remove_extra_whitespaces", vocabulary.remove_extra_whitespaces);
    const auto* map = reinterpret_cast<const uint8_t*>(vocabulary.charsmap.data());
    if (!vocabulary.charsmap.empty()) {
      writer->SetBytes("tokenizer.ggml.precompiled_charsmap", {map, vocabulary.charsmap.size()});
    }
  }
  if (!vocabulary.note.empty()) note("tokenizer.json: " + vocabulary.note);
  return absl::OkStatus();
}

}  // namespace

std::span<const DType> ConvertibleTypes() { return kTypes; }

absl::Status ConvertModel(const ModelSource& source, DType type, const std::string& out,
                          const std::function<void(std::string_view)>& note) {
  GgufWriter writer;
  for (const MetadataEntry& entry : source.metadata()) {
    // The number of segments is the model's, though it goes by the tokenizer's name.
    const bool vocabulary = entry.key.starts_with("tokenizer.") &&
                            !entry.key.starts_with("tokenizer.chat_template") &&
                            entry.key != "tokenizer.ggml.token_type_count";
    if (!vocabulary) AddMetadata(entry, source, &writer);
  }
  writer.SetUint32("general.file_type", FileType(MostlyOf(source, type)));
  RETURN_IF_ERROR(AddVocabulary(source, &writer, note));
  for (const TensorEntry& entry : source.tensors()) {
    RETURN_IF_ERROR(AddTensor(source, entry, TypeOf(entry, type), &writer));
  }
  RETURN_IF_ERROR(writer.WriteFile(out));
  return source.Health();
}

}  // namespace conclave::engine
