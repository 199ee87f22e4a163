ALTER TABLE job DROP COLUMN stop_training;
