// conclave-worker: options → models → services → serve → drain.
#include <cstdlib>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/options.h"
#include "base/shutdown.h"
#include "base/status.h"
#include "mesh/process.h"
#include "worker/device_watch.h"
#include "worker/worker.h"

namespace conclave::worker {
namespace {

struct Settings {
  Settings() { worker.host.memory_budget = 0; }
  WorkerOptions worker;
  mesh::ProcessOptions process{.probe_listen = "127.0.0.1:9051"};
  std::vector<std::string> models;   // [name=]path
  std::vector<std::string> scripts;  // [name=]path
  std::string providers;             // a YAML file
  std::string keep_alive = "forever";
};

void AddOptions(base::OptionSet& options, Settings* s) {
  options.Add("model", &s->models, "a model file to serve, [name=]path; several with commas");
  options.Add("script", &s->scripts,
              "a script to serve through the scripted backend, [name=]path; for tests");
  options.Add("providers", &s->providers,
              "a YAML file of providers: other servers and processes to take models from");
  options.Add("model-dir", &s->worker.host.folders, "folders that LoadModel may open files from");
  options.Add("blob-dir", &s->worker.blob_dir,
              "folder for model files that are uploaded or pulled; also a model-dir; empty = none");
  options.AddBytes("blob-bytes-max", &s->worker.blob_bytes_max, "room in blob-dir");
  options.Add("blob-unnamed-for", &s->worker.blob_unnamed_for,
              "how long a file stays in blob-dir that no registered model names; 0s = for ever");
  options.Add("pull-from", &s->worker.pull_from,
              "where models may be pulled from: folders of GGUF files or of an Ollama's models, or "
              "http and https URLs of such folders or of a registry like Ollama's");
  options.Add("models-max", &s->worker.host.models_max, "models known at once", 1, 256);
  options.AddBytes(
      "memory-budget", &s->worker.host.memory_budget,
      "what the models in memory may take together; the least recently used make room; "
      "0 = most of what the machine or its cgroup has free now");
  options.Add("preload", &s->worker.host.preload,
              "load models at once, as far as they fit; false: when they are asked for");
  options.Add("keep-alive", &s->keep_alive,
              "how long a model stays in memory after its last request, where that does not say; "
              "forever, or a duration");
  options.Add("pin", &s->worker.host.pinned,
              "models that stay in memory, whatever requests say and others need");
  options.Add("digests", &s->worker.host.digests, "compute each file's sha256 in the background");
  options.Add("worker-id", &s->worker.worker_id, "this worker's name; empty = host name and port");
  mesh::AddServerOptions(options, &s->worker.server);
  mesh::AddProcessOptions(options, &s->process);
  engine::EngineOptions& e = s->worker.host.engine;
  options.Add("threads", &e.num_threads, "compute threads per model; 0 = one per usable core", 0,
              1024);
  options.Add("context-length", &e.context_length, "longest prompt and answer; 0 = the model's own",
              0, 1 << 24);
  options.Add("max-sequences", &e.max_sequences, "requests that run at once", 1, 4096);
  options.Add("max-queued", &e.max_queued, "requests that wait; beyond it they are refused", 1,
              1 << 20);
  options.Add("step-token-budget", &e.step_token_budget, "tokens of one step", 16, 1 << 16);
  options.AddBytes("kv-bytes", &e.kv_bytes, "memory of the KV cache; 0 = chosen");
  options.AddChoice("kv-type", &e.kv_type, {"f16", "f32"}, "how keys and values are stored");
  options.AddChoice("numerics", &e.numerics, {"exact", "fast"},
                    "exact: the same tokens whatever the batch; fast: cheaper long prompts");
  options.Add("prefix-cache", &e.prefix_cache, "share the KV of equal prompt beginnings");
  options.Add("device", &e.device, "auto, cpu or cuda; empty = cpu");
  options.AddBytes("vram-budget", &e.vram_budget, "of the GPU's memory to use; 0 = what is free");
  options.Add("gpu-experts", &e.gpu_experts,
              "experts of each layer to keep on the GPU; -1 = as many as fit", -1, 1 << 20);
  options.Add("expert-placement", &e.expert_placement,
              "static, or dynamic: experts chosen most move to the GPU; empty = by numerics");
  options.Add("expert-half-life", &e.expert_half_life,
              "tokens after which a choice of an expert counts half", 64, 1 << 24);
  options.Add("isa", &e.isa, "scalar, avx2 or avx512; empty = the best the machine has");
  options.Add("unload-drain", &s->worker.host.unload_drain,
              "what the streams of a model being unloaded may still take");
  options.Add("write-stall-max", &s->worker.stream.write_stall_max,
              "cut off a caller that has not read for this long", std::chrono::milliseconds(100));
  options.AddCheck([s] {
    ASSIGN_OR_RETURN(s->worker.host.keep_alive, base::ParseKeepAlive(s->keep_alive));
    return absl::OkStatus();
  });
  options.AddCheck([s] { return s->worker.server.Validate(); });
  options.AddCheck([s] { return s->worker.host.engine.Validate(); });
}

// "teacher=/models/t.gguf" or "/models/t.gguf"
LoadSpec ParseSpec(const std::string& text, std::string backend) {
  LoadSpec spec;
  const size_t equals = text.find('=');
  const bool named = equals != std::string::npos && IsModelName(text.substr(0, equals));
  if (named) spec.name = text.substr(0, equals);
  spec.path = named ? text.substr(equals + 1) : text;
  spec.backend = std::move(backend);
  spec.trusted = true;
  return spec;
}

// Not 0, so that supervisors start the worker again.
constexpr int kDeviceFailedCode = 75;

absl::Status StartModels(const Settings& settings, ModelHost& host) {
  std::vector<LoadSpec> specs;
  for (const std::string& text : settings.models) specs.push_back(ParseSpec(text, "native"));
  for (const std::string& text : settings.scripts) specs.push_back(ParseSpec(text, "scripted"));
  for (const ProvidedModel& model : host.providers().models()) {
    LoadSpec& spec = specs.emplace_back();
    spec.name = model.name;
    spec.aliases = model.aliases;
    spec.provider_id = model.provider_id;
    spec.provider_model_id = model.provider_model_id;
    spec.config_json = model.config_json;
  }
  for (const LoadSpec& spec : specs) RETURN_IF_ERROR(host.StartLoading(spec).status());
  if (specs.empty()) base::LogWarning("no --model given: serving nothing until one is loaded");
  return absl::OkStatus();
}

absl::StatusOr<int> Serve(Settings& settings, base::Shutdown& shutdown) {
  if (!settings.providers.empty()) {
    ASSIGN_OR_RETURN(settings.worker.host.providers, ProviderSet::Load(settings.providers));
  }
  Worker worker(settings.worker);
  // Before anybody can ask: a worker that restarts must be heard to be loading its models, not to
  // have none.
  RETURN_IF_ERROR(StartModels(settings, worker.host()));
  RETURN_IF_ERROR(worker.Start());
  const DeviceWatch watch(worker.host(), [&](const std::string& why) { shutdown.Request(why); });
  const absl::StatusOr<int> code = mesh::ServeUntilStopped(worker, settings.process, shutdown);
  // The driver's own way out may wait for the device for good.
  if (watch.failed()) std::_Exit(kDeviceFailedCode);
  return code;
}

int Main(int argc, char** argv) {
  Settings settings;
  base::OptionSet options("conclave-worker", "Serves language models over gRPC.");
  AddOptions(options, &settings);
  return mesh::RunProcess(
      options, settings.process.log_level, argc, argv,
      [&settings](base::Shutdown& shutdown) { return Serve(settings, shutdown); });
}

}  // namespace
}  // namespace conclave::worker

int main(int argc, char** argv) { return conclave::worker::Main(argc, argv); }
