-- The ways a job's state moves, in full:
--   PENDING -> RUNNING -> SUCCEEDED | FAILED
--   PENDING -> CANCELLED
--   RUNNING -> CANCELLING -> CANCELLED
--   RUNNING -> PENDING   (worker lost, attempt failed and tried again, or the worker gave the job back)
ALTER TABLE job
  -- Attempts that ended with an error, counted apart from lost_attempts.
  ADD COLUMN failed_attempts integer NOT NULL DEFAULT 0,
  -- A job that ran out of memory is tried once more, with half the batch.
  ADD COLUMN batch_halved boolean NOT NULL DEFAULT false,
  -- Longest time an attempt may show no progress.
  ADD COLUMN stall interval NOT NULL DEFAULT '30 minutes';

ALTER TABLE job_lease
  ADD COLUMN stall interval NOT NULL DEFAULT '30 minutes',
  -- When the attempt counts as stalled; moved by each heartbeat that brings new progress. In no index.
  ADD COLUMN stall_time timestamptz NOT NULL DEFAULT now() + interval '30 minutes';

-- Why, where the kind alone does not tell: the reason and the message of a failed attempt.
ALTER TABLE job_event ADD COLUMN detail text;

-- Checkpoints that a newer one or the job's end has replaced: removed soon, not with the other unused blobs.
CREATE TABLE superseded_checkpoint (
  blob_id uuid PRIMARY KEY REFERENCES blob (id) ON DELETE CASCADE,
  time timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);
