// The page for people at `/`: one self-contained HTML file that reads /status every two seconds. A constant.
#pragma once

namespace pactory {

extern const char kStatusPage[];

}  // namespace pactory
