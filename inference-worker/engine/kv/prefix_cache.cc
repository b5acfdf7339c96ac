#include "engine/kv/prefix_cache.h"

#include <algorithm>
#include <functional>

#include "base/check.h"

namespace conclave::engine {
namespace {

// The finaliser of splitmix64: every input bit reaches every output bit.
uint64_t Mix(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ULL;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

}  // namespace

PrefixCache::PrefixCache(BlockPool* pool, int32_t block_tokens)
    : pool_(pool), block_tokens_(block_tokens) {
  CHECK(block_tokens > 0);
}

PrefixCache::~PrefixCache() {
  for (auto& [id, node] : nodes_) {
    if (!node.block.empty()) pool_->MarkCached(node.block, false);
  }
}

PrefixCache::MatchResult PrefixCache::Match(std::string_view salt,
                                            std::span<const TokenId> tokens) {
  MatchResult result;
  Node* node = FindRoot(salt);
  if (node == nullptr) return result;
  const size_t step = static_cast<size_t>(block_tokens_);
  ++now_;
  for (size_t at = 0; at + step <= tokens.size(); at += step) {
    Node* const child = FindChild(*node, tokens.subspan(at, step));
    if (child == nullptr) break;
    Touch(*child);
    result.blocks.push_back(child->block);
    result.cursor.node = child->id;
    node = child;
  }
  return result;
}

void PrefixCache::Insert(std::string_view salt, Cursor& cursor, std::span<const TokenId> tokens,
                         const Block& block) {
  CHECK(tokens.size() == static_cast<size_t>(block_tokens_) && !block.empty());
  if (cursor.broken) return;
  Node* parent = nullptr;
  if (cursor.node != 0) {
    const auto it = nodes_.find(cursor.node);
    if (it == nodes_.end()) {
      // The chain was evicted behind us (its blocks were another sequence's): nothing after it
      // could ever be matched.
      cursor.broken = true;
      return;
    }
    parent = &it->second;
  } else {
    parent = FindRoot(salt);
    if (parent == nullptr) {
      Node root{.hash = std::hash<std::string_view>{}(salt), .salt = std::string(salt)};
      parent = &AddNode(std::move(root));
      roots_.emplace(std::string(salt), parent->id);
      ++num_roots_;
    }
  }
  ++now_;
  Node* child = FindChild(*parent, tokens);
  if (child == nullptr) {
    Node node{.parent = parent->id,
              .hash = ChildHash(parent->hash, tokens),
              .tokens = {tokens.begin(), tokens.end()},
              .block = block};
    child = &AddNode(std::move(node));
    if (parent->num_children++ == 0) leaves_.erase({parent->last_use, parent->id});
    by_hash_.emplace(child->hash, child->id);
    child->last_use = now_;
    leaves_.emplace(child->last_use, child->id);
    pool_->MarkCached(child->block, true);
  } else {
    Touch(*child);
  }
  cursor.node = child->id;
}

int32_t PrefixCache::Evict(int32_t count) {
  int32_t evicted = 0;
  auto it = leaves_.begin();
  while (evicted < count && it != leaves_.end()) {
    Node& node = nodes_.at(it->second);
    if (node.block.num_handles() > 1) {
      ++it;
      continue;
    }
    Remove(node);
    ++evicted;
    // The parent may have become a leaf, and an old one: look again from the oldest.
    it = leaves_.begin();
  }
  return evicted;
}

uint64_t PrefixCache::ChildHash(uint64_t parent_hash, std::span<const TokenId> tokens) const {
  uint64_t hash = Mix(parent_hash + 0x9e3779b97f4a7c15ULL);
  for (const TokenId token : tokens) hash = Mix(hash ^ static_cast<uint32_t>(token)) + 1;
  return hash;
}

PrefixCache::Node* PrefixCache::FindRoot(std::string_view salt) {
  const auto it = roots_.find(salt);
  return it == roots_.end() ? nullptr : &nodes_.at(it->second);
}

PrefixCache::Node* PrefixCache::FindChild(const Node& parent, std::span<const TokenId> tokens) {
  const auto [begin, end] = by_hash_.equal_range(ChildHash(parent.hash, tokens));
  for (auto it = begin; it != end; ++it) {
    Node& node = nodes_.at(it->second);
    if (node.parent == parent.id &&
        std::equal(node.tokens.begin(), node.tokens.end(), tokens.begin(), tokens.end())) {
      return &node;
    }
  }
  return nullptr;
}

PrefixCache::Node& PrefixCache::AddNode(Node node) {
  node.id = next_id_++;
  const uint64_t id = node.id;
  return nodes_.emplace(id, std::move(node)).first->second;
}

void PrefixCache::Touch(Node& node) {
  if (node.num_children == 0) {
    leaves_.erase({node.last_use, node.id});
    leaves_.emplace(now_, node.id);
  }
  node.last_use = now_;
}

void PrefixCache::Remove(Node& node) {
  leaves_.erase({node.last_use, node.id});
  const auto [begin, end] = by_hash_.equal_range(node.hash);
  for (auto it = begin; it != end; ++it) {
    if (it->second == node.id) {
      by_hash_.erase(it);
      break;
    }
  }
  Node& parent = nodes_.at(node.parent);
  if (--parent.num_children == 0) {
    if (parent.parent == 0) {  // an empty root is only a name
      roots_.erase(roots_.find(parent.salt));
      --num_roots_;
      nodes_.erase(nodes_.find(parent.id));
    } else {
      leaves_.emplace(parent.last_use, parent.id);
    }
  }
  pool_->MarkCached(node.block, false);
  nodes_.erase(nodes_.find(node.id));
}

}  // namespace conclave::engine
