#include "cli/progress_line.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace pactory {
namespace {

constexpr absl::Duration kTerminalInterval = absl::Milliseconds(100);
constexpr absl::Duration kPlainInterval = absl::Seconds(5);

// A line longer than the terminal would wrap, and could not be rewritten.
absl::string_view CutToTerminal(absl::string_view text) {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20) return text;
  return text.substr(0, size.ws_col - 1);
}

}  // namespace

ProgressStyle DetectProgressStyle() { return isatty(STDERR_FILENO) ? ProgressStyle::kTerminal : ProgressStyle::kPlain; }

// What is over within the first interval is not worth a line of a log.
ProgressLine::ProgressLine(ProgressStyle style)
    : style_(style), last_shown_(style == ProgressStyle::kPlain ? absl::Now() : absl::InfinitePast()) {}

ProgressLine::~ProgressLine() {
  if (open_) std::cerr << std::endl;
}

void ProgressLine::Update(absl::string_view text) {
  const absl::Time now = absl::Now();
  if (now - last_shown_ < (style_ == ProgressStyle::kTerminal ? kTerminalInterval : kPlainInterval)) return;
  last_shown_ = now;
  if (style_ == ProgressStyle::kTerminal) {
    std::cerr << "\r\033[K" << CutToTerminal(text) << std::flush;
    open_ = true;
  } else {
    std::cerr << text << std::endl;
  }
}

void ProgressLine::Keep(absl::string_view text) {
  if (open_) std::cerr << "\r\033[K";
  open_ = false;
  std::cerr << text << std::endl;
  last_shown_ = absl::Now();
}

std::string Bar(double fraction, int width) {
  const int full = static_cast<int>(std::clamp(fraction, 0.0, 1.0) * width);
  std::string bar(full, '=');
  if (full < width) bar += '>';
  bar.resize(width, ' ');
  return absl::StrCat("[", bar, "]");
}

}  // namespace pactory
