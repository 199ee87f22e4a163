// How far something is, on standard error: one line that is rewritten on a terminal, plain lines now and then
// otherwise. Used by transfers and by watching. Not thread-safe.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace pactory {

/// Where progress is shown.
enum class ProgressStyle { kTerminal, kPlain };

/// Terminal where standard error is one.
ProgressStyle DetectProgressStyle();

/// Shows states of one activity.
class ProgressLine {
 public:
  explicit ProgressLine(ProgressStyle style = DetectProgressStyle());
  /// Leaves the cursor on a fresh line.
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  /// Shows a state that the next one may replace. On a terminal at most 10 a second are drawn; plain, one in 5 seconds.
  void Update(absl::string_view text);

  /// Shows a state that stays.
  void Keep(absl::string_view text);

  ProgressStyle style() const { return style_; }

 private:
  const ProgressStyle style_;
  absl::Time last_shown_;
  bool open_ = false;  // whether the terminal's line holds a text that may be replaced
};

/// A bar of `width` cells like `[=====>    ]`.
std::string Bar(double fraction, int width);

}  // namespace pactory
