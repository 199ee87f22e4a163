#include "quant/guard.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <exception>
#include <new>
#include <string>

#include "absl/strings/str_cat.h"

namespace pactory::quant {
namespace {

// LibTorch's messages carry a C++ backtrace after the first line.
std::string FirstLine(absl::string_view text) { return std::string(text.substr(0, text.find('\n'))); }

}  // namespace

absl::Status GuardTorch(absl::string_view stage, const std::function<absl::Status()>& function) {
  try {
    return function();
  } catch (const c10::OutOfMemoryError& error) {
    return absl::ResourceExhaustedError(absl::StrCat(stage, ": ", FirstLine(error.what_without_backtrace())));
  } catch (const c10::Error& error) {
    const std::string message = FirstLine(error.what_without_backtrace());
    // The CPU allocator reports exhaustion as a plain error.
    if (message.find("DefaultCPUAllocator") != std::string::npos) {
      return absl::ResourceExhaustedError(absl::StrCat(stage, ": ", message));
    }
    return absl::InvalidArgumentError(absl::StrCat(stage, ": ", message));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat(stage, ": out of memory"));
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(stage, ": ", FirstLine(error.what())));
  }
}

}  // namespace pactory::quant
