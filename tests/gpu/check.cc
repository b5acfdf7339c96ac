// conclave-gpu-check: what a device computes, held against the processors' kernels, operation by
// operation and for whole models. Ends with 1 on any mismatch.
//
//   conclave-gpu-check --device cuda --models a.gguf,b.gguf
#include <string>
#include <vector>

#include "base/options.h"
#include "engine/kernels/cuda/loader.h"
#include "engine/kernels/cuda/module.h"
#include "gpu/rig.h"
#include "gpu/shared_layer.h"
#include "tools/command_line.h"

namespace conclave::engine {
namespace {

struct Options {
  std::string device = "cuda";
  std::vector<std::string> models;
  bool quick = false;
  bool operations = true;
  bool shared = false;
  bool time = false;
  int tokens = 64;
  int threads = 0;
  int gpu_experts = -1;
  std::string numerics = "exact";
};

// The card and how fast it copies, measured now.
absl::Status Describe(int64_t probe_bytes) {
  ASSIGN_OR_RETURN(const std::vector<CudaDevice> devices, CudaDevices());
  ASSIGN_OR_RETURN(const ConclaveCudaApi* const api, LoadCudaApi());
  for (const CudaDevice& device : devices) {
    std::printf("%s, sm_%d%d, %d multiprocessors, %.1f of %.1f GB free\n", device.name.c_str(),
                device.compute_major, device.compute_minor, device.multiprocessors,
                static_cast<double>(device.memory_free_bytes) * 1e-9,
                static_cast<double>(device.memory_bytes) * 1e-9);
  }
  char error[256] = "";
  ConclaveCudaContext* const context = api->open(0, 0, error, sizeof error);
  if (context == nullptr) return base::FailedPrecondition(error);
  std::printf("copies %.0f GB/s, reading and writing counted\n",
              api->copy_bandwidth(context, probe_bytes) * 1e-9);
  api->close(context);
  return absl::OkStatus();
}

// A layer whose experts are shared, handed over and streamed, again and again: a race would show.
absl::Status CheckShared(const Options& o, Kernels& cpu, Report& report) {
  struct Case {
    DType type;
    int32_t experts, top_k;
    int64_t hidden, ffn;
  };
  std::vector<Case> cases = {{DType::kF32, 6, 3, 96, 96}, {DType::kQ4_K, 6, 3, 256, 256}};
  if (!o.quick) {
    cases = {{DType::kF32, 16, 4, 512, 256},   {DType::kBF16, 64, 8, 2048, 768},
             {DType::kQ8_0, 64, 8, 2048, 768}, {DType::kQ4_K, 128, 8, 2048, 768},
             {DType::kQ6_K, 64, 8, 2048, 768}, {DType::kMXFP4, 32, 4, 2880, 2880}};
  }
  for (const int64_t stream_rows : {-1, 1}) {
    ASSIGN_OR_RETURN(const std::unique_ptr<Kernels> device,
                     CreateKernels({.device = o.device,
                                    .num_threads = o.threads,
                                    .isa = {},
                                    .device_experts = {{1, 2, 5}},
                                    .stream_rows = stream_rows}));
    for (const Case& c : cases) {
      const SharedLayer layer(*FindFormat(c.type), c.experts, c.top_k, c.hidden, c.ffn);
      for (const int64_t count : {1, o.quick ? 9 : 200}) {
        const SharedLayer::Rows rows = layer.MakeRows(count);
        const std::string what =
            std::string(NameOf(c.type)) + ", " + std::to_string(count) +
            (stream_rows < 0 ? " rows handed over" : " rows, experts streamed");
        const std::vector<float> found = layer.Shared(*device, rows);
        report.Compare("shared experts", what, found, layer.OnProcessors(cpu, rows),
                       TakesInt8(FindFormat(c.type)->panel) ? 5e-3 : 1e-5);
        for (int again = 0; again < 3; ++again) {
          report.Same("shared again", what, layer.Shared(*device, rows) == found);
        }
      }
    }
    RETURN_IF_ERROR(device->status());
  }
  return absl::OkStatus();
}

// Two experts that change places while rows run, there and back: the bits of those who were there.
absl::Status CheckMoved(const Options& o, Report& report) {
  const auto open = [&](std::vector<int32_t> experts) {
    return CreateKernels({.device = o.device,
                          .num_threads = o.threads,
                          .isa = {},
                          .device_experts = {std::move(experts)}});
  };
  for (const DType type : {DType::kF32, DType::kBF16, DType::kQ8_0, DType::kQ4_K, DType::kMXFP4}) {
    const int64_t size = o.quick ? 256 : 1024;
    const SharedLayer layer(*FindFormat(type), 16, 4, size, size);
    const SharedLayer::Rows rows = layer.MakeRows(o.quick ? 5 : 40);
    ASSIGN_OR_RETURN(const std::unique_ptr<Kernels> moving, open({1, 2, 5}));
    ASSIGN_OR_RETURN(const std::unique_ptr<Kernels> there, open({0, 1, 9}));
    const std::vector<float> expected = layer.Shared(*there, rows);
    ASSIGN_OR_RETURN(SharedLayer::Packed packed, layer.Pack(*moving));
    ExpertMover& mover = *moving->mover();
    mover.Share(packed.shared());
    RETURN_IF_ERROR(mover.Reserve(0));
    const std::vector<float> before = layer.Shared(*moving, packed, rows);
    const auto exchange = [&](const ExpertExchange& one) -> absl::Status {
      RETURN_IF_ERROR(mover.Start(std::span(&one, 1)).status());
      while (!mover.idle()) {
        report.Same("experts on their way", std::string(NameOf(type)),
                    !layer.Shared(*moving, packed, rows).empty());
        RETURN_IF_ERROR(mover.Finish().status());
      }
      return absl::OkStatus();
    };
    RETURN_IF_ERROR(exchange({0, 0, 5}));
    RETURN_IF_ERROR(exchange({0, 9, 2}));
    report.Same("experts moved", std::string(NameOf(type)),
                layer.Shared(*moving, packed, rows) == expected);
    RETURN_IF_ERROR(exchange({0, 5, 9}));
    RETURN_IF_ERROR(exchange({0, 2, 0}));
    report.Same("experts moved back", std::string(NameOf(type)),
                layer.Shared(*moving, packed, rows) == before);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernels>> OpenFast(const Options& o) {
  return CreateKernels({.device = o.device,
                        .num_threads = o.threads,
                        .isa = {},
                        .device_experts = {},
                        .fast = true});
}

absl::Status Run(const Options& o, Report& report) {
  RETURN_IF_ERROR(Describe(o.quick ? 1 << 20 : int64_t{1} << 30));
  std::printf("\n%-14s %-44s %10s  %8s\n", "operation", "what", "error", "bound");
  if (o.operations) {
    ASSIGN_OR_RETURN(const std::unique_ptr<Kernels> device,
                     CreateKernels({.device = o.device, .num_threads = o.threads, .isa = {}}));
    ASSIGN_OR_RETURN(const std::unique_ptr<Kernels> cpu,
                     CreateKernels({.device = "cpu", .num_threads = o.threads, .isa = {}}));
    CheckOperations(*device, *cpu, o.quick, report);
    CheckLogitRows(*device, o.quick, report);
    RETURN_IF_ERROR(device->status());
    ASSIGN_OR_RETURN(const std::unique_ptr<Kernels> fast, OpenFast(o));
    CheckFast(*fast, *cpu, o.quick, report);
    RETURN_IF_ERROR(fast->status());
  }
  if (o.operations || o.shared) {
    ASSIGN_OR_RETURN(const std::unique_ptr<Kernels> cpu,
                     CreateKernels({.device = "cpu", .num_threads = o.threads, .isa = {}}));
    RETURN_IF_ERROR(CheckShared(o, *cpu, report));
    RETURN_IF_ERROR(CheckMoved(o, report));
  }
  if (o.time) {
    ASSIGN_OR_RETURN(const std::unique_ptr<Kernels> device,
                     CreateKernels({.device = o.device, .num_threads = o.threads, .isa = {}}));
    ASSIGN_OR_RETURN(const std::unique_ptr<Kernels> fast, OpenFast(o));
    TimeOperations(*device, *fast);
    RETURN_IF_ERROR(device->status());
    RETURN_IF_ERROR(fast->status());
  }
  for (const std::string& model : o.models) {
    // One file that cannot be used is a failure and does not end the rest.
    const absl::Status checked =
        CheckModel(model, {o.device, o.gpu_experts, o.numerics}, o.tokens, report);
    if (!checked.ok()) report.Same("model", model + ": " + std::string(checked.message()), false);
  }
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  Options o;
  base::OptionSet options("conclave-gpu-check", "Holds a device against the processors.");
  options.Add("device", &o.device, "cuda");
  options.Add("models", &o.models, "GGUF files whose greedy answers must agree, with commas");
  options.Add("operations", &o.operations, "check each operation");
  options.Add("shared", &o.shared, "check experts shared with the processors, of the operations");
  options.Add("time", &o.time, "measure operations");
  options.Add("quick", &o.quick, "small shapes only");
  options.AddChoice("numerics", &o.numerics, {"exact", "fast"}, "of the device, for models");
  options.Add("tokens", &o.tokens, "of each answer", 1, 128);
  options.Add("threads", &o.threads, "of the processors; 0 = one per usable core", 0, 1024);
  options.Add("gpu-experts", &o.gpu_experts,
              "of each layer on the device, the processors have the others; -1 = as many as fit",
              -1, 1024);
  if (const auto code = ParseCommandLine(options, argc, argv)) return *code;
  Report report;
  const absl::Status status = Run(o, report);
  report.Summarise();
  if (!status.ok()) return Fail(status);
  return report.failures() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace conclave::engine

int main(int argc, char** argv) { return conclave::engine::Main(argc, argv); }
