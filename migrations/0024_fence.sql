-- Time in seconds after which the fleet takes a number back if this host is gone; 0 if no clock does.
alter table fleet_claim add column reclaim_s integer not null default 0 check (reclaim_s >= 0);
