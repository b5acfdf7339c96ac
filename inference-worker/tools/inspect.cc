// conclave-inspect: what a model file holds, metadata first, then tensors.
//
//   conclave-inspect --model m.gguf
#include <cstdio>
#include <string>
#include <type_traits>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/options.h"
#include "base/strings.h"
#include "engine/weights/model_file.h"
#include "tools/command_line.h"

namespace conclave::engine {
namespace {

constexpr size_t kTextMax = 72;  // bytes of a string that are shown
constexpr size_t kItemsMax = 4;  // strings of an array that are shown

// One line whatever the file says: control characters become dots, long texts end in "…".
std::string Quote(std::string_view text) {
  std::string shown = "\"";
  for (const char c : text.substr(0, kTextMax)) {
    shown += static_cast<unsigned char>(c) < 32 ? '.' : c;
  }
  return shown + (text.size() > kTextMax ? "…\"" : "\"");
}

std::string ToText(const MetadataValue& value) {
  return std::visit(
      [](const auto& v) -> std::string {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, bool>) {
          return v ? "true" : "false";
        } else if constexpr (std::is_same_v<T, std::string_view>) {
          return Quote(v);
        } else if constexpr (std::is_same_v<T, MetadataNumbers>) {
          return absl::StrCat("[", v.count, " numbers]");
        } else if constexpr (std::is_same_v<T, std::vector<std::string_view>>) {
          std::string text = absl::StrCat("[", v.size(), " strings");
          for (size_t i = 0; i < std::min(kItemsMax, v.size()); ++i) {
            absl::StrAppend(&text, i == 0 ? ": " : ", ", Quote(v[i]));
          }
          return text + (v.size() > kItemsMax ? ", …]" : "]");
        } else {
          return absl::StrCat(v);
        }
      },
      value);
}

absl::Status Inspect(const std::string& path) {
  if (path.empty()) return base::InvalidArgument("--model is missing");
  ASSIGN_OR_RETURN(const std::shared_ptr<const ModelSource> source, OpenModelFile(path));
  for (const MetadataEntry& entry : source->metadata()) {
    std::printf("%-48.*s %s\n", static_cast<int>(entry.key.size()), entry.key.data(),
                ToText(entry.value).c_str());
  }
  int64_t elements = 0, bytes = 0;
  std::printf("\n");
  for (const TensorEntry& tensor : source->tensors()) {
    elements += tensor.view.shape.elements();
    bytes += tensor.view.bytes();
    std::printf("%-40s %-6s %-24s %12lld bytes\n", tensor.name.c_str(),
                std::string(NameOf(tensor.view.dtype)).c_str(),
                tensor.view.shape.ToString().c_str(), static_cast<long long>(tensor.view.bytes()));
  }
  std::printf("\n%zu tensors, %.3f billion parameters, %.1f MiB, %.2f bits each\n",
              source->tensors().size(), static_cast<double>(elements) * 1e-9,
              static_cast<double>(bytes) / (1 << 20),
              elements > 0 ? 8.0 * static_cast<double>(bytes) / static_cast<double>(elements) : 0);
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  std::string model;
  base::OptionSet options("conclave-inspect", "Shows metadata and tensors of a model file.");
  options.Add("model", &model, "the GGUF file or Hugging Face folder");
  if (const auto code = ParseCommandLine(options, argc, argv)) return *code;
  const absl::Status status = Inspect(model);
  return status.ok() ? 0 : Fail(status);
}

}  // namespace
}  // namespace conclave::engine

int main(int argc, char** argv) { return conclave::engine::Main(argc, argv); }
