// Vocabulary files with known answers live outside the repository; tests use them where they are.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "engine/request.h"

namespace conclave::engine {

// $CONCLAVE_FIXTURES, or the folder beside the checkout. May not exist.
inline std::filesystem::path FixtureRoot() {
  if (const char* root = std::getenv("CONCLAVE_FIXTURES")) return root;
  return std::filesystem::path(CONCLAVE_SOURCE_DIR) / ".." / "shared" / "fixtures";
}

inline std::string ReadAll(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct KnownAnswer {
  std::string text;
  std::vector<TokenId> ids;
};

// Texts separated by a line "__ggml_vocab_test__" and, line by line, their ids.
inline std::vector<KnownAnswer> ReadAnswers(const std::filesystem::path& texts,
                                            const std::filesystem::path& ids) {
  constexpr std::string_view kSeparator = "\n__ggml_vocab_test__\n";
  std::vector<KnownAnswer> answers;
  std::istringstream lines(ReadAll(ids));
  const std::string all = ReadAll(texts);
  for (size_t at = 0; at < all.size();) {
    const size_t end = all.find(kSeparator, at);
    KnownAnswer answer{.text = all.substr(at, end == std::string::npos ? end : end - at),
                       .ids = {}};
    std::string line;
    std::getline(lines, line);
    std::istringstream numbers(line);
    answer.ids.assign(std::istream_iterator<TokenId>(numbers), {});
    answers.push_back(std::move(answer));
    at = end == std::string::npos ? all.size() : end + kSeparator.size();
  }
  return answers;
}

}  // namespace conclave::engine
