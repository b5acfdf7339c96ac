#include "engine/weights/hf/operations.h"

#include <utility>
#include <vector>

namespace conclave::engine {
namespace {

absl::Status PairedHeads(TensorMapper& mapper, const std::string& from, const std::string& to,
                         int64_t heads) {
  const int64_t d = mapper.model().head_dim;
  ASSIGN_OR_RETURN(const HfTensor weight, mapper.RequiredWeight(from));
  if (weight.shape.rank() != 2 || weight.shape[0] != heads * d || d % 2 != 0) {
    return mapper.Wrong(from + ".weight", "expected " + std::to_string(heads) +
                                              " heads of an even number of rows, found " +
                                              weight.shape.ToString());
  }
  return MapReordered(mapper, from, to, [d](int64_t row) {
    const int64_t head = row / d, within = row % d;
    return head * d + within % 2 * (d / 2) + within / 2;
  });
}

absl::Status HalfOfRows(TensorMapper& mapper, const std::string& from, const std::string& to,
                        int64_t half) {
  ASSIGN_OR_RETURN(HfTensor both, mapper.Stored(from));
  if (both.shape.rank() != 3 || both.shape[0] != mapper.model().num_experts ||
      both.shape[1] % 2 != 0) {
    return mapper.Wrong(from, "expected " + std::to_string(mapper.model().num_experts) +
                                  " experts of gate and up rows, found " + both.shape.ToString());
  }
  const int64_t rows = both.shape[1] / 2;
  const Shape shape({both.shape[0], rows, both.shape[2]});
  return mapper.Add(to, SelectRows(std::move(both), shape, [rows, half](int64_t row) {
                      return row / rows * 2 * rows + half * rows + row % rows;
                    }));
}

}  // namespace

absl::Status MapModule(TensorMapper& mapper, const std::string& from, const std::string& to) {
  ASSIGN_OR_RETURN(HfTensor weight, mapper.RequiredWeight(from));
  return mapper.Add(to + ".weight", std::move(weight));
}

absl::Status MapBiased(TensorMapper& mapper, const std::string& from, const std::string& to) {
  return MapReordered(mapper, from, to, nullptr);
}

absl::Status MapReordered(TensorMapper& mapper, const std::string& from, const std::string& to,
                          const std::function<int64_t(int64_t)>& order) {
  ASSIGN_OR_RETURN(HfTensor weight, mapper.RequiredWeight(from));
  ASSIGN_OR_RETURN(HfTensor bias, mapper.Stored(from + ".bias"));
  const int64_t rows = weight.shape[0];
  if (order != nullptr) {
    const Shape shape = weight.shape;
    weight = SelectRows(std::move(weight), shape, order);
  }
  RETURN_IF_ERROR(mapper.Add(to + ".weight", std::move(weight)));
  if (!bias.found()) return absl::OkStatus();
  if (bias.shape != Shape({rows})) {
    return mapper.Wrong(from + ".bias", "expected a vector of " + std::to_string(rows) +
                                            ", found " + bias.shape.ToString());
  }
  if (order != nullptr) bias = Flat(SelectRows(AsColumn(bias.plain), Shape({rows, 1}), order));
  return mapper.Add(to + ".bias", std::move(bias));
}

absl::Status MapPairedQueries(TensorMapper& mapper, const std::string& from,
                              const std::string& to) {
  return PairedHeads(mapper, from, to, mapper.model().num_heads);
}

absl::Status MapPairedKeys(TensorMapper& mapper, const std::string& from, const std::string& to) {
  return PairedHeads(mapper, from, to, mapper.model().num_kv_heads);
}

absl::Status MapWhole(TensorMapper& mapper, const std::string& from, const std::string& to) {
  ASSIGN_OR_RETURN(HfTensor tensor, mapper.Stored(from));
  return mapper.Add(to, std::move(tensor));
}

absl::Status MapVector(TensorMapper& mapper, const std::string& from, const std::string& to) {
  ASSIGN_OR_RETURN(HfTensor tensor, mapper.Stored(from));
  if (tensor.rows() != 1) {
    return mapper.Wrong(from, "expected one row, found " + tensor.shape.ToString());
  }
  const Shape shape({tensor.cols()});
  return mapper.Add(to, Reshaped(std::move(tensor), shape));
}

absl::Status MapOneMore(TensorMapper& mapper, const std::string& from, const std::string& to) {
  ASSIGN_OR_RETURN(HfTensor weight, mapper.RequiredWeight(from));
  return mapper.Add(to + ".weight", PlusOne(std::move(weight)));
}

absl::Status MapExperts(TensorMapper& mapper, const std::string& from, const std::string& to) {
  const size_t place = from.find('#');
  std::vector<HfTensor> experts;
  for (int64_t e = 0; e < mapper.model().num_experts; ++e) {
    std::string name = from;
    name.replace(place, 1, std::to_string(e));
    ASSIGN_OR_RETURN(HfTensor weight, mapper.RequiredWeight(name));
    if (weight.shape.rank() != 2) {
      return mapper.Wrong(name, "expected a matrix, found " + weight.shape.ToString());
    }
    if (!experts.empty() && weight.shape != experts.front().shape) {
      return mapper.Wrong(name, "expected " + experts.front().shape.ToString() +
                                    " like expert 0, found " + weight.shape.ToString());
    }
    experts.push_back(std::move(weight));
  }
  return mapper.Add(to + ".weight", Stacked(std::move(experts)));
}

absl::Status MapGateRows(TensorMapper& mapper, const std::string& from, const std::string& to) {
  return HalfOfRows(mapper, from, to + ".weight", 0);
}

absl::Status MapUpRows(TensorMapper& mapper, const std::string& from, const std::string& to) {
  return HalfOfRows(mapper, from, to + ".weight", 1);
}

absl::Status MapNothing(TensorMapper& mapper, const std::string& from, const std::string&) {
  mapper.View(from);
  return absl::OkStatus();
}

}  // namespace conclave::engine
