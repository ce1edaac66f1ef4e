-- The table of the packet filter that this service has loaded: the boot in which it did so last, and the ports
-- that the table guards, by protocol. No row if it has loaded none, or has deleted it.
create table fence_table (
    only integer primary key check (only = 1),
    boot text not null,
    ports text not null
) strict;
