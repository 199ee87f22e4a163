#include "server/version.h"

namespace pactory {

const char kServerVersion[] = PACTORY_VERSION;

}  // namespace pactory
