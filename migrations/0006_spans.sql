-- The span of each allocation and attempt within its trace, so that a page can lead to that very
-- place: 16 hex digits, where trace_id is there.
alter table allocation add column span_id text;
alter table attempt add column span_id text;
