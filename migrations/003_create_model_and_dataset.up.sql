CREATE TABLE model (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  tenant_id uuid NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
  display_name text NOT NULL,
  blob_id uuid NOT NULL REFERENCES blob (id),
  -- pactory.v1.Model with what the inspection of the file found.
  facts bytea NOT NULL,
  request_id uuid,
  request_sha256 text,
  create_time timestamptz NOT NULL DEFAULT now(),
  UNIQUE (tenant_id, request_id)
);
CREATE INDEX model_newest ON model (tenant_id, create_time DESC, id DESC);
CREATE INDEX model_blob ON model (blob_id);

CREATE TYPE dataset_format AS ENUM ('NPZ', 'TAR');

CREATE TABLE dataset (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  tenant_id uuid NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
  display_name text NOT NULL,
  blob_id uuid NOT NULL REFERENCES blob (id),
  format dataset_format NOT NULL,
  -- Dimensions of one stored sample and whether samples have labels; null where the container doesn't tell.
  sample_dims bigint[],
  labelled boolean,
  request_id uuid,
  request_sha256 text,
  create_time timestamptz NOT NULL DEFAULT now(),
  UNIQUE (tenant_id, request_id)
);
CREATE INDEX dataset_newest ON dataset (tenant_id, create_time DESC, id DESC);
CREATE INDEX dataset_blob ON dataset (blob_id);
