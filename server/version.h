// Version of the server, from CMake. A constant.
#pragma once

namespace pactory {

extern const char kServerVersion[];

}  // namespace pactory
