-- Ports that were excluded by hand, beside what the configuration excludes.
create table exclusion (
    protocol text not null check (protocol in ('tcp', 'udp')),
    port integer not null check (port between 1 and 65535),
    reason text,
    uid integer not null,
    at_ms integer not null,
    primary key (protocol, port)
) strict, without rowid;
