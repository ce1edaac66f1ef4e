-- What was learned of ports: counts that fade, and what they are made of, so that they can be
-- computed again: attempts (in 0001), snapshots with what they saw, and late conflicts.

-- Attempts up to attempt_seq are in the counts on file. pending_seq: what attempt_seq becomes once
-- the round of writing that is under way is complete.
create table history_state (
    only integer primary key check (only = 1),
    attempt_seq integer not null check (attempt_seq >= 0),
    pending_seq integer not null check (pending_seq >= 0)
) strict;

insert into history_state (only, attempt_seq, pending_seq) values (1, 0, 0);

-- One row an address group and protocol. Counts were true at at_ms and fade from then on.
create table history_page (
    id integer primary key,
    addresses text not null check (json_valid(addresses)),
    protocol text not null check (protocol in ('tcp', 'udp')),
    at_ms integer not null,
    checks real not null check (checks >= 0),
    checks_total integer not null check (checks_total >= 0)
) strict;

create table history_port (
    page integer not null,
    port integer not null check (port between 1 and 65535),
    at_ms integer not null,
    good real not null check (good >= 0),
    failed real not null check (failed >= 0),
    busy real not null check (busy >= 0),
    late real not null check (late >= 0),
    released_at_ms integer,
    good_total integer not null check (good_total >= 0),
    failed_total integer not null check (failed_total >= 0),
    busy_total integer not null check (busy_total >= 0),
    late_total integer not null check (late_total >= 0),
    occupant text,
    primary key (page, port)
) strict, without rowid;

-- Each look at the sockets of others.
create table snapshot (
    seq integer primary key,
    at_ms integer not null
) strict;

-- Who was seen on a port that some pool may grant, from one snapshot to another without a gap.
-- last_seq is null while it is still seen.
create table sighting (
    protocol text not null check (protocol in ('tcp', 'udp')),
    port integer not null check (port between 1 and 65535),
    address text not null,
    scope integer not null,
    dual integer not null check (dual in (0, 1)),
    first_seq integer not null,
    last_seq integer check (last_seq >= first_seq),
    uid integer,
    command text,
    primary key (protocol, port, address, scope, dual, first_seq)
) strict, without rowid;

create index sighting_open on sighting (first_seq) where last_seq is null;

-- Outsiders found on a leased port.
create table late_conflict (
    seq integer primary key,
    at_ms integer not null,
    lease blob not null check (length(lease) = 16),
    protocol text not null check (protocol in ('tcp', 'udp')),
    port integer not null check (port between 1 and 65535),
    addresses text not null check (json_valid(addresses)),
    occupant text not null
) strict;
