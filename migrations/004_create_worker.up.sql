CREATE TABLE worker (
  id uuid PRIMARY KEY,
  display_name text NOT NULL,
  -- pactory.v1.WorkerCapabilities.
  capabilities bytea NOT NULL,
  register_time timestamptz NOT NULL DEFAULT now(),
  -- In no index, so that every update of it stays within its page.
  last_seen_time timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
