-- Content-addressed within a tenant: sharing across tenants would tell one tenant what another one has.
CREATE TABLE blob (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  tenant_id uuid NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
  sha256 text NOT NULL,
  size_bytes bigint NOT NULL CHECK (size_bytes >= 0),
  create_time timestamptz NOT NULL DEFAULT now(),
  -- Keeps a blob that was just asked for from being collected.
  use_time timestamptz NOT NULL DEFAULT now(),
  -- Null while the upload goes on.
  complete_time timestamptz
);
-- Several uploads of one content may run at a time; the first to finish is the blob.
CREATE UNIQUE INDEX blob_whole ON blob (tenant_id, sha256) WHERE complete_time IS NOT NULL;

CREATE TABLE blob_upload (
  tenant_id uuid NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
  upload_id uuid NOT NULL,
  blob_id uuid NOT NULL REFERENCES blob (id) ON DELETE CASCADE,
  committed_size bigint NOT NULL DEFAULT 0,
  update_time timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, upload_id)
) WITH (fillfactor = 50);
CREATE INDEX blob_upload_blob ON blob_upload (blob_id);

-- Chunk `index` holds bytes [index * 1 MiB, (index + 1) * 1 MiB); only the last one is shorter.
CREATE TABLE blob_chunk (
  blob_id uuid NOT NULL REFERENCES blob (id) ON DELETE CASCADE,
  index integer NOT NULL,
  crc32c bigint NOT NULL,
  data bytea NOT NULL CHECK (octet_length(data) BETWEEN 1 AND 1048576),
  PRIMARY KEY (blob_id, index)
);
-- Weights and images don't compress: trying costs half the write speed.
ALTER TABLE blob_chunk ALTER COLUMN data SET STORAGE EXTERNAL;
