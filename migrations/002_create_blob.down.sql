DROP TABLE blob_chunk;
DROP TABLE blob_upload;
DROP TABLE blob;
