// What may refer to a blob: the one list of it. Only for .cc files of storage/. Stateless.
#pragma once

/// SQL: nothing refers to `blob b`.
#define PACTORY_UNREFERENCED                                      \
  "NOT EXISTS (SELECT 1 FROM model WHERE blob_id = b.id) "        \
  "AND NOT EXISTS (SELECT 1 FROM dataset WHERE blob_id = b.id) "  \
  "AND NOT EXISTS (SELECT 1 FROM artifact WHERE blob_id = b.id) " \
  "AND NOT EXISTS (SELECT 1 FROM job WHERE checkpoint_blob_id = b.id)"
