#include "base/version.h"

namespace pactory {

const char kVersion[] = PACTORY_VERSION;

}  // namespace pactory
