-- A thread numbers its messages: next_seq is taken under the thread's row lock, which is also what
-- makes "is a run active?" and "add a message" exclude each other.
CREATE TABLE threads (
  tenant_id  text        NOT NULL,
  id         text        NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  next_seq   bigint      NOT NULL DEFAULT 1,
  body       jsonb       NOT NULL,
  PRIMARY KEY (tenant_id, id)
);
CREATE INDEX threads_by_time ON threads (tenant_id, created_at, id);

-- A message of a run is written once, when it is whole: run_id and ordinal make a second writing fail.
CREATE TABLE messages (
  tenant_id  text        NOT NULL,
  thread_id  text        NOT NULL,
  id         text        NOT NULL,
  seq        bigint      NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  run_id     text,
  ordinal    int,
  body       jsonb       NOT NULL,
  PRIMARY KEY (tenant_id, thread_id, id),
  UNIQUE (tenant_id, thread_id, seq),
  UNIQUE (tenant_id, run_id, ordinal),
  CHECK ((run_id IS NULL) = (ordinal IS NULL)),
  FOREIGN KEY (tenant_id, thread_id) REFERENCES threads (tenant_id, id) ON DELETE CASCADE
);
