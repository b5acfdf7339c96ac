// Reads a golden text file: lines of a keyword and numbers, '#' starts a comment line.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace conclave {

// tests/golden/<path>; keyword → its lines, each a row of numbers. Empty when there is no such
// file.
std::map<std::string, std::vector<std::vector<double>>> ReadGolden(const std::string& path);

}  // namespace conclave
