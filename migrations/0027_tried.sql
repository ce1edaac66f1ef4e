-- Time of the latest attempt that the counts of a port hold. A start replays attempts on record that are later.
-- at_ms is moved by snapshots too, so that an attempt made before one and learned after it was taken for known.
alter table history_port add column tried_ms integer;
update history_port set tried_ms = at_ms;
