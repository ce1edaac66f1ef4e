-- The way to a lease's port from the one that was wanted, as JSON, and whether a release made its
-- name forget the port.
alter table lease add column moved text check (moved is null or json_valid(moved));
alter table lease add column forgotten integer not null default 0 check (forgotten in (0, 1));
