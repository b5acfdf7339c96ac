-- Runs, their steps and events, and the lease by which a replica of the store executes one.

-- The state machine, as data: the trigger below refuses every other change of status.
CREATE TABLE run_transitions (
  from_status text NOT NULL,
  to_status   text NOT NULL,
  PRIMARY KEY (from_status, to_status)
);
INSERT INTO run_transitions (from_status, to_status) VALUES
  ('queued', 'in_progress'),
  ('queued', 'cancelled'),
  ('queued', 'expired'),
  ('queued', 'failed'),
  ('in_progress', 'requires_action'),
  ('in_progress', 'cancelling'),
  ('in_progress', 'completed'),
  ('in_progress', 'incomplete'),
  ('in_progress', 'failed'),
  ('in_progress', 'expired'),
  ('requires_action', 'queued'),
  ('requires_action', 'cancelled'),
  ('requires_action', 'expired'),
  ('requires_action', 'failed'),
  ('cancelling', 'cancelled'),
  ('cancelling', 'expired'),
  ('cancelling', 'failed');

CREATE TABLE runs (
  tenant_id      text        NOT NULL,
  id             text        NOT NULL,
  thread_id      text        NOT NULL,
  created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  status         text        NOT NULL DEFAULT 'queued' CHECK (status IN (
                   'queued', 'in_progress', 'requires_action', 'cancelling', 'cancelled', 'failed',
                   'completed', 'incomplete', 'expired')),
  expires_at     timestamptz NOT NULL,
  started_at     timestamptz,
  ended_at       timestamptz,             -- set with the terminal status
  params         jsonb       NOT NULL,    -- the Run message as it was created
  metadata       jsonb       NOT NULL DEFAULT '{}',
  outcome        jsonb       NOT NULL DEFAULT '{}',  -- Run: last_error, incomplete_reason, usage,
                                                     -- required_tool_calls
  leg            int         NOT NULL DEFAULT 1,  -- one generation each; a submit begins the next
  last_event_seq bigint      NOT NULL DEFAULT 0,  -- events are numbered under this row's lock
  next_step      int         NOT NULL DEFAULT 1,
  -- The lease: who executes, until when (by the database's clock), and the fence that every write of
  -- the executor carries. Taking the lease raises the fence, so a late writer finds no row.
  fence          bigint      NOT NULL DEFAULT 0,
  lease_owner    text,
  lease_until    timestamptz,
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, thread_id, id),
  FOREIGN KEY (tenant_id, thread_id) REFERENCES threads (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX runs_by_time ON runs (tenant_id, thread_id, created_at, id);
CREATE INDEX runs_active ON runs (created_at)
  WHERE status IN ('queued', 'in_progress', 'cancelling', 'requires_action');
CREATE UNIQUE INDEX runs_one_active_per_thread ON runs (tenant_id, thread_id)
  WHERE status IN ('queued', 'in_progress', 'cancelling', 'requires_action');

CREATE FUNCTION runs_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.status IN ('cancelled', 'failed', 'completed', 'incomplete', 'expired') THEN
    -- Only metadata may still change.
    IF to_jsonb(NEW) - 'metadata' IS DISTINCT FROM to_jsonb(OLD) - 'metadata' THEN
      RAISE EXCEPTION 'run % has ended as % and cannot change', OLD.id, OLD.status
        USING ERRCODE = 'RN001';
    END IF;
  ELSIF NEW.status <> OLD.status AND NOT EXISTS (
      SELECT 1 FROM run_transitions
       WHERE from_status = OLD.status AND to_status = NEW.status) THEN
    RAISE EXCEPTION 'run % cannot go from % to %', OLD.id, OLD.status, NEW.status
      USING ERRCODE = 'RN002';
  ELSIF NEW.fence < OLD.fence OR NEW.last_event_seq < OLD.last_event_seq OR NEW.leg < OLD.leg THEN
    RAISE EXCEPTION 'run %: fence, event number and leg only grow', OLD.id
      USING ERRCODE = 'RN003';
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER runs_guard BEFORE UPDATE ON runs FOR EACH ROW EXECUTE FUNCTION runs_guard();

CREATE TABLE run_steps (
  tenant_id  text        NOT NULL,
  run_id     text        NOT NULL,
  id         text        NOT NULL,
  seq        int         NOT NULL,          -- from 1, per run
  leg        int         NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  open       boolean     NOT NULL DEFAULT true,  -- status in_progress
  body       jsonb       NOT NULL,
  PRIMARY KEY (tenant_id, run_id, id),
  UNIQUE (tenant_id, run_id, seq),
  FOREIGN KEY (tenant_id, run_id) REFERENCES runs (tenant_id, id) ON DELETE CASCADE
);

-- What listeners are told, in order. `payload` is the RunEvent message in its binary form.
CREATE TABLE run_events (
  tenant_id  text        NOT NULL,
  run_id     text        NOT NULL,
  seq        bigint      NOT NULL,          -- from 1, without gaps
  event      text        NOT NULL,
  payload    bytea       NOT NULL,
  PRIMARY KEY (tenant_id, run_id, seq),
  FOREIGN KEY (tenant_id, run_id) REFERENCES runs (tenant_id, id) ON DELETE CASCADE
);

-- What a successor needs to continue a leg bit-identically: the tokens already generated, and the
-- revision of the model that generated them. The seed follows from the run's id and leg. The key also
-- tells a commit whose answer was lost: writing the same tokens again fails. Gone when the leg ends.
CREATE TABLE run_tokens (
  tenant_id      text    NOT NULL,
  run_id         text    NOT NULL,
  leg            int     NOT NULL,
  next_delta_seq bigint  NOT NULL,          -- after these tokens
  token_ids      int[]   NOT NULL,
  model_revision text    NOT NULL,
  PRIMARY KEY (tenant_id, run_id, leg, next_delta_seq),
  FOREIGN KEY (tenant_id, run_id) REFERENCES runs (tenant_id, id) ON DELETE CASCADE
);
