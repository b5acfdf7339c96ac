#include "engine/kernels/hybrid/expert_stream.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "base/check.h"
#include "engine/kernels/cuda/panels.h"

namespace conclave::engine {
namespace {

constexpr int64_t kPieceBytes = 32
                                << 20;  // some: large enough for the bus, small enough to overlap

// One part of a piece: the panels of some experts' gate, up or down, and their biases.
struct Part {
  const PackedMatrix* from;
  const float* bias;
  int64_t at;       // in a slot
  int64_t bias_at;  // behind the panels
};

int64_t PanelBytesOf(const PackedMatrix& matrix) {
  return matrix.panels() * CudaPanelBytes(matrix.kind(), matrix.in());
}

int64_t Rounded(int64_t bytes) { return (bytes + 255) / 256 * 256; }

// gate, where there is one, up and down of so many experts, one after another; the end is `bytes`.
struct Layout {
  std::array<Part, 3> parts;
  int64_t bytes = 0;

  Layout(const FfnWeights& w, int64_t experts)
      : parts{{{w.gate, w.gate_bias, 0, 0}, {w.up, w.up_bias, 0, 0}, {w.down, w.down_bias, 0, 0}}} {
    for (Part& part : parts) {
      if (part.from == nullptr) continue;
      part.at = bytes;
      bytes += Rounded(experts * PanelBytesOf(*part.from));
      part.bias_at = bytes;
      if (part.bias != nullptr) bytes += Rounded(experts * part.from->out() * 4);
    }
  }
};

int64_t ExpertsOfPiece(const FfnWeights& w) {
  const int64_t one = Layout(w, 1).bytes;
  CHECK(one > 0);
  return std::clamp<int64_t>(kPieceBytes / one, 1, w.up->num_matrices());
}

}  // namespace

ExpertStream::ExpertStream(std::shared_ptr<CudaMemory> memory, ThreadPool& pool)
    : memory_(std::move(memory)), api_(memory_->api()), context_(memory_->context()), pool_(pool) {}

ExpertStream::~ExpertStream() {
  for (void* const pinned : pinned_) {
    if (pinned != nullptr) api_.unpin(context_, pinned);
  }
}

void ExpertStream::AwaitCopies() {
  for (int slot = 0; slot < kSlots; ++slot) api_.await_staging(context_, slot);
}

int64_t ExpertStream::DeviceBytes(int64_t expert_bytes) {
  return kSlots * std::max(kPieceBytes, expert_bytes + 6 * 256);
}

absl::Status ExpertStream::Reserve(const std::vector<const SharedExperts*>& layers, int64_t floats,
                                   int64_t slots) {
  int64_t bytes = 0;
  for (const SharedExperts* const layer : layers) {
    int64_t one = 0;
    for (const SharedExperts::Part& part : layer->parts) {
      if (part.processors == nullptr) continue;
      const int64_t panels = (part.out + kPanelRows - 1) / kPanelRows;
      one += Rounded(panels * CudaPanelBytes(part.kind, part.in)) + Rounded(part.out * 4);
    }
    const auto experts = static_cast<int64_t>(layer->processors.size());
    bytes = std::max(bytes, one * std::clamp<int64_t>(kPieceBytes / one, 1, experts));
  }
  return Take(bytes, floats, slots);
}

absl::Status ExpertStream::Take(int64_t bytes, int64_t floats, int64_t slots) {
  if (bytes > bytes_) {
    bytes_ = 0;
    for (int slot = 0; slot < kSlots; ++slot) {
      const auto i = static_cast<size_t>(slot);
      if (pinned_[i] != nullptr) api_.unpin(context_, pinned_[i]);
      pinned_[i] = api_.pin(context_, bytes);
      if (pinned_[i] == nullptr) {
        return base::ResourceExhausted("pinned memory for experts: " + std::to_string(bytes) +
                                       " bytes wanted");
      }
      ASSIGN_OR_RETURN(staged_[i], memory_->Allocate(bytes));
      api_.done_with_staged(context_, slot);  // it is cleared before anything is copied there
    }
    bytes_ = bytes;
  }
  if (floats * 4 > sum_.size()) {
    ASSIGN_OR_RETURN(sum_, memory_->Allocate(floats * 4));
  }
  if (slots * 4 > ids_.size()) {
    ASSIGN_OR_RETURN(ids_, memory_->Allocate(slots * 4));
  }
  return absl::OkStatus();
}

absl::Status ExpertStream::Stage(const FfnWeights& theirs, int64_t first, int64_t experts,
                                 int slot) {
  if (api_.await_staging(context_, slot) == 0) return memory_->status();
  auto* const target = static_cast<std::byte*>(pinned_[static_cast<size_t>(slot)]);
  const Layout layout(theirs, experts);
  for (const Part& part : layout.parts) {
    if (part.from == nullptr) continue;
    const PackedMatrix& from = *part.from;
    const int64_t panel_bytes = CudaPanelBytes(from.kind(), from.in());
    pool_.ParallelFor(experts * from.panels(), [&](int64_t panel, int) {
      ReorderPanel(from.kind(), from.in(),
                   from.panel(first + panel / from.panels(), panel % from.panels()),
                   target + part.at + panel * panel_bytes);
    });
    if (part.bias != nullptr) {
      std::memcpy(target + part.bias_at, part.bias + first * from.out(),
                  static_cast<size_t>(experts * from.out() * 4));
    }
  }
  api_.stage(context_, slot, target, layout.bytes, staged_[static_cast<size_t>(slot)].data());
  return absl::OkStatus();
}

absl::Status ExpertStream::Run(const ExpertSplit& split, const ExpertRouting& routing,
                               const float* x, int64_t x_stride, int64_t rows, bool add, float* y) {
  const FfnWeights& theirs = split.processors;
  const int64_t all = theirs.up->num_matrices();
  const int64_t slots = rows * routing.top_k;
  const int64_t hidden = theirs.down->out();
  const int64_t most = ExpertsOfPiece(theirs);
  RETURN_IF_ERROR(Take(Layout(theirs, most).bytes, rows * hidden, slots));
  for (int64_t first = 0; first < all; first += most) {
    const int64_t experts = std::min(most, all - first);
    const int slot = next_slot_;
    next_slot_ = (next_slot_ + 1) % kSlots;
    RETURN_IF_ERROR(Stage(theirs, first, experts, slot));
    api_.choose_experts(context_, routing.ids, split.places, slots, 1, static_cast<int32_t>(first),
                        static_cast<int32_t>(experts), ids_.as<int32_t>());
    const std::byte* const base = staged_[static_cast<size_t>(slot)].data();
    const Layout layout(theirs, experts);
    const auto matrix = [&](const Part& part) -> ConclaveCudaMatrix {
      if (part.from == nullptr) return {};
      return {.panels = base + part.at,
              .kind = static_cast<int32_t>(part.from->kind()),
              .matrices = experts,
              .out = part.from->out(),
              .in = part.from->in()};
    };
    const auto bias = [&](const Part& part) {
      return part.bias == nullptr ? nullptr : reinterpret_cast<const float*>(base + part.bias_at);
    };
    const auto& [gate, up, down] = layout.parts;
    const ConclaveCudaFfn ffn = {.gate = matrix(gate),
                                 .up = matrix(up),
                                 .down = matrix(down),
                                 .activation = static_cast<int32_t>(theirs.activation),
                                 .gate_bias = bias(gate),
                                 .up_bias = bias(up),
                                 .down_bias = bias(down)};
    const ConclaveCudaRouting chosen = {.ids = ids_.as<int32_t>(),
                                        .weights = routing.weights,
                                        .top_k = routing.top_k,
                                        .order = routing.ids};
    api_.use_staged(context_, slot);
    const bool sets = first == 0 && !add;
    float* const target = sets ? y : sum_.as<float>();
    api_.moe(context_, &ffn, &chosen, x, x_stride, rows, target, hidden);
    api_.done_with_staged(context_, slot);
    if (!sets) api_.add(context_, target, rows * hidden, y);
  }
  return memory_->status();
}

}  // namespace conclave::engine
