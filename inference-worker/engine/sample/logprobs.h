// Log-probabilities as the caller sees them: natural logarithm, of the distribution after penalties
// and bias, before temperature and cuts.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/request.h"
#include "engine/sample/row_scan.h"

namespace conclave::engine {

// ln Σ exp(logits) of the row last read. Masked values (-inf) count nothing. Weighs the row.
double LogSumExp(RowScan& row);

// The `count` most probable tokens, most probable first, equal ones by id; masked ones are none.
// Where HasTop.
std::vector<TokenLogprob> TopLogprobs(RowScan& row, double log_sum_exp, int32_t count);
// Whether the blocks they lie in are here; those that are not are wanted.
bool HasTop(RowScan& row, int32_t count);

// Never below kMinLogprob, so that a masked token's value stays a number on every wire.
inline constexpr float kMinLogprob = -9999.0f;
TokenLogprob LogprobOf(TokenId token, float logit, double log_sum_exp);

}  // namespace conclave::engine
