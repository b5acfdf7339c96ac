// Rows of logits read in part: what a device says of them and gives of them, against the
// processors' kernels, to the bit; and how long that takes beside reading them whole.
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "conformance/random.h"
#include "engine/kernels/cpu/cpu_kernels.h"
#include "engine/sample/logits.h"
#include "engine/sample/row_digest.h"
#include "gpu/rig.h"

namespace conclave::engine {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

bool SameBits(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return false;
  return a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

struct RowCase {
  std::vector<float> values;
  std::vector<uint64_t> allowed;  // empty: all
  SamplingParams params;
  std::vector<TokenId> prompt, output;
  RowRequest request;
  RowChanges changes;
};

// Rows with ties, with masked ones and with what is no number; some changed, some masked.
std::vector<RowCase> MakeRows(int64_t n, int count) {
  std::vector<RowCase> rows(static_cast<size_t>(count));
  LogitsProcessor processor(static_cast<int32_t>(n));
  for (size_t r = 0; r < rows.size(); ++r) {
    RowCase& row = rows[r];
    Random random(100 + r);
    row.values = random.Floats(n, r % 3 == 0 ? 1.0f : 30.0f);
    for (size_t i = r + 3; i < row.values.size(); i += 17) {
      row.values[i] = i % 3 == 0 ? -kInf : i % 3 == 1 ? std::nanf("") : row.values[i - 1];
    }
    if (r % 5 == 4) row.values.assign(static_cast<size_t>(n), r % 2 == 0 ? -kInf : 0.0f);
    if (r % 2 == 1) {
      row.params = {.repetition_penalty = 1.3f,
                    .frequency_penalty = 0.7f,
                    .presence_penalty = -0.2f,
                    .logit_bias = {{static_cast<TokenId>(n - 1), 3.3f}, {0, -2}, {0, 0.1f}},
                    .min_tokens = 1000};
      for (int i = 0; i < 300; ++i) {
        const auto id = static_cast<TokenId>(random.Next() % static_cast<uint64_t>(n));
        (i % 3 == 0 ? row.output : row.prompt).push_back(id);
      }
    }
    if (r % 4 >= 2) {
      row.allowed.resize(static_cast<size_t>((n + 63) / 64));
      for (uint64_t& word : row.allowed) word = random.Next();
      row.request.allowed = row.allowed;
    }
    const std::vector<TokenId> stops = {0, static_cast<TokenId>(n / 2), 0};
    processor.List(row.params, {.prompt = row.prompt, .output = row.output, .stop_ids = stops},
                   row.changes);
    row.request.changes = &row.changes;
    row.request.largest = r % 3 != 1;
    row.request.factors = {r % 3 == 2 ? 0.0f : 1.25f, r % 2 == 0 ? 1.0f : 0.0f};
  }
  return rows;
}

// The row as the processors change it.
std::vector<float> Expected(const RowCase& row) {
  std::vector<float> values = row.values;
  const std::vector<TokenId> stops = {0, static_cast<TokenId>(values.size() / 2), 0};
  if (!row.allowed.empty()) MaskLogits({.words = row.allowed}, values);
  LogitsProcessor(static_cast<int32_t>(values.size()))
      .Apply(row.params, {.prompt = row.prompt, .output = row.output, .stop_ids = stops}, values);
  return values;
}

bool DigestIs(const RowDigest& found, const RowDigest& expected) {
  bool same =
      found.best == expected.best && found.max == expected.max && found.factors == expected.factors;
  // By value: which zero is the largest of a block with both is nobody's concern.
  same = same && std::equal(found.largest.begin(), found.largest.end(), expected.largest.begin(),
                            expected.largest.end());
  for (size_t f = 0; f < kRowFactors; ++f) {
    same = same && SameBits(found.sums[f], expected.sums[f]);
  }
  return same;
}

// The last block is filled up with −inf.
bool BlockIs(std::span<const float> block, const std::vector<float>& row, size_t number) {
  for (size_t i = 0; i < block.size(); ++i) {
    const size_t at = number * kScanBlock + i;
    const float expected = at < row.size() ? row[at] : -kInf;
    const bool both_nan = std::isnan(block[i]) && std::isnan(expected);
    if (!both_nan && std::memcmp(&block[i], &expected, sizeof expected) != 0) return false;
  }
  return true;
}

}  // namespace

void CheckLogitRows(Kernels& device, bool quick, Report& report) {
  RowReader* const reader = device.row_reader();
  report.Same("logit rows", "there is a reader", reader != nullptr);
  const absl::StatusOr<const IsaTable*> isa = ChooseIsa("");
  if (reader == nullptr || !isa.ok()) return;
  struct Case {
    int64_t n;
    int rows;
  };
  std::vector<Case> cases = {{1, 2}, {256, 3}, {1000, 9}, {2048, 12}};
  if (!quick) cases.insert(cases.end(), {{32'000, 17}, {151'936, 1}, {151'936, 64}, {262'145, 9}});
  for (const Case& c : cases) {
    const std::vector<RowCase> rows = MakeRows(c.n, c.rows);
    std::vector<float> values;
    std::vector<RowRequest> requests;
    std::vector<std::vector<float>> expected;
    std::vector<RowBlock> first, rest;
    const auto blocks = static_cast<int32_t>((c.n + kScanBlock - 1) / kScanBlock);
    for (int32_t r = 0; r < c.rows; ++r) {
      const RowCase& row = rows[static_cast<size_t>(r)];
      values.insert(values.end(), row.values.begin(), row.values.end());
      requests.push_back(row.request);
      expected.push_back(Expected(row));
      for (int32_t b = 0; b < blocks; ++b) (b % 7 == r % 7 ? first : rest).push_back({r, b});
    }
    OnDevice<float> x(device, std::span<const float>(values));
    const std::string what = std::to_string(c.rows) + " rows of " + std::to_string(c.n);
    const auto check_blocks = [&](const absl::StatusOr<float*>& found,
                                  const std::vector<RowBlock>& wanted) {
      bool same = found.ok();
      for (size_t i = 0; same && i < wanted.size(); ++i) {
        same = BlockIs({*found + i * kScanBlock, kScanBlock},
                       expected[static_cast<size_t>(wanted[i].row)],
                       static_cast<size_t>(wanted[i].block));
      }
      report.Same("logit blocks", what, same);
    };
    const absl::StatusOr<float*> read =
        reader->Read({.x = x.data(), .n = c.n, .rows = requests, .blocks = first});
    bool same = read.ok();
    for (int32_t r = 0; same && r < c.rows; ++r) {
      const auto index = static_cast<size_t>(r);
      same =
          DigestIs(reader->digest(r), HostDigest(expected[index], requests[index], **isa).digest());
    }
    report.Same("logit digests", what, same);
    check_blocks(read, first);
    check_blocks(reader->Fetch(rest), rest);
  }
}

}  // namespace conclave::engine
