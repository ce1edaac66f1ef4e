-- What tells whether a lease may end by itself.
-- Since when its owner is away; null while somebody uses it, or where that is not known.
alter table lease add column idle_since_ms integer;
-- Whether it was reserved by hand, so that it never gives way to another request.
alter table lease add column by_hand integer not null default 0 check (by_hand in (0, 1));
-- The device that scope_dir was seen on (st_dev of its parent); null as long as it was not seen.
alter table lease add column scope_device integer;
