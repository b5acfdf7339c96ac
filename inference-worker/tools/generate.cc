// conclave-generate: one prompt, answered on the terminal.
//
//   conclave-generate --model m.gguf --prompt "The capital of France is" --max-tokens 32
//   conclave-generate --model m.gguf --ids 1,15,27 --temperature 0
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "base/options.h"
#include "engine/engine.h"
#include "engine/tokenizer/incremental_decoder.h"
#include "engine/tokenizer/load.h"
#include "engine/weights/model_file.h"
#include "tools/collector.h"
#include "tools/command_line.h"

namespace conclave::engine {
namespace {

struct Options {
  std::string model;
  std::string prompt;
  std::vector<std::string> ids;
  bool special = true;
  int max_tokens = 128;
  double temperature = 0;
  double top_p = 1;
  double min_p = 0;
  int top_k = 0;
  int64_t seed = 0;
  int threads = 0;
  int context = 0;
  std::string device;
  std::string isa;
};

absl::StatusOr<std::vector<TokenId>> ParseIds(const std::vector<std::string>& texts) {
  std::vector<TokenId> ids;
  for (const std::string& text : texts) {
    char* end = nullptr;
    const long id = std::strtol(text.c_str(), &end, 10);
    if (end == text.c_str() || *end != '\0' || id < 0 || id > INT32_MAX) {
      return base::InvalidArgument("ids: \"" + text + "\" is no token id");
    }
    ids.push_back(static_cast<TokenId>(id));
  }
  return ids;
}

GenerateRequest MakeRequest(const Options& o, std::vector<TokenId> prompt) {
  return {.id = "generate",
          .prompt = std::move(prompt),
          .sampling = {.temperature = static_cast<float>(o.temperature),
                       .top_k = o.top_k,
                       .top_p = static_cast<float>(o.top_p),
                       .min_p = static_cast<float>(o.min_p),
                       .seed = static_cast<uint64_t>(o.seed)},
          .max_tokens = o.max_tokens};
}

void PrintEnd(const Event& end) {
  static constexpr const char* kReasons[] = {"stop", "length", "cancelled", "error"};
  const double prefill_s = end.timings.prefill_ms / 1000;
  const double decode_s = end.timings.decode_ms / 1000;
  std::fprintf(stderr, "\n[%s; prompt %d tokens, %.1f/s; output %d tokens, %.1f/s]\n",
               kReasons[static_cast<int>(end.reason)], end.usage.prompt_tokens,
               prefill_s > 0 ? end.usage.prompt_tokens / prefill_s : 0.0, end.usage.output_tokens,
               decode_s > 0 ? (end.usage.output_tokens - 1) / decode_s : 0.0);
}

absl::Status Generate(const Options& o) {
  if (o.model.empty()) return base::InvalidArgument("--model is missing");
  ASSIGN_OR_RETURN(std::shared_ptr<const ModelSource> source, OpenModelFile(o.model));
  ASSIGN_OR_RETURN(std::vector<TokenId> prompt, ParseIds(o.ids));
  std::unique_ptr<Tokenizer> tokenizer;
  if (!o.prompt.empty()) {
    ASSIGN_OR_RETURN(tokenizer, LoadTokenizer(*source));
    prompt = tokenizer->Encode(o.prompt, {.parse_special = o.special, .add_special = true});
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                   Engine::Open(source, {.num_threads = o.threads,
                                         .context_length = o.context,
                                         .max_sequences = 1,
                                         .device = o.device,
                                         .isa = o.isa}));
  std::unique_ptr<IncrementalDecoder> decoder;
  if (tokenizer != nullptr) decoder = std::make_unique<IncrementalDecoder>(*tokenizer);
  const auto collector = std::make_shared<Collector>([&](const Event& event) {
    if (event.kind == Event::Kind::kToken) {
      const std::string text =
          decoder != nullptr ? decoder->Append(event.token) : std::to_string(event.token) + " ";
      std::fwrite(text.data(), 1, text.size(), stdout);
      std::fflush(stdout);
    }
    return SinkAction::kContinue;
  });
  RETURN_IF_ERROR(engine->Submit(MakeRequest(o, std::move(prompt)), collector));
  const std::optional<Event> end = collector->WaitFinished(std::chrono::hours(24));
  if (!end.has_value()) return absl::DeadlineExceededError("no answer within a day");
  PrintEnd(*end);
  return end->status;
}

int Main(int argc, char** argv) {
  Options o;
  base::OptionSet options("conclave-generate", "Answers one prompt with a model file.");
  options.Add("model", &o.model, "the GGUF file or Hugging Face folder");
  options.Add("prompt", &o.prompt, "text to continue; special tokens in it count as such");
  options.Add("special", &o.special, "recognise special tokens in the prompt");
  options.Add("ids", &o.ids, "the prompt as token ids instead, with commas");
  options.Add("max-tokens", &o.max_tokens, "of output; 0 = up to the context", 0);
  options.Add("temperature", &o.temperature, "0 = always the most probable token", 0, 2);
  options.Add("top-k", &o.top_k, "0 = off", 0);
  options.Add("top-p", &o.top_p, "1 = off", 0, 1);
  options.Add("min-p", &o.min_p, "0 = off", 0, 1);
  options.Add("seed", &o.seed, "of the draws");
  options.Add("threads", &o.threads, "0 = one per usable core", 0, 1024);
  options.Add("context", &o.context, "tokens of prompt and output; 0 = the model's", 0);
  options.Add("device", &o.device, "auto, cpu or cuda; empty = CONCLAVE_DEVICE or cpu");
  options.Add("isa", &o.isa, "scalar, avx2 or avx512; empty = the best there is");
  if (const auto code = ParseCommandLine(options, argc, argv)) return *code;
  const absl::Status status = Generate(o);
  return status.ok() ? 0 : Fail(status);
}

}  // namespace
}  // namespace conclave::engine

int main(int argc, char** argv) { return conclave::engine::Main(argc, argv); }
