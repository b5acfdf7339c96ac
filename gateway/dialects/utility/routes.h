// Probes, version, metrics, tables, and what tokenizers, templates and rerankers do by themselves.
#pragma once

#include <string>
#include <string_view>

#include "gateway/dialects/dialect.h"

namespace conclave::gateway::utility {

void AddRoutes(Router& router, const Services& services);
Coverage DialectCoverage();

void AddTokenizeRoutes(Router& router, const Services& services);
void AddRenderRoutes(Router& router, const Services& services);
void AddTokenizerInfoRoutes(Router& router, const Services& services);
void AddInfillRoutes(Router& router, const Services& services);
void AddRerankRoutes(Router& router, const Services& services);
void AddPropsRoutes(Router& router, const Services& services);
void AddModelEventRoutes(Router& router, const Services& services);
void AddSystemInfoRoutes(Router& router, const Services& services);

// The model of a request that need not name one: without a name the server's default where that is
// for text, else the only one that has the capability. INVALID_ARGUMENT: there are several.
// NOT_FOUND: there is none.
absl::StatusOr<std::string> ChooseModel(const Services& services, const Request& request,
                                        std::string name, std::string_view capability);

// The model with all its details. `name` as the directory gives it.
Task<absl::StatusOr<v1::ModelStatus>> DescribeModel(const Services& services, Exchange& exchange,
                                                    std::string name);

// The prompt's tokens on a worker that has the model.
Task<absl::StatusOr<v1::TokenizeReply>> Tokenize(const Services& services, Exchange& exchange,
                                                 v1::TokenizeRequest request);

}  // namespace conclave::gateway::utility
