-- Bulk exports: durable jobs that write the Recordings of a filter to one file.
-- depends: 0026.stored_objects 0035.users

-- profile_ids: those of the token that created the export, NULL for all. query: the filter. claims identifies the holder
-- of a lease, as in jobs. node: where the file is, if nodes do not share the archive.
CREATE TABLE exports (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    created_by   text NOT NULL,
    profile_ids  uuid[],
    description  text,
    format       text NOT NULL CHECK (format IN ('zip', 'tar')),
    audio        boolean NOT NULL,
    query        jsonb NOT NULL,
    state        text NOT NULL DEFAULT 'pending'
                 CHECK (state IN ('pending', 'running', 'completed', 'failed', 'expired')),
    error        text,
    recordings   bigint NOT NULL DEFAULT 0,
    bytes        bigint NOT NULL DEFAULT 0,
    missing      bigint NOT NULL DEFAULT 0,
    size         bigint,
    sha256       text,
    node         text,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at   timestamptz,
    finished_at  timestamptz,
    expires_at   timestamptz,
    attempts     integer NOT NULL DEFAULT 0,
    claims       integer NOT NULL DEFAULT 0,
    due_at       timestamptz NOT NULL DEFAULT now(),
    leased_until timestamptz
);
CREATE INDEX exports_newest_first ON exports (created_at DESC, id DESC);
CREATE INDEX exports_unfinished ON exports (due_at) WHERE state IN ('pending', 'running');
CREATE INDEX exports_expiry ON exports (expires_at) WHERE state = 'completed';

CREATE TRIGGER exports_erase_response AFTER DELETE ON exports
    FOR EACH ROW EXECUTE FUNCTION voxrec_erase_response();

-- Webhooks of one Profile are told about exports of this Profile only.
CREATE FUNCTION voxrec_export_finished() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM voxrec_webhook(
        'export.' || NEW.state, clock_timestamp(),
        CASE WHEN cardinality(NEW.profile_ids) = 1 THEN NEW.profile_ids[1] END, NULL, NULL, NULL,
        jsonb_build_object(
            'id', NEW.id, 'createdBy', NEW.created_by, 'description', NEW.description, 'state', NEW.state,
            'error', NEW.error, 'format', NEW.format, 'recordings', NEW.recordings, 'missing', NEW.missing,
            'size', NEW.size, 'sha256', NEW.sha256, 'expiresAt', NEW.expires_at),
        FALSE, NULL);
    RETURN NULL;
END
$$;
CREATE TRIGGER exports_finished AFTER UPDATE OF state ON exports
    FOR EACH ROW WHEN (NEW.state IN ('completed', 'failed') AND OLD.state <> NEW.state)
    EXECUTE FUNCTION voxrec_export_finished();
