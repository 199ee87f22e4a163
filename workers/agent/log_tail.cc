#include "workers/agent/log_tail.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"

namespace pactory {
namespace {

constexpr size_t kLines = 40;
constexpr size_t kLineBytes = 500;

}  // namespace

void LogTail::Append(absl::string_view bytes) {
  absl::MutexLock lock(&mutex_);
  for (const char c : bytes) {
    if (c == '\n' || c == '\r') {
      open_ = false;
      continue;
    }
    if (!open_) {
      lines_.emplace_back();
      if (lines_.size() > kLines) lines_.pop_front();
      open_ = true;
    }
    if (lines_.back().size() < kLineBytes) lines_.back().push_back(c);
  }
}

std::string LogTail::Text() const {
  absl::MutexLock lock(&mutex_);
  return absl::StrJoin(lines_, "\n");
}

std::string LogTail::LastLine() const {
  absl::MutexLock lock(&mutex_);
  for (auto line = lines_.rbegin(); line != lines_.rend(); ++line) {
    const absl::string_view text = absl::StripAsciiWhitespace(*line);
    if (!text.empty()) return std::string(text);
  }
  return "";
}

}  // namespace pactory
