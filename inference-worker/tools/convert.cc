// conclave-convert HF_FOLDER OUT.gguf [--type F32|F16|BF16|Q8_0]
// Writes the GGUF file of a Hugging Face model.
#include <iostream>
#include <optional>
#include <string>

#include "engine/weights/model_file.h"
#include "tools/convert_model.h"

namespace conclave::engine {
namespace {

struct Arguments {
  std::string folder, out;
  DType type = DType::kBF16;
};

std::optional<DType> TypeNamed(std::string_view name) {
  for (const DType dtype : ConvertibleTypes()) {
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

absl::Status Convert(const Arguments& arguments) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const ModelSource> source,
                   OpenModelFile(arguments.folder));
  return ConvertModel(*source, arguments.type, arguments.out,
                      [](std::string_view note) { std::cerr << note << "\n"; });
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
