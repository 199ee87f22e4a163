#include "server/status_page.h"

namespace pactory {

const char kStatusPage[] =
#include "embedded_status_page.inc"
    ;

}  // namespace pactory
