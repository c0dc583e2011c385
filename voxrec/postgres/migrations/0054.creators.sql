-- Exports know who created them by id: a name may be given to another token or user later.
-- depends: 0051.call_event_cost

-- Not foreign keys: an export outlives its creator. Both NULL: the token of the settings file, or an export of the former
-- version, which only the role provision may delete.
ALTER TABLE exports ADD COLUMN user_id uuid, ADD COLUMN token_id uuid;
