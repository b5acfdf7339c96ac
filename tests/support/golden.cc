#include "support/golden.h"

#include <fstream>
#include <sstream>

namespace conclave {

std::map<std::string, std::vector<std::vector<double>>> ReadGolden(const std::string& path) {
  std::map<std::string, std::vector<std::vector<double>>> golden;
  std::ifstream file(std::string(CONCLAVE_SOURCE_DIR) + "/tests/golden/" + path);
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream words(line);
    std::string keyword;
    words >> keyword;
    std::vector<double> row;
    for (double value = 0; words >> value;) row.push_back(value);
    golden[keyword].push_back(std::move(row));
  }
  return golden;
}

}  // namespace conclave
