// conclave-gateway: options → app → drain.
#include <iostream>
#include <string_view>

#include "base/strings.h"
#include "gateway/app.h"
#include "gateway/dialects/coverage_text.h"
#include "mesh/process.h"

namespace conclave::gateway {
namespace {

int Serve(const GatewayOptions& options, base::Shutdown& shutdown) {
  auto app = App::Start(options);
  if (!app.ok()) {
    std::cerr << "conclave-gateway: " << base::Std(app.status().message()) << "\n";
    return 1;
  }
  shutdown.OnNotReady([&] { (*app)->SetDraining(); });
  shutdown.OnDrain([&](base::SteadyTime deadline) { (*app)->Drain(deadline); });
  shutdown.OnStop([&] { (*app)->Stop(); });
  return shutdown.Run({.settle = options.drain_settle, .drain = options.drain});
}

}  // namespace
}  // namespace conclave::gateway

int main(int argc, char** argv) {
  using namespace conclave;
  if (argc == 2 && std::string_view(argv[1]) == "--print-coverage") {
    std::cout << gateway::CoverageMarkdown();
    return 0;
  }
  gateway::GatewayOptions options;
  base::OptionSet set("conclave-gateway",
                      "The REST front of conclave: OpenAI, Ollama and friends.");
  gateway::AddGatewayOptions(set, &options);
  return mesh::RunProcess(set, options.log_level, argc, argv, [&options](base::Shutdown& shutdown) {
    return gateway::Serve(options, shutdown);
  });
}
