-- Allocations, leases and attempts. Ids are UUIDs of version 7, so rows arrive in key order.
-- Times end in _ms (Unix time) or _boot_ms (time since the boot named in boot_id).

create table host (
    only integer primary key check (only = 1),
    machine_id text
) strict;

create table allocation (
    id blob primary key check (length(id) = 16),
    at_ms integer not null,
    uid integer not null,
    pool text not null,
    -- null: granted; else the code of the refusal
    refusal text,
    detail text,
    attempt_count integer not null check (attempt_count >= 0),
    duration_us integer not null check (duration_us >= 0),
    explanation text not null check (json_valid(explanation)),
    trace_id text
) strict, without rowid;

create table lease (
    id blob primary key check (length(id) = 16),
    allocation blob not null check (length(allocation) = 16),
    name text,
    scope_dir text,
    pool text not null,
    protocol text not null check (protocol in ('tcp', 'udp')),
    port integer not null check (port between 1 and 65535),
    addresses text not null check (json_valid(addresses)),
    uid integer not null,
    handover text not null,
    guard text not null,
    state text not null,
    granted_at_ms integer not null,
    ended_at_ms integer,
    boot_id text not null,
    claim_by_boot_ms integer,
    expires_boot_ms integer,
    ttl_ms integer,
    owner text check (owner is null or json_valid(owner)),
    labels text not null check (json_valid(labels)),
    trace_id text,
    -- counts the changes: an older form never overwrites a newer one
    revision integer not null
) strict, without rowid;

create index lease_live on lease (id) where ended_at_ms is null;
create index lease_name on lease (name, id) where name is not null;

create table attempt (
    seq integer primary key,
    allocation blob not null,
    at_ms integer not null,
    pool text not null,
    interface text not null,
    address text not null,
    protocol text not null check (protocol in ('tcp', 'udp')),
    port integer not null check (port between 1 and 65535),
    outcome text not null,
    errno integer,
    duration_ns integer not null check (duration_ns >= 0),
    occupant text check (occupant is null or json_valid(occupant)),
    trace_id text
) strict;

create index attempt_allocation on attempt (allocation);
create index attempt_port on attempt (port, seq);
