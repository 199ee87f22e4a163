// Pactory's version, from CMakeLists.txt. A constant.
#pragma once

namespace pactory {

extern const char kVersion[];

}  // namespace pactory
