#include "engine/kernels/hybrid/hybrid_expert_mover.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "base/check.h"
#include "engine/kernels/cuda/panels.h"

namespace conclave::engine {
namespace {

using Part = SharedExperts::Part;

int64_t Panels(const Part& part) { return (part.out + kPanelRows - 1) / kPanelRows; }
int64_t DeviceMatrixBytes(const Part& part) {
  return part.device == nullptr ? 0 : Panels(part) * CudaPanelBytes(part.kind, part.in);
}
int64_t BiasBytes(const Part& part) {
  return part.device_bias == nullptr ? 0 : part.out * static_cast<int64_t>(sizeof(float));
}

int64_t Rounded(int64_t bytes) { return (bytes + 255) / 256 * 256; }

// The parts of one expert, one after another: called with where its panels and its biases begin.
template <typename Each>
int64_t ForEachPart(const SharedExperts& experts, const Each& each) {
  int64_t at = 0;
  for (const Part& part : experts.parts) {
    const int64_t bias_at = at + Rounded(DeviceMatrixBytes(part));
    if (part.device != nullptr) each(part, at, bias_at);
    at = bias_at + Rounded(BiasBytes(part));
  }
  return at;
}

int64_t Find(const std::vector<int32_t>& experts, int32_t expert) {
  const auto found = std::find(experts.begin(), experts.end(), expert);
  CHECK(found != experts.end());
  return found - experts.begin();
}

}  // namespace

HybridExpertMover::HybridExpertMover(std::shared_ptr<CudaMemory> memory, ThreadPool& pool)
    : memory_(std::move(memory)), api_(memory_->api()), context_(memory_->context()), pool_(pool) {}

HybridExpertMover::~HybridExpertMover() {
  for (Slot& slot : slots_) {
    if (slot.up != nullptr) api_.unpin(context_, slot.up);
    if (slot.down != nullptr) api_.unpin(context_, slot.down);
  }
}

void HybridExpertMover::Share(SharedExperts experts) {
  const auto number = static_cast<size_t>(experts.layer);
  if (number >= layers_.size()) layers_.resize(number + 1);
  Layer& layer = layers_[number];
  const size_t all = experts.device.size() + experts.processors.size();
  layer = {.experts = std::move(experts), .places = {}, .chosen = {}};
  layer.places.resize(all);
  layer.chosen.resize(all);
  layer.bytes = ForEachPart(layer.experts, [](const Part&, int64_t, int64_t) {});
  chosen_stride_ = std::max(chosen_stride_, static_cast<int64_t>(all));
}

int64_t HybridExpertMover::DeviceBytes(int64_t bytes, int64_t expert_bytes) {
  return CONCLAVE_CUDA_MOVE_SLOTS * std::max(bytes, expert_bytes + 6 * 256);
}

absl::Status HybridExpertMover::Reserve(int64_t bytes) {
  for (const Layer& layer : layers_) bytes = std::max(bytes, layer.bytes);
  for (Slot& slot : slots_) {
    for (std::byte** const pinned : {&slot.up, &slot.down}) {
      if (*pinned == nullptr) *pinned = static_cast<std::byte*>(api_.pin(context_, bytes));
      if (*pinned == nullptr) {
        return base::ResourceExhausted(
            "pinned memory for experts that move: " + std::to_string(bytes) + " bytes wanted");
      }
    }
    ASSIGN_OR_RETURN(slot.staged, memory_->Allocate(bytes));
  }
  slot_bytes_ = bytes;
  return absl::OkStatus();
}

std::vector<std::vector<int32_t>> HybridExpertMover::DeviceExperts() const {
  std::vector<std::vector<int32_t>> all;
  for (const Layer& layer : layers_) {
    all.push_back(layer.experts.device);
    std::sort(all.back().begin(), all.back().end());
  }
  return all;
}

int64_t HybridExpertMover::ExpertBytes(int32_t layer) const {
  const auto number = static_cast<size_t>(layer);
  return number < layers_.size() ? layers_[number].bytes : 0;
}

void HybridExpertMover::Count(int32_t layer, std::span<const int32_t> ids) {
  const auto number = static_cast<size_t>(layer);
  if (number >= layers_.size()) return;
  std::vector<int64_t>& chosen = layers_[number].chosen;
  for (const int32_t id : ids) ++chosen[static_cast<size_t>(id)];
}

void HybridExpertMover::CountOnDevice(int32_t layer, const int32_t* ids, int64_t slots) {
  // Streams go on where there is no memory; what they choose is not known then.
  if (static_cast<size_t>(layer) >= layers_.size() || !ReserveCounts().ok()) return;
  counted_on_device_ = true;
  api_.count_experts(context_, ids, slots, chosen_.as<int32_t>() + layer * chosen_stride_);
}

absl::Status HybridExpertMover::ReserveCounts() {
  if (chosen_.size() > 0) return absl::OkStatus();
  const auto count = static_cast<int64_t>(layers_.size()) * chosen_stride_;
  ASSIGN_OR_RETURN(chosen_, memory_->Allocate(count * int64_t{sizeof(int32_t)}));
  return absl::OkStatus();
}

std::vector<const SharedExperts*> HybridExpertMover::shared() const {
  std::vector<const SharedExperts*> all;
  for (const Layer& layer : layers_) {
    if (!layer.experts.processors.empty()) all.push_back(&layer.experts);
  }
  return all;
}

absl::StatusOr<ExpertCounts> HybridExpertMover::TakeCounts() {
  if (counted_on_device_) {
    counted_on_device_ = false;
    const int64_t count = chosen_.size() / int64_t{sizeof(int32_t)};
    const float* const read = api_.read_back(context_, chosen_.as<float>(), count);
    if (read == nullptr) return memory_->status();
    for (size_t i = 0; i < layers_.size(); ++i) {
      for (size_t e = 0; e < layers_[i].chosen.size(); ++e) {
        int32_t more = 0;
        std::memcpy(&more, read + static_cast<int64_t>(i) * chosen_stride_ + e, sizeof more);
        layers_[i].chosen[e] += more;
      }
    }
    const std::vector<int32_t> zeros(static_cast<size_t>(count));
    RETURN_IF_ERROR(memory_->Upload(zeros.data(), chosen_.size(), chosen_.data()));
  }
  ExpertCounts counts;
  for (Layer& layer : layers_) {
    counts.push_back(layer.chosen);
    std::fill(layer.chosen.begin(), layer.chosen.end(), 0);
  }
  return counts;
}

bool HybridExpertMover::ready() const {
  return slot_bytes_ > 0 && under_way_.size() < slots_.size();
}

void HybridExpertMover::LayOut(const Move& move, std::byte* up) {
  ForEachPart(move.layer->experts, [&](const Part& part, int64_t at, int64_t bias_at) {
    const int64_t device_bytes = CudaPanelBytes(part.kind, part.in);
    const int64_t host_bytes = PanelBytes(part.kind, part.in);
    const std::byte* const from =
        part.processors + move.processors_matrix * Panels(part) * host_bytes;
    pool_.ParallelFor(Panels(part), [&](int64_t panel, int) {
      ReorderPanel(part.kind, part.in, from + panel * host_bytes, up + at + panel * device_bytes);
    });
    if (part.device_bias == nullptr) return;
    std::memcpy(up + bias_at, part.processors_bias + move.processors_matrix * part.out,
                static_cast<size_t>(BiasBytes(part)));
  });
}

void HybridExpertMover::CopiesDown(const Move& move, std::byte* down,
                                   std::vector<ConclaveCudaCopy>& copies) const {
  ForEachPart(move.layer->experts, [&](const Part& part, int64_t at, int64_t bias_at) {
    const int64_t bytes = DeviceMatrixBytes(part);
    copies.push_back({part.device + move.device_matrix * bytes, down + at, bytes});
    if (part.device_bias == nullptr) return;
    copies.push_back(
        {part.device_bias + move.device_matrix * part.out, down + bias_at, BiasBytes(part)});
  });
}

absl::StatusOr<int64_t> HybridExpertMover::Start(std::span<const ExpertExchange> exchanges) {
  CHECK(ready());
  int32_t number = 0;
  while (std::find(under_way_.begin(), under_way_.end(), number) != under_way_.end()) ++number;
  Slot& slot = slots_[static_cast<size_t>(number)];
  slot.moves.clear();
  std::vector<ConclaveCudaCopy> down;
  int64_t at = 0;
  for (const ExpertExchange& exchange : exchanges) {
    Layer& layer = layers_[static_cast<size_t>(exchange.layer)];
    if (at + layer.bytes > slot_bytes_) break;
    const Move move = {.layer = &layer,
                       .device_matrix = Find(layer.experts.device, exchange.out),
                       .processors_matrix = Find(layer.experts.processors, exchange.in),
                       .at = at};
    LayOut(move, slot.up + at);
    CopiesDown(move, slot.down + at, down);
    slot.moves.push_back(move);
    at += layer.bytes;
  }
  if (slot.moves.empty()) return 0;
  const ConclaveCudaCopy up = {slot.up, slot.staged.data(), at};
  slot.counts =
      api_.exchange(context_, number, &up, 1, down.data(), static_cast<int32_t>(down.size())) != 0;
  under_way_.push_back(number);
  RETURN_IF_ERROR(memory_->status());
  if (!slot.counts) return absl::AbortedError("experts stay: the driver refused to copy them");
  return static_cast<int64_t>(slot.moves.size());
}

absl::StatusOr<int64_t> HybridExpertMover::Finish() {
  int64_t arrived = 0;
  while (!under_way_.empty()) {
    Slot& slot = slots_[static_cast<size_t>(under_way_.front())];
    const int32_t done = api_.exchanged(context_, under_way_.front());
    if (done < 0) return memory_->status();
    if (done == 0) break;
    under_way_.pop_front();
    if (!slot.counts) continue;
    Commit(slot);
    for (const Move& move : slot.moves) RETURN_IF_ERROR(WritePlaces(*move.layer));
    arrived += static_cast<int64_t>(slot.moves.size());
  }
  return arrived;
}

void HybridExpertMover::Commit(Slot& slot) {
  std::vector<ConclaveCudaCopy> copies;
  for (const Move& move : slot.moves) {
    SharedExperts& experts = move.layer->experts;
    const std::byte* const staged = slot.staged.data() + move.at;
    const std::byte* const down = slot.down + move.at;
    ForEachPart(experts, [&](const Part& part, int64_t at, int64_t bias_at) {
      const int64_t bytes = DeviceMatrixBytes(part);
      copies.push_back({staged + at, part.device + move.device_matrix * bytes, bytes});
      const int64_t device_bytes = CudaPanelBytes(part.kind, part.in);
      const int64_t host_bytes = PanelBytes(part.kind, part.in);
      std::byte* const to = part.processors + move.processors_matrix * Panels(part) * host_bytes;
      pool_.ParallelFor(Panels(part), [&](int64_t panel, int) {
        RestorePanel(part.kind, part.in, down + at + panel * device_bytes, to + panel * host_bytes);
      });
      if (part.device_bias == nullptr) return;
      copies.push_back(
          {staged + bias_at, part.device_bias + move.device_matrix * part.out, BiasBytes(part)});
      std::memcpy(part.processors_bias + move.processors_matrix * part.out, down + bias_at,
                  static_cast<size_t>(BiasBytes(part)));
    });
    std::swap(experts.device[static_cast<size_t>(move.device_matrix)],
              experts.processors[static_cast<size_t>(move.processors_matrix)]);
  }
  api_.copy(context_, copies.data(), static_cast<int32_t>(copies.size()));
}

absl::Status HybridExpertMover::WritePlaces(Layer& layer) {
  const SharedExperts& experts = layer.experts;
  for (size_t i = 0; i < experts.device.size(); ++i) {
    layer.places[static_cast<size_t>(experts.device[i])] = static_cast<int32_t>(i);
  }
  for (size_t i = 0; i < experts.processors.size(); ++i) {
    layer.places[static_cast<size_t>(experts.processors[i])] = -1 - static_cast<int32_t>(i);
  }
  return memory_->Upload(layer.places.data(),
                         static_cast<int64_t>(layer.places.size() * sizeof(int32_t)),
                         experts.places);
}

}  // namespace conclave::engine
