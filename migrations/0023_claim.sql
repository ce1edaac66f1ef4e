-- Numbers that this host has claimed in its fleet, or may have. A row is on record before its commit is
-- sent. revision and token are 0 until the engine has answered; doubtful is 1 if a commit has no answer.
create table fleet_claim (
    protocol text not null check (protocol in ('tcp', 'udp')),
    port integer not null check (port between 1 and 65535),
    lease blob not null,
    nonce text not null,
    session text not null,
    stage text not null check (stage in ('asked', 'held', 'lost')),
    revision integer not null,
    token integer not null,
    doubtful integer not null check (doubtful in (0, 1)),
    primary key (protocol, port)
) strict, without rowid;
