-- What happened to a job, append-only.
CREATE TABLE job_event (
  job_id uuid NOT NULL REFERENCES job (id) ON DELETE CASCADE,
  sequence bigint GENERATED ALWAYS AS IDENTITY,
  time timestamptz NOT NULL DEFAULT clock_timestamp(),
  -- CREATED, LEASED, RELEASED, WORKER_LOST, CANCEL_REQUESTED or a final state.
  kind text NOT NULL,
  fence bigint NOT NULL,
  worker_id uuid,
  PRIMARY KEY (job_id, sequence)
);

-- Numbers of training, append-only. Sequence numbers of one job appear in order: each writer holds the job's lease row.
CREATE TABLE job_metric (
  job_id uuid NOT NULL REFERENCES job (id) ON DELETE CASCADE,
  sequence bigint GENERATED ALWAYS AS IDENTITY,
  fence bigint NOT NULL,
  batch bigint NOT NULL,
  name text NOT NULL,
  step bigint NOT NULL,
  value double precision NOT NULL,
  time timestamptz NOT NULL,
  PRIMARY KEY (job_id, sequence)
);

-- Published files. The rows appear in the transaction that makes the job SUCCEEDED.
CREATE TABLE artifact (
  job_id uuid NOT NULL REFERENCES job (id) ON DELETE CASCADE,
  name text NOT NULL,
  fence bigint NOT NULL,
  blob_id uuid NOT NULL REFERENCES blob (id),
  media_type text NOT NULL,
  PRIMARY KEY (job_id, name)
);
CREATE INDEX artifact_blob ON artifact (blob_id);
