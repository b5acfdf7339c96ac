// Routers of models with random weights that choose some experts more often than others, as those
// of trained models do.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace conclave::engine {

// The share of the tokens that choose the expert of each rank, most chosen first: falls as
// rank^-exponent, none beyond 0.4, `used` in sum.
std::vector<double> ZipfShares(int32_t experts, int32_t used, double exponent);

// By what to multiply each expert's row of a router with random weights, so that its scores are
// among the `used` largest about as often as ZipfShares says; which expert has which rank depends
// on seed and tensor name.
std::vector<float> ZipfRouterScales(uint64_t seed, std::string_view name, int32_t experts,
                                    int32_t used, double exponent);

}  // namespace conclave::engine
