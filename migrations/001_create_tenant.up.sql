-- Owner of everything a user makes; every such row names its tenant.
CREATE TABLE tenant (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  name text NOT NULL UNIQUE,
  create_time timestamptz NOT NULL DEFAULT now()
);
INSERT INTO tenant (name) VALUES ('default');

CREATE TYPE token_kind AS ENUM ('USER', 'WORKER');

-- The secret itself is shown once and never stored; 32 random bytes need no slow hash.
CREATE TABLE api_token (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  tenant_id uuid REFERENCES tenant (id) ON DELETE CASCADE,
  kind token_kind NOT NULL,
  name text NOT NULL,
  secret_sha256 text NOT NULL UNIQUE,
  create_time timestamptz NOT NULL DEFAULT now(),
  revoke_time timestamptz,
  -- Workers serve every tenant: what they may touch follows from the lease they hold.
  CONSTRAINT api_token_tenant_of_user CHECK ((kind = 'USER') = (tenant_id IS NOT NULL))
);
