// The last lines of a program's log, for error messages. Used for trainers. Thread-safe.
#pragma once

#include <deque>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

namespace pactory {

/// Keeps the last 40 lines, each cut at 500 bytes.
class LogTail {
 public:
  /// Adds bytes as they came from the pipe.
  void Append(absl::string_view bytes);

  /// The kept lines, joined by line feeds.
  std::string Text() const;

  /// The last line that is not blank, or "".
  std::string LastLine() const;

 private:
  mutable absl::Mutex mutex_;
  std::deque<std::string> lines_ ABSL_GUARDED_BY(mutex_);
  bool open_ ABSL_GUARDED_BY(mutex_) = false;  // whether the last line still grows
};

}  // namespace pactory
