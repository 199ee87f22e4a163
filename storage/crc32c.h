// CRC-32C (Castagnoli), which tells a damaged blob chunk from a whole one. Stateless.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"

namespace pactory {

/// Returns the CRC-32C of `bytes` (RFC 3720, B.4: polynomial 0x1EDC6F41, reflected, initial and final value
/// 0xFFFFFFFF).
uint32_t Crc32c(absl::string_view bytes);

}  // namespace pactory
