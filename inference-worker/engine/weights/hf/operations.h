// What the rows of the tables say is done with a tensor. A family may have some of its own beside
// its table.
#pragma once

#include <functional>
#include <string>

#include "base/status.h"
#include "engine/weights/hf/mapper.h"

namespace conclave::engine {

// A module's weight. A bias beside it is left over, and refused.
absl::Status MapModule(TensorMapper& mapper, const std::string& from, const std::string& to);
// A module's weight and, where it has one, its bias.
absl::Status MapBiased(TensorMapper& mapper, const std::string& from, const std::string& to);
// The rows of a module's weight and the elements of its bias, row i from row `order(i)`.
absl::Status MapReordered(TensorMapper& mapper, const std::string& from, const std::string& to,
                          const std::function<int64_t(int64_t)>& order);
// Halves of a head rotate there, adjacent elements here: row 2i + j of a head of d rows is row
// j·d/2 + i there. For queries and keys.
absl::Status MapPairedQueries(TensorMapper& mapper, const std::string& from, const std::string& to);
absl::Status MapPairedKeys(TensorMapper& mapper, const std::string& from, const std::string& to);
// A tensor of that whole name, as it is.
absl::Status MapWhole(TensorMapper& mapper, const std::string& from, const std::string& to);
// [1][n] as [n].
absl::Status MapVector(TensorMapper& mapper, const std::string& from, const std::string& to);
// A norm's weight, which is stored less one there.
absl::Status MapOneMore(TensorMapper& mapper, const std::string& from, const std::string& to);
// The weights of module '#' = 0, 1, … as [experts][out][in]. Made when it is packed, so that no
// more than one stack is in memory besides what is packed.
absl::Status MapExperts(TensorMapper& mapper, const std::string& from, const std::string& to);
// One half of the rows of a stack [experts][gate rows, then up rows][in].
absl::Status MapGateRows(TensorMapper& mapper, const std::string& from, const std::string& to);
absl::Status MapUpRows(TensorMapper& mapper, const std::string& from, const std::string& to);
// Knowingly not used.
absl::Status MapNothing(TensorMapper& mapper, const std::string& from, const std::string& to);

}  // namespace conclave::engine
