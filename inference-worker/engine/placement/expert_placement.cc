#include "engine/placement/expert_placement.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/kernels/cuda/panel_bytes.h"
#include "engine/quant/format.h"

namespace conclave::engine {
namespace {

bool IsOneOf(std::string_view name, std::initializer_list<std::string_view> all) {
  return std::find(all.begin(), all.end(), name) != all.end();
}

// As the device lays a tensor out. Vectors and biases are fp32; what heads of latent attention
// multiply is turned over at load, for which quantised types become F16.
int64_t PackedBytes(std::string_view part, const TensorView& view) {
  const QuantFormat* const format = FindFormat(view.dtype);
  const int rank = view.shape.rank();
  if (rank < 2 || part.ends_with(".bias")) {
    return view.shape.elements() * static_cast<int64_t>(sizeof(float));
  }
  if (format == nullptr) return view.bytes();
  const bool turned = part.starts_with("attn_k_b.") || part.starts_with("attn_kv_b.");
  const PanelKind kind = turned && TakesInt8(format->panel) ? PanelKind::kF16 : format->panel;
  const int64_t out = view.shape[rank - 2];
  const int64_t matrices = view.shape.elements() / (out * view.cols());
  return matrices * ((out + kPanelRows - 1) / kPanelRows) * CudaPanelBytes(kind, view.cols());
}

// "blk.3.ffn_up_exps.weight": layer 3, "ffn_up_exps.weight". No layer: -1 and the whole name.
std::pair<int32_t, std::string_view> SplitName(std::string_view name) {
  int32_t layer = -1;
  if (std::sscanf(std::string(name).c_str(), "blk.%d.", &layer) != 1) return {-1, name};
  return {layer, name.substr(name.find('.', 4) + 1)};
}

// A stack of all experts, or a matrix of one ("ffn_up.7.weight").
bool IsStack(std::string_view part) {
  return part.starts_with("ffn_") && part.find("_exps.") != std::string_view::npos;
}
bool IsOneExpert(std::string_view part) {
  const size_t dot = part.find('.');
  return dot != std::string_view::npos &&
         IsOneOf(part.substr(0, dot), {"ffn_gate", "ffn_up", "ffn_down"}) &&
         dot + 1 < part.size() && std::isdigit(static_cast<unsigned char>(part[dot + 1])) != 0;
}

// Puts experts on the device while there is room.
class Filler {
 public:
  Filler(const ModelBytes& model, int64_t room) : model_(model), room_(room) {
    device.resize(model.layers.size());
  }

  // False when it does not fit.
  bool Take(size_t layer, int32_t expert) {
    const int64_t bytes = model_.layers[layer].expert_bytes;
    if (bytes > room_) return false;
    room_ -= bytes;
    taken += bytes;
    device[layer].push_back(expert);
    return true;
  }

  void Evenly(int32_t most) {
    bool more = true;
    for (int32_t e = 0; more && e != most; ++e) {
      more = false;
      for (size_t layer = 0; layer < model_.layers.size(); ++layer) {
        if (e < model_.layers[layer].experts && Take(layer, e)) more = true;
      }
    }
  }

  void ByHotness(const std::vector<std::vector<double>>& hotness) {
    std::vector<std::tuple<double, size_t, int32_t>> order;  // −hotness for its size, layer, expert
    for (size_t layer = 0; layer < model_.layers.size(); ++layer) {
      const ModelBytes::Layer& l = model_.layers[layer];
      for (int32_t e = 0; e < l.experts; ++e) {
        const bool known = layer < hotness.size() && static_cast<size_t>(e) < hotness[layer].size();
        const double hot = known ? hotness[layer][static_cast<size_t>(e)] : 0;
        order.emplace_back(-hot / static_cast<double>(l.expert_bytes), layer, e);
      }
    }
    std::sort(order.begin(), order.end());
    for (const auto& [hot, layer, expert] : order) Take(layer, expert);
    for (std::vector<int32_t>& experts : device) std::sort(experts.begin(), experts.end());
  }

  DeviceExperts device;
  int64_t taken = 0;

 private:
  const ModelBytes& model_;
  int64_t room_;
};

std::string Size(int64_t bytes) {
  constexpr int64_t kGib = int64_t{1} << 30;
  return bytes < kGib ? absl::StrFormat("%.1f MiB", static_cast<double>(bytes) / (1 << 20))
                      : absl::StrFormat("%.2f GiB", static_cast<double>(bytes) / kGib);
}

// "32 of 128 experts in layers 0-15, 31 in 16-47"
std::string Shares(const ExpertPlan& plan) {
  std::string text;
  int32_t experts_said = 0;
  for (size_t first = 0; first < plan.device.size();) {
    const ModelBytes::Layer& layer = plan.model.layers[first];
    const size_t count = plan.device[first].size();
    size_t end = first;
    while (end < plan.device.size() && plan.device[end].size() == count &&
           plan.model.layers[end].experts == layer.experts) {
      ++end;
    }
    if (layer.experts > 0) {
      absl::StrAppend(&text, text.empty() ? "" : ", ", count);
      if (layer.experts != experts_said) absl::StrAppend(&text, " of ", layer.experts, " experts");
      absl::StrAppend(&text, text.find("layers") == std::string::npos ? " in layers " : " in ",
                      first);
      if (end - first > 1) absl::StrAppend(&text, "-", end - 1);
      experts_said = layer.experts;
    }
    first = end;
  }
  return text;
}

}  // namespace

int64_t ModelBytes::experts() const {
  int64_t bytes = 0;
  for (const Layer& layer : layers) bytes += layer.experts * layer.expert_bytes;
  return bytes;
}

ModelBytes MeasureModel(std::span<const TensorEntry> tensors, int32_t num_layers) {
  ModelBytes model;
  model.layers.resize(static_cast<size_t>(num_layers));
  std::vector<int64_t> expert_bytes(model.layers.size());  // of all experts of a layer
  int64_t embedding = 0;
  bool tied = true;
  for (const TensorEntry& tensor : tensors) {
    const auto [layer, part] = SplitName(tensor.name);
    const int64_t bytes = PackedBytes(part, tensor.view);
    if (part == "token_embd.weight") {
      embedding = bytes;
      model.tables += tensor.view.bytes();
    } else if (part == "output.weight") {
      tied = false;
      model.tables += bytes;
    } else if (layer >= num_layers) {
      continue;  // predicts further tokens; not loaded
    } else if (layer >= 0 && (IsStack(part) || IsOneExpert(part))) {
      ModelBytes::Layer& l = model.layers[static_cast<size_t>(layer)];
      expert_bytes[static_cast<size_t>(layer)] += bytes;
      if (IsStack(part)) {
        l.experts = static_cast<int32_t>(tensor.view.shape[0]);
      } else if (part.starts_with("ffn_down.")) {
        ++l.experts;
      }
    } else {
      model.dense += bytes;
    }
  }
  if (tied) model.tables += embedding;  // the rows as they are, and as a matrix
  for (size_t i = 0; i < model.layers.size(); ++i) {
    if (model.layers[i].experts > 0) {
      model.layers[i].expert_bytes = expert_bytes[i] / model.layers[i].experts;
    }
  }
  return model;
}

int64_t ExpertPlan::used_bytes() const {
  return model.dense + model.tables + kv_bytes + scratch_bytes + device_expert_bytes;
}

std::string ExpertPlan::ToString() const {
  std::string text = absl::StrCat("GPU ", Size(used_bytes()), " of ", Size(device_bytes),
                                  ": attention, norms, routers and dense ", Size(model.dense),
                                  ", embeddings and output ", Size(model.tables), ", KV ",
                                  Size(kv_bytes), ", scratch ", Size(scratch_bytes));
  if (model.experts() == 0) return text;
  if (device.empty()) return absl::StrCat(text, ", all experts ", Size(device_expert_bytes));
  absl::StrAppend(&text, ", ", Shares(*this), " ", Size(device_expert_bytes), "; DRAM ",
                  Size(host_bytes()), ": the other experts");
  if (pinned_bytes > 0) absl::StrAppend(&text, ", and ", Size(pinned_bytes), " pinned");
  return text;
}

absl::StatusOr<ExpertPlan> PlanExperts(const ExpertDemand& demand) {
  ExpertPlan plan = {.device = {},
                     .model = demand.model,
                     .kv_bytes = demand.kv_bytes,
                     .scratch_bytes = demand.scratch_bytes,
                     .device_bytes = demand.device_bytes};
  const int64_t always = plan.used_bytes();
  if (always > demand.device_bytes) {
    return base::ResourceExhausted(
        absl::StrCat("device memory: ", always, " bytes wanted for all but the experts (weights ",
                     demand.model.dense + demand.model.tables, ", KV ", demand.kv_bytes,
                     ", scratch ", demand.scratch_bytes, "), ", demand.device_bytes, " free"));
  }
  Filler filler(demand.model, demand.device_bytes - always);
  if (demand.experts_per_layer >= 0 || demand.hotness.empty()) {
    filler.Evenly(demand.experts_per_layer);
  } else {
    filler.ByHotness(demand.hotness);
  }
  plan.device_expert_bytes = filler.taken;
  if (demand.experts_per_layer >= 0) {
    int64_t wanted = 0;
    for (const ModelBytes::Layer& layer : demand.model.layers) {
      wanted += std::min(layer.experts, demand.experts_per_layer) * layer.expert_bytes;
    }
    if (wanted > filler.taken) {
      return base::ResourceExhausted(absl::StrCat(
          "gpu_experts: ", demand.experts_per_layer, " experts of each layer: ", always + wanted,
          " bytes wanted in all, ", demand.device_bytes, " free"));
    }
  }
  if (filler.taken == demand.model.experts()) return plan;
  plan.device = std::move(filler.device);
  plan.pinned_bytes = demand.pinned_bytes;
  if (plan.host_bytes() > demand.host_bytes - plan.pinned_bytes) {
    return base::ResourceExhausted(absl::StrCat(
        "memory: ", plan.host_bytes() + plan.pinned_bytes,
        " bytes wanted for the experts that the ", "GPU has no room for (weights ",
        plan.host_bytes(), ", pinned ", plan.pinned_bytes, "), ", demand.host_bytes, " available"));
  }
  return plan;
}

}  // namespace conclave::engine
