// conclave-embed: options → model → services → serve → drain.
#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/options.h"
#include "base/shutdown.h"
#include "base/status.h"
#include "embed/embed_worker.h"
#include "mesh/process.h"

namespace conclave::embed {
namespace {

struct Settings {
  std::string model;
  std::vector<std::string> aliases;
  std::string worker_id;
  mesh::ServerOptions server{.listen = "127.0.0.1:50052"};
  mesh::ProcessOptions process{.probe_listen = "127.0.0.1:9052"};
  EncoderOptions encoder;
  BatcherOptions batcher;
  std::string keep_alive = "forever";
};

void AddOptions(base::OptionSet& options, Settings* s) {
  options.Add("model", &s->model, "[name=]path of the model: a GGUF file or a Hugging Face folder");
  options.Add("aliases", &s->aliases, "further names; those of all-MiniLM-L6-v2 are known");
  options.Add("worker-id", &s->worker_id, "this worker's name; empty = host name and port");
  mesh::AddServerOptions(options, &s->server);
  mesh::AddProcessOptions(options, &s->process);
  options.Add("threads", &s->encoder.num_threads, "compute threads; 0 = one per usable core", 0,
              1024);
  options.Add("tokens-max", &s->encoder.tokens_max, "tokens of one input; 0 = what the model takes",
              0, 1 << 24);
  options.Add("batch-tokens-max", &s->batcher.batch_tokens_max, "tokens of one batch", 1, 1 << 20);
  options.Add("queue-tokens-max", &s->batcher.queue_tokens_max,
              "tokens that wait; beyond it requests are refused", 1, int64_t{1} << 40);
  options.Add("keep-alive", &s->keep_alive,
              "how long the model stays in memory after its last request, where that does not say; "
              "forever, or a duration");
  options.AddCheck([s] { return base::ParseKeepAlive(s->keep_alive).status(); });
  options.AddCheck([s] { return s->server.Validate(); });
  options.AddCheck([s]() -> absl::Status {
    if (s->model.empty()) return base::InvalidArgument("model: required");
    return absl::OkStatus();
  });
}

struct NamedPath {
  std::string name;
  std::string path;
};

// "all-MiniLM-L6-v2=/models/minilm", or the path alone, whose last part is then the name.
NamedPath ParseModel(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals != std::string::npos && text.find('/') > equals) {
    return {text.substr(0, equals), text.substr(equals + 1)};
  }
  std::filesystem::path path(text);
  if (!path.has_filename()) path = path.parent_path();
  if (path.extension() == ".gguf") path.replace_extension();
  return {path.filename().string(), text};
}

std::vector<std::string> Aliases(const Settings& s, const std::string& name) {
  if (!s.aliases.empty() || name != "all-MiniLM-L6-v2") return s.aliases;
  return {"all-minilm", "all-minilm-l6-v2"};
}

// What a digest is of: the file, or the weights in a folder.
std::vector<std::string> WeightFiles(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) return {path};
  const std::string weights = path + "/model.safetensors";
  if (std::filesystem::exists(weights, error)) return {weights};
  return {};
}

absl::StatusOr<int> Serve(const Settings& s, base::Shutdown& shutdown) {
  const NamedPath from = ParseModel(s.model);
  const auto open = [&s, from] {
    return OpenServedModel(from.name, Aliases(s, from.name), from.path, s.encoder, s.batcher);
  };
  ASSIGN_OR_RETURN(std::unique_ptr<ServedModel> model, open());
  base::LogInfo("model loaded", {{"model", from.name}, {"revision", model->facts().revision}});
  ASSIGN_OR_RETURN(const std::chrono::milliseconds keep_alive, base::ParseKeepAlive(s.keep_alive));
  EmbedWorkerOptions options{.slot = {.open = open, .keep_alive = keep_alive},
                             .digest_files = WeightFiles(from.path)};
  EmbedWorker worker(std::move(model), s.server, s.worker_id, std::move(options));
  RETURN_IF_ERROR(worker.Start());
  return mesh::ServeUntilStopped(worker, s.process, shutdown);
}

int Main(int argc, char** argv) {
  Settings settings;
  base::OptionSet options("conclave-embed", "Turns texts into vectors, over gRPC.");
  AddOptions(options, &settings);
  return mesh::RunProcess(
      options, settings.process.log_level, argc, argv,
      [&settings](base::Shutdown& shutdown) { return Serve(settings, shutdown); });
}

}  // namespace
}  // namespace conclave::embed

int main(int argc, char** argv) { return conclave::embed::Main(argc, argv); }
