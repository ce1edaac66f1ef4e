-- What hosts of the fleet know of their ports, as they wrote it, and when this host read it. The row of this host
-- itself is what it told them last.
create table fleet_prior (
    host text primary key,
    document blob not null,
    at_ms integer not null
) strict, without rowid;
