-- This host in its fleet. instance tells two data directories apart. session, engine_session and boot
-- belong together: the session is renewed after a restart within the same boot. revision is the highest
-- one that the engine has told; a lower one means that it has lost changes.
create table fleet_session (
    only integer primary key check (only = 1),
    instance text not null,
    session text,
    engine_session integer,
    boot text not null,
    revision integer not null check (revision >= 0)
) strict;

-- Keys of names that the engine has, or may have, from this host.
create table fleet_name (
    key text primary key
) strict, without rowid;
