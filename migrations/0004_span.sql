-- The span of its allocation, so that what happens to a lease later can be linked to where it was
-- granted: 16 hex digits, where trace_id is there.
alter table lease add column span_id text;
