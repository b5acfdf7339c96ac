#include "mesh/prefix_memory.h"

#include <algorithm>
#include <string_view>

#include "absl/hash/hash.h"
#include "base/strings.h"

namespace conclave::mesh {
namespace {

namespace pb = conclave::v1;

constexpr int64_t kBytesPerToken = 4;

uint64_t Mix(uint64_t state, std::string_view bytes) {
  return absl::HashOf(state, base::Abs(bytes));
}

// Feeds bytes, cut into blocks wherever they come from.
class Chainer final {
 public:
  explicit Chainer(uint64_t seed) : state_(seed) {}

  void Add(std::string_view bytes) {
    while (!bytes.empty() && chain_.size() < PrefixMemory::kBlocksMax) {
      const size_t take = std::min(bytes.size(), PrefixMemory::kBlockBytes - rest_.size());
      rest_.append(bytes.substr(0, take));
      bytes.remove_prefix(take);
      if (rest_.size() < PrefixMemory::kBlockBytes) return;
      state_ = Mix(state_, rest_);
      chain_.push_back(state_);
      rest_.clear();
    }
  }
  std::vector<uint64_t> Take() { return std::move(chain_); }

 private:
  uint64_t state_;
  std::string rest_;
  std::vector<uint64_t> chain_;
};

uint64_t SeedOf(const pb::GenerateRequest& request) {
  uint64_t seed = Mix(0, request.model());
  seed = Mix(seed, request.meta().tenant());
  seed = Mix(seed, request.meta().cache_salt());
  for (const pb::Tool& tool : request.chat().tools()) seed = Mix(seed, tool.SerializeAsString());
  // A protobuf map has no order; ours has.
  const std::map<std::string, std::string> variables(request.chat().template_variables().begin(),
                                                     request.chat().template_variables().end());
  for (const auto& [name, value] : variables) seed = Mix(Mix(seed, name), value);
  return seed;
}

}  // namespace

std::vector<uint64_t> PrefixMemory::Chain(const pb::GenerateRequest& request) {
  Chainer chainer(SeedOf(request));
  switch (request.prompt_case()) {
    case pb::GenerateRequest::kText:
      chainer.Add(request.text());
      break;
    case pb::GenerateRequest::kTokenIds: {
      const auto& ids = request.token_ids().ids();
      chainer.Add({reinterpret_cast<const char*>(ids.data()),
                   static_cast<size_t>(ids.size()) * sizeof(int32_t)});
      break;
    }
    case pb::GenerateRequest::kChat:
      // A conversation that grows keeps the bytes of its earlier messages.
      for (const pb::ChatMessage& message : request.chat().messages()) {
        chainer.Add(message.SerializeAsString());
      }
      break;
    case pb::GenerateRequest::PROMPT_NOT_SET:
      break;
  }
  return chainer.Take();
}

std::vector<uint64_t> PrefixMemory::Affinity(const pb::GenerateRequest& request) {
  if (request.affinity_key().empty()) return {};
  uint64_t hash = Mix(1, request.model());  // 0 begins chains
  hash = Mix(hash, request.meta().tenant());
  return {Mix(hash, request.affinity_key())};
}

int PrefixMemory::SlotOf(const std::string& worker_id, uint64_t epoch) {
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].worker_id == worker_id && slots_[i].epoch == epoch) return static_cast<int>(i);
  }
  if (slots_.size() == kSlots) {
    // So many workers or restarts: begin anew rather than mistake one worker for another.
    slots_.clear();
    young_.clear();
    old_.clear();
  }
  slots_.push_back({worker_id, epoch});
  return static_cast<int>(slots_.size()) - 1;
}

uint64_t PrefixMemory::Find(uint64_t block) {
  uint64_t bits = 0;
  if (const auto it = young_.find(block); it != young_.end()) bits |= it->second;
  if (const auto it = old_.find(block); it != old_.end()) bits |= it->second;
  return bits;
}

std::vector<std::pair<std::string, int64_t>> PrefixMemory::Match(
    const std::vector<uint64_t>& chain, const std::vector<uint64_t>& affinity) {
  const std::lock_guard lock(mutex_);
  std::vector<int64_t> blocks(slots_.size(), 0);
  uint64_t still = ~uint64_t{0};
  for (const uint64_t block : chain) {
    still &= Find(block);
    if (still == 0) break;
    for (size_t i = 0; i < slots_.size(); ++i) blocks[i] += (still >> i) & 1;
  }
  for (const uint64_t key : affinity) {
    const uint64_t bits = Find(key);
    for (size_t i = 0; i < slots_.size(); ++i) {
      blocks[i] = std::max(blocks[i], static_cast<int64_t>((bits >> i) & 1));
    }
  }
  // The newest process of a worker wins over the ones before its restarts.
  std::map<std::string, int64_t> tokens;
  for (size_t i = 0; i < slots_.size(); ++i) {
    tokens[slots_[i].worker_id] = blocks[i] * static_cast<int64_t>(kBlockBytes) / kBytesPerToken;
  }
  std::vector<std::pair<std::string, int64_t>> matches;
  for (const auto& [worker_id, count] : tokens) {
    if (count > 0) matches.emplace_back(worker_id, count);
  }
  return matches;
}

void PrefixMemory::Remember(const std::vector<uint64_t>& chain, const std::string& worker_id,
                            uint64_t epoch) {
  if (chain.empty()) return;
  const std::lock_guard lock(mutex_);
  const uint64_t bit = uint64_t{1} << SlotOf(worker_id, epoch);
  for (const uint64_t block : chain) {
    if (young_.size() >= generation_max_ && !young_.contains(block)) {
      old_ = std::move(young_);
      young_.clear();
    }
    young_[block] |= Find(block) | bit;
  }
}

}  // namespace conclave::mesh
