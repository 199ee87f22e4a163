#include "server/blob_access.h"

#include "base/error.h"
#include "base/status_macros.h"
#include "server/request_fields.h"

namespace pactory {

absl::StatusOr<BlobOwner> FindBlobOwner(const Caller& caller, const std::optional<v1::LeaseToken>& token,
                                        LeaseStore& leases) {
  BlobOwner owner;
  if (caller.kind == TokenKind::kUser) {
    if (token.has_value()) return InvalidField("lease", "must not be set by users; only workers hold leases");
    owner.tenant_id = caller.tenant_id;
    return owner;
  }
  if (!token.has_value()) return InvalidField("lease", "must be set by workers, to the lease of the job they work on");
  PACTORY_ASSIGN_OR_RETURN(owner.lease, ParseLease(*token));
  PACTORY_ASSIGN_OR_RETURN(owner.tenant_id, leases.TenantOf(*owner.lease));
  return owner;
}

}  // namespace pactory
