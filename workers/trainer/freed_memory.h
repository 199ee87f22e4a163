// How the C library treats freed memory. Used by the subcommands that train. Stateless.
#pragma once

namespace pactory {

/// Keeps freed blocks in the process instead of giving them back to the system: each step of a training needs them again, and
/// fresh pages cost an eighth of a step.
void KeepFreedMemory();

}  // namespace pactory
