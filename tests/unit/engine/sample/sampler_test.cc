#include "engine/sample/sampler.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include "engine/kernels/cpu/cpu_kernels.h"
#include "engine/sample/philox.h"
#include "engine/sample/row_digest.h"
#include "engine/sample/row_scan.h"

namespace conclave::engine {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

// Samples from rows as they come.
struct RowSampler {
  RowScan row;
  Sampler sampler;
  TokenId Sample(const std::vector<float>& logits, const SamplingParams& params,
                 uint64_t position) {
    row.Read(logits);
    return sampler.Sample(row, params, position).value();
  }
};

std::map<TokenId, int> Draws(const std::vector<float>& logits, const SamplingParams& params,
                             int count) {
  RowSampler sampler;
  std::map<TokenId, int> drawn;
  for (int i = 0; i < count; ++i) ++drawn[sampler.Sample(logits, params, static_cast<uint64_t>(i))];
  return drawn;
}

}  // namespace

TEST_CASE("Philox gives the published numbers") {
  // Known-answer vectors of the Random123 distribution (kat_vectors, philox4x32 10).
  CHECK(Philox4x32({0, 0, 0, 0}, {0, 0}) ==
        PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(Philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
        PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("uniform draws stay in [0, 1) and differ by seed and position") {
  double sum = 0;
  for (uint64_t i = 0; i < 10000; ++i) {
    const double u = UniformAt(7, i);
    REQUIRE(u >= 0);
    REQUIRE(u < 1);
    sum += u;
  }
  CHECK(sum / 10000 == Approx(0.5).margin(0.02));
  CHECK(UniformAt(7, 0) != UniformAt(8, 0));
  CHECK(UniformAt(7, 0) != UniformAt(7, 1));
  CHECK(UniformAt(7, 5) == UniformAt(7, 5));
}

TEST_CASE("temperature 0 takes the largest logit, ties to the lowest id") {
  RowSampler sampler;
  CHECK(sampler.Sample(std::vector<float>{1, 5, 5, 2}, {.temperature = 0}, 0) == 1);
  CHECK(sampler.Sample(std::vector<float>{-kInf, -3, -2}, {.temperature = 0}, 0) == 2);
  const float nan = std::nanf("");
  CHECK(sampler.Sample(std::vector<float>{nan, -3, nan}, {.temperature = 0}, 0) == 1);
  CHECK(sampler.Sample(std::vector<float>{nan, nan}, {.temperature = 0}, 0) == -1);
  CHECK(sampler.Sample(std::vector<float>{-kInf, -kInf}, {.temperature = 1}, 0) == -1);
}

TEST_CASE("draws follow the softmax of the logits over the temperature") {
  const std::vector<float> logits = {0.0f, 1.0f, 2.0f, -1.0f};
  for (const float temperature : {0.5f, 1.0f, 2.0f}) {
    const int count = 40000;
    std::map<TokenId, int> drawn = Draws(logits, {.temperature = temperature, .seed = 3}, count);
    double total = 0;
    for (const float logit : logits) total += std::exp(logit / temperature);
    for (TokenId id = 0; id < 4; ++id) {
      const double p = std::exp(logits[static_cast<size_t>(id)] / temperature) / total;
      // Five standard deviations of a binomial share.
      const double margin = 5 * std::sqrt(p * (1 - p) / count);
      CHECK(static_cast<double>(drawn[id]) / count == Approx(p).margin(margin));
    }
  }
}

TEST_CASE("top_k leaves the k most probable, equal ones by id") {
  const std::map<TokenId, int> drawn =
      Draws({1, 3, 2, 2, 0}, {.temperature = 2, .top_k = 2, .seed = 1}, 2000);
  CHECK(drawn.size() == 2);
  CHECK(drawn.count(1) == 1);
  CHECK(drawn.count(2) == 1);
  CHECK(Draws({1, 3, 2}, {.temperature = 2, .top_k = 1}, 100).size() == 1);
}

TEST_CASE("top_p keeps the smallest set that reaches it") {
  // Probabilities 0.5, 0.3, 0.15, 0.05.
  const std::vector<float> logits = {std::log(0.05f), std::log(0.5f), std::log(0.15f),
                                     std::log(0.3f)};
  const auto drawn = [&](float top_p) { return Draws(logits, {.top_p = top_p, .seed = 2}, 3000); };
  CHECK(drawn(0.4f).size() == 1);
  CHECK(drawn(0.6f).size() == 2);
  CHECK(drawn(0.9f).size() == 3);
  CHECK(drawn(1.0f).size() == 4);
  CHECK(drawn(1e-6f).count(1) == 1);
}

TEST_CASE("top_p over a long flat distribution keeps its share") {
  const std::vector<float> logits(2000, 0.25f);
  const std::map<TokenId, int> drawn = Draws(logits, {.top_p = 0.5f, .seed = 9}, 20000);
  CHECK(drawn.rbegin()->first <= 1000);  // the first half by id, plus rounding
  CHECK(drawn.size() > 990);
}

TEST_CASE("min_p cuts what is that much less probable than the best") {
  const std::vector<float> logits = {0.0f, std::log(0.5f), std::log(0.09f)};
  CHECK(Draws(logits, {.min_p = 0.1f, .seed = 2}, 2000).size() == 2);
  CHECK(Draws(logits, {.min_p = 0.6f, .seed = 2}, 2000).size() == 1);
  CHECK(Draws(logits, {.min_p = 1.0f, .seed = 2}, 2000).size() == 1);
  // top_p counts the whole distribution, min_p cuts after it.
  CHECK(Draws(logits, {.top_p = 0.99f, .min_p = 0.1f, .seed = 2}, 2000).size() == 2);
}

TEST_CASE("typical_p keeps what is as surprising as the distribution on average") {
  // Probabilities 0.5, 0.3, 0.15, 0.05: the entropy is 1.14 nats, their information 0.69, 1.20,
  // 1.90 and 3.00. Nearest to it is 0.3, then 0.5, 0.15, 0.05.
  const std::vector<float> logits = {std::log(0.05f), std::log(0.5f), std::log(0.15f),
                                     std::log(0.3f)};
  const auto drawn = [&](SamplingParams params) {
    params.seed = 2;
    std::vector<TokenId> ids;
    for (const auto& [id, count] : Draws(logits, params, 3000)) ids.push_back(id);
    return ids;
  };
  CHECK(drawn({.typical_p = 0.2f}) == std::vector<TokenId>{3});
  CHECK(drawn({.typical_p = 0.5f}) == std::vector<TokenId>{1, 3});
  CHECK(drawn({.typical_p = 0.9f}) == std::vector<TokenId>{1, 2, 3});
  CHECK(drawn({.typical_p = 1.0f}) == std::vector<TokenId>{0, 1, 2, 3});
  // top_k cuts before it; top_p and min_p cut what it left, of which nothing may remain outside.
  CHECK(drawn({.top_k = 1, .typical_p = 0.9f}) == std::vector<TokenId>{1});
  CHECK(drawn({.typical_p = 0.9f, .top_p = 0.5f}) == std::vector<TokenId>{1});
  CHECK(drawn({.typical_p = 0.2f, .min_p = 1.0f}) == std::vector<TokenId>{3});
}

TEST_CASE("typical_p chooses the set that its definition says, on random logits") {
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0.0f, 3.0f);
  for (const float typical_p : {0.1f, 0.4f, 0.8f}) {
    std::vector<float> logits(40);
    for (float& logit : logits) logit = normal(random);
    std::vector<double> p(logits.size());
    double total = 0;
    for (const float logit : logits) total += std::exp(static_cast<double>(logit));
    double entropy = 0;
    for (size_t i = 0; i < p.size(); ++i) {
      p[i] = std::exp(static_cast<double>(logits[i])) / total;
      entropy -= p[i] * std::log(p[i]);
    }
    std::vector<TokenId> order(p.size());
    std::iota(order.begin(), order.end(), 0);
    const auto distance = [&](TokenId id) {
      return std::abs(-std::log(p[static_cast<size_t>(id)]) - entropy);
    };
    std::sort(order.begin(), order.end(),
              [&](TokenId a, TokenId b) { return distance(a) < distance(b); });
    double sum = 0;
    std::set<TokenId> expected;
    for (size_t i = 0; sum < static_cast<double>(typical_p); ++i) {
      expected.insert(order[i]);
      sum += p[static_cast<size_t>(order[i])];
    }
    std::set<TokenId> drawn;
    for (const auto& [id, count] : Draws(logits, {.typical_p = typical_p, .seed = 5}, 20000)) {
      CHECK(expected.contains(id));
      drawn.insert(id);
    }
    // Whatever of the set is not too rare to be seen was seen.
    for (const TokenId id : expected) {
      if (p[static_cast<size_t>(id)] / sum > 0.002) CHECK(drawn.contains(id));
    }
  }
}

// The definition, in double and by sorting everything.
TokenId PlainSample(const std::vector<float>& logits, const SamplingParams& params,
                    uint64_t position) {
  struct Entry {
    TokenId id;
    double log_weight, weight, atypical;
  };
  const float max = *std::max_element(logits.begin(), logits.end());
  std::vector<Entry> kept;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double log_weight = (static_cast<double>(logits[i]) - static_cast<double>(max)) /
                              static_cast<double>(params.temperature);
    if (log_weight < -80) continue;
    kept.push_back({static_cast<TokenId>(i), log_weight, std::exp(log_weight), 0});
  }
  const auto total = [&] {
    double sum = 0;
    for (const Entry& entry : kept) sum += entry.weight;
    return sum;
  };
  const auto keep_share = [&](double share) {
    const double wanted = share * total();
    double sum = 0;
    size_t count = 0;
    while (count < kept.size() && sum < wanted) sum += kept[count++].weight;
    kept.resize(count);
  };
  const auto by_probability = [](const Entry& a, const Entry& b) {
    return a.log_weight != b.log_weight ? a.log_weight > b.log_weight : a.id < b.id;
  };
  std::sort(kept.begin(), kept.end(), by_probability);
  if (params.top_k > 0) kept.resize(std::min(kept.size(), static_cast<size_t>(params.top_k)));
  if (params.typical_p < 1) {
    const double sum = total();
    double mean = 0;
    for (const Entry& entry : kept) mean += entry.weight / sum * entry.log_weight;
    for (Entry& entry : kept) entry.atypical = std::abs(entry.log_weight - mean);
    std::sort(kept.begin(), kept.end(), [](const Entry& a, const Entry& b) {
      return a.atypical != b.atypical ? a.atypical < b.atypical : a.id < b.id;
    });
    keep_share(static_cast<double>(params.typical_p));
    std::sort(kept.begin(), kept.end(), by_probability);
  }
  if (params.top_p < 1) keep_share(static_cast<double>(params.top_p));
  const double least = static_cast<double>(params.min_p) * kept.front().weight;
  std::erase_if(kept, [&](const Entry& entry) { return entry.weight < least; });
  std::sort(kept.begin(), kept.end(), [](const Entry& a, const Entry& b) { return a.id < b.id; });
  double left = UniformAt(params.seed, position) * total();
  for (const Entry& entry : kept) {
    left -= entry.weight;
    if (left < 0) return entry.id;
  }
  return kept.back().id;
}

const SamplingParams kAllCuts[] = {
    {},
    {.temperature = 0.3f},
    {.temperature = 2},
    {.top_k = 40},
    {.top_k = 700},
    {.top_k = 40, .top_p = 0.9f, .min_p = 0.01f},
    {.top_p = 0.3f},
    {.top_p = 0.95f},
    {.temperature = 1.5f, .top_p = 0.999f},
    {.top_p = 0.9f, .min_p = 0.02f},
    {.min_p = 0.05f},
    {.typical_p = 0.3f},
    {.temperature = 0.7f, .typical_p = 0.9f, .top_p = 0.8f},
    {.top_k = 100, .typical_p = 0.5f},
};

TEST_CASE("whatever is cut, draws are those of the plain definition") {
  std::mt19937 random(11);
  RowSampler sampler;
  int draws = 0, others = 0;
  for (const float spread : {0.0f, 1.0f, 4.0f}) {
    for (const size_t size : {1UL, 300UL, 5000UL, 33333UL}) {
      std::vector<float> logits(size);
      std::normal_distribution<float> normal(0.0f, spread);
      for (float& logit : logits) logit = spread > 0 ? normal(random) : 1.0f;
      // Some that are masked, some that are equal.
      for (size_t i = 7; i + 5 < size; i += 13) {
        logits[i] = -kInf;
        logits[i + 5] = logits[i - 1];
      }
      for (SamplingParams params : kAllCuts) {
        params.seed = 77;
        for (uint64_t position = 0; position < 12; ++position) {
          ++draws;
          const TokenId token = sampler.Sample(logits, params, position);
          REQUIRE(!std::isinf(logits[static_cast<size_t>(token)]));
          others += token == PlainSample(logits, params, position) ? 0 : 1;
        }
      }
    }
  }
  // One may fall where fp32 and double have the border between two tokens.
  CAPTURE(draws);
  CHECK(others <= 2);
}

// As from a device: only a digest of the row at first, and then the blocks that are asked for.
struct PartSampler {
  size_t fetched = 0;  // blocks of the last row
  int rounds = 0;
  std::optional<TokenId> Sample(const std::vector<float>& logits, const SamplingParams& params,
                                uint64_t position) {
    const Sampler::Needs needs = Sampler::NeedsOf(params);
    const RowRequest request = {.largest = needs.largest,
                                .factors = {RowScan::FactorOf(needs.factor), 0}};
    const HostDigest digest(logits, request, **ChooseIsa(""));
    std::vector<float> padded = logits;
    padded.resize((logits.size() + kScanBlock - 1) / kScanBlock * kScanBlock, -kInf);
    std::vector<const float*> blocks(padded.size() / kScanBlock);
    RowScan row;
    Sampler sampler;
    fetched = 0;
    for (rounds = 0; rounds < 5; ++rounds) {
      row.Read(digest.digest(), logits.size(), blocks);
      const std::optional<TokenId> token = sampler.Sample(row, params, position);
      if (token.has_value()) return token;
      for (const int32_t wanted : row.wanted()) {
        const float*& block = blocks[static_cast<size_t>(wanted)];
        fetched += block == nullptr ? 1 : 0;
        block = padded.data() + wanted * kScanBlock;
      }
    }
    return std::nullopt;
  }
};

TEST_CASE("rows of which parts are here give the draws of whole ones") {
  std::mt19937 random(12);
  RowSampler whole;
  PartSampler parts;
  for (const float spread : {0.0f, 1.0f, 4.0f}) {
    for (const size_t size : {1UL, 300UL, 5000UL, 33333UL}) {
      std::vector<float> logits(size);
      std::normal_distribution<float> normal(0.0f, spread);
      for (float& logit : logits) logit = spread > 0 ? normal(random) : 1.0f;
      for (size_t i = 7; i + 5 < size; i += 13) logits[i] = i % 2 == 0 ? -kInf : std::nanf("");
      for (SamplingParams params : kAllCuts) {
        params.seed = 78;
        for (uint64_t position = 0; position < 6; ++position) {
          CHECK(parts.Sample(logits, params, position) == whole.Sample(logits, params, position));
        }
      }
    }
  }
}

TEST_CASE("of a row whose answer is sure hardly anything is fetched") {
  std::mt19937 random(13);
  std::normal_distribution<float> normal(0.0f, 1.5f);
  std::vector<float> logits(50'000);
  for (float& logit : logits) logit = normal(random);
  logits[31'000] = 20;
  logits[4] = 19;
  PartSampler parts;
  struct Expected {
    SamplingParams params;
    size_t blocks;
    int rounds;
  };
  for (const Expected& one : {Expected{{.temperature = 0}, 0, 0},
                              {{.temperature = 0.8f}, 1, 1},
                              {{.temperature = 0.8f, .top_p = 0.95f}, 2, 1},
                              {{.temperature = 0.8f, .min_p = 0.05f}, 2, 1},
                              {{.temperature = 0.8f, .top_k = 40}, 40, 1}}) {
    CHECK(parts.Sample(logits, one.params, 3).has_value());
    CHECK(parts.fetched == one.blocks);
    CHECK(parts.rounds == one.rounds);
  }
}

TEST_CASE("every instruction set sees the same row") {
  std::mt19937 random(4);
  std::normal_distribution<float> normal(0.0f, 5.0f);
  for (const size_t size : {1UL, 15UL, 16UL, 255UL, 256UL, 257UL, 3001UL}) {
    std::vector<float> logits(size);
    for (float& logit : logits) logit = normal(random);
    for (size_t i = 3; i < size; i += 10) logits[i] = i % 20 == 3 ? -kInf : std::nanf("");
    RowScan plain(**ChooseIsa("scalar"));
    plain.Read(logits);
    plain.Weigh(0.7);
    for (const std::string& isa : SupportedIsas()) {
      CAPTURE(isa, size);
      RowScan row(**ChooseIsa(isa));
      row.Read(logits);
      row.Weigh(0.7);
      CHECK(row.best() == plain.best());
      CHECK(row.max() == plain.max());
      CHECK(row.total() == plain.total());
      CHECK(std::equal(row.weights().begin(), row.weights().end(), plain.weights().begin(),
                       plain.weights().end()));
    }
  }
}

TEST_CASE("NaN and masked logits are never drawn, however the row is cut") {
  std::vector<float> logits(1000, std::nanf(""));
  for (size_t i = 0; i < logits.size(); i += 3) logits[i] = -kInf;
  logits[400] = -3;
  logits[700] = -3;
  for (const SamplingParams& params :
       {SamplingParams{}, SamplingParams{.top_k = 5}, SamplingParams{.top_p = 0.9f},
        SamplingParams{.min_p = 0.1f}, SamplingParams{.typical_p = 0.9f},
        SamplingParams{.temperature = 1e-40f}}) {
    const std::map<TokenId, int> drawn = Draws(logits, params, 200);
    CHECK(drawn.size() == 2);
    CHECK(drawn.contains(400));
    CHECK(drawn.contains(700));
  }
}

TEST_CASE("streams of one seed are independent draws") {
  const std::vector<float> logits(500, 0.0f);
  RowSampler sampler;
  std::set<std::vector<TokenId>> texts;
  for (uint32_t stream = 0; stream < 16; ++stream) {
    std::vector<TokenId> text;
    for (uint64_t i = 0; i < 8; ++i) {
      text.push_back(sampler.Sample(logits, {.seed = 1, .stream = stream}, i));
    }
    texts.insert(text);
  }
  CHECK(texts.size() == 16);
  CHECK(UniformAt(7, 3) == UniformAt(7, 3, 0));
}

TEST_CASE("a draw depends on seed and position alone") {
  const std::vector<float> logits(500, 0.0f);
  RowSampler used, fresh;
  for (uint64_t i = 0; i < 50; ++i) used.Sample(logits, {.seed = 5}, i);
  for (uint64_t i = 50; i-- > 0;) {
    CHECK(used.Sample(logits, {.seed = 5}, i) == fresh.Sample(logits, {.seed = 5}, i));
  }
}

TEST_CASE("validation names the field and its range") {
  const auto refusal = [](const std::function<void(SamplingParams&)>& change) {
    SamplingParams params;
    change(params);
    return Validate(params, 100);
  };
  CHECK(Validate({}, 100).ok());
  const float nan = std::nanf("");
  struct Case {
    std::string field;
    std::function<void(SamplingParams&)> change;
  };
  const std::vector<Case> cases = {
      {"temperature", [](auto& p) { p.temperature = 2.1f; }},
      {"temperature", [](auto& p) { p.temperature = -0.1f; }},
      {"temperature", [&](auto& p) { p.temperature = nan; }},
      {"top_k", [](auto& p) { p.top_k = -1; }},
      {"top_p", [](auto& p) { p.top_p = 0; }},
      {"top_p", [](auto& p) { p.top_p = 1.5f; }},
      {"min_p", [](auto& p) { p.min_p = 1.5f; }},
      {"repetition_penalty", [](auto& p) { p.repetition_penalty = 0; }},
      {"frequency_penalty", [](auto& p) { p.frequency_penalty = 3; }},
      {"presence_penalty", [&](auto& p) { p.presence_penalty = nan; }},
      {"penalty_last_n", [](auto& p) { p.penalty_last_n = -2; }},
      {"min_tokens", [](auto& p) { p.min_tokens = -1; }},
      {"logit_bias",
       [](auto& p) {
         p.logit_bias = {{100, 0.0f}};
       }},
      {"logit_bias",
       [](auto& p) {
         p.logit_bias = {{-1, 0.0f}};
       }},
      {"logit_bias",
       [](auto& p) {
         p.logit_bias = {{5, 101.0f}};
       }},
  };
  for (const Case& one : cases) {
    const absl::Status status = refusal(one.change);
    CAPTURE(one.field);
    CHECK(status.code() == absl::StatusCode::kInvalidArgument);
    CHECK(std::string(status.message()).rfind(one.field, 0) == 0);
  }
}

}  // namespace conclave::engine
