// conclave-quantize: writes a GGUF model in another weight format. llama.cpp loads the result too.
//
//   conclave-quantize model-f16.gguf model-q4_k.gguf --type Q4_K
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "base/options.h"
#include "engine/weights/gguf.h"
#include "tools/command_line.h"
#include "tools/quantize_model.h"

namespace conclave::engine {
namespace {

struct Options {
  std::vector<std::string> files;
  std::string type = "Q4_K";
  std::string head;
  QuantizeOptions quantize;
};

absl::Status Quantize(Options& o) {
  if (o.files.size() != 2) {
    return base::InvalidArgument("usage: conclave-quantize IN.gguf OUT.gguf --type TYPE");
  }
  std::error_code ignored;
  if (std::filesystem::equivalent(o.files[0], o.files[1], ignored)) {
    return base::InvalidArgument(o.files[1] + ": is the input");
  }
  ASSIGN_OR_RETURN(o.quantize.type, WritableType(o.type));
  if (!o.head.empty()) {
    ASSIGN_OR_RETURN(o.quantize.head, WritableType(o.head));
  }
  ASSIGN_OR_RETURN(const std::shared_ptr<const ModelSource> source, OpenGguf(o.files[0]));
  ASSIGN_OR_RETURN(const QuantizeSummary summary,
                   QuantizeModel(*source, o.quantize, o.files[1], [](std::string_view note) {
                     std::fprintf(stderr, "%.*s\n", static_cast<int>(note.size()), note.data());
                   }));
  constexpr double kMiB = 1 << 20;
  std::printf("%lld tensors, %.1f MiB to %.1f MiB, %.2f bits each\n",
              static_cast<long long>(summary.tensors),
              static_cast<double>(summary.bytes_before) / kMiB,
              static_cast<double>(summary.bytes_after) / kMiB,
              8.0 * static_cast<double>(summary.bytes_after) /
                  static_cast<double>(std::max<int64_t>(1, summary.elements)));
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  Options o;
  base::OptionSet options("conclave-quantize", "Writes IN.gguf as OUT.gguf in another format.");
  options.Add("type", &o.type,
              "of the matrices: F16, BF16, Q8_0, Q4_0, …, Q2_K to Q6_K, IQ4_NL, …");
  options.Add("head", &o.head,
              "of the output matrix; empty = Q6_K where --type has fewer bits, else --type");
  options.Add("keep", &o.quantize.keep, "regular expression: tensors whose names it finds stay");
  options.Add("allow-requantize", &o.quantize.allow_requantize,
              "take matrices that are quantised already");
  options.Add("threads", &o.quantize.num_threads, "0 = one per usable core", 0, 1024);
  if (const auto code = ParseCommandLine(options, argc, argv, &o.files)) return *code;
  const absl::Status status = Quantize(o);
  return status.ok() ? 0 : Fail(status);
}

}  // namespace
}  // namespace conclave::engine

int main(int argc, char** argv) { return conclave::engine::Main(argc, argv); }
