// Times of calls, and their percentiles. A value; not thread-safe.
#pragma once

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/time/time.h"

namespace pactory {

class Latencies {
 public:
  void Add(absl::Duration took) { milliseconds_.push_back(absl::ToDoubleMilliseconds(took)); }
  void Add(const Latencies& other) {
    milliseconds_.insert(milliseconds_.end(), other.milliseconds_.begin(), other.milliseconds_.end());
  }

  /// {"count", "p50_ms", "p99_ms", "max_ms"}.
  nlohmann::ordered_json ToJson() const {
    std::vector<double> sorted = milliseconds_;
    std::sort(sorted.begin(), sorted.end());
    const auto at = [&](double share) {
      if (sorted.empty()) return 0.0;
      return sorted[std::min(sorted.size() - 1, static_cast<size_t>(share * static_cast<double>(sorted.size())))];
    };
    return {{"count", sorted.size()}, {"p50_ms", at(0.5)}, {"p99_ms", at(0.99)}, {"max_ms", at(1)}};
  }

 private:
  std::vector<double> milliseconds_;
};

}  // namespace pactory
