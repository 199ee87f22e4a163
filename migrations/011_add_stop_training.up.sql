ALTER TABLE job
  -- StopTraining asked for the end of the job's training: what it has goes through the rest of the job, in this attempt or the next.
  ADD COLUMN stop_training boolean NOT NULL DEFAULT false;
