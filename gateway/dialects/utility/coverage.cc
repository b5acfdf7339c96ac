#include "gateway/dialects/coverage.h"

#include "gateway/dialects/utility/routes.h"

namespace conclave::gateway::utility {
namespace {

constexpr auto kEndpoints = std::to_array<Endpoint>({
    {"GET", "/livez", "200 while the process runs"},
    {"GET", "/readyz", "200 when a model can serve, 503 with the reason otherwise"},
    {"GET", "/v1/health", "The same in llama-server's shape"},
    {"GET", "/ping", "The same without a body"},
    {"GET", "/v1/version", "Version, commit and dialects"},
    {"GET", "/v1/capabilities", "What every parameter does, and what each model can"},
    {.method = "GET", .path = "/metrics", .summary = "Prometheus text", .answer = "text/plain"},
});

}  // namespace

Coverage DialectCoverage() { return {{kEndpoints.begin(), kEndpoints.end()}, {}}; }

}  // namespace conclave::gateway::utility
