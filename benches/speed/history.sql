-- A past of ?1 attempts in the twenty days before ?2 (milliseconds), two for each allocation, one
-- of fifty refused; the ids have the times of their rows, as those of the service do.
begin;

create temp table past as
with recursive step (n) as (select 1 union all select n + 1 from step where n < ?1 / 2)
select
    n, ?2 - 1728000000 + n * 1728000000 / (?1 / 2) as at_ms, 20000 + abs(random()) % 5000 as port,
    hex(randomblob(10)) as allocation, hex(randomblob(10)) as lease
from step;

insert into allocation (
    id, at_ms, uid, pool, attempt_count, duration_us, explanation, random_would_meet, granted_count
)
select
    unhex(format('%012x', at_ms) || allocation), at_ms, 0, 'default', 1, 100,
    '{"strategy":"ordered","interfaces":[],"addresses":[],"ranges":"20000-24999","ports":5000,"excluded":[],"random_would_meet":0.03,"tried":[20000],"granted":[20000],"notes":[]}',
    0.03, 1
from past;

insert into lease (
    id, allocation, pool, protocol, port, addresses, uid, handover, guard, state, granted_at_ms,
    ended_at_ms, boot_id, labels, revision
)
select
    unhex(format('%012x', at_ms) || lease), unhex(format('%012x', at_ms) || allocation), 'default',
    'tcp', port, '[]', 0, 'gate', 'none', 'released', at_ms, at_ms + n % 5000, 'past', '{}', 1
from past;

insert into attempt (
    allocation, at_ms, pool, interface, address, protocol, port, outcome, errno, duration_ns, occupant,
    strategy, uid
)
select
    unhex(format('%012x', at_ms) || allocation), at_ms, 'default', 'any', value, 'tcp', port,
    iif(n % 50 = 0, 'in_use', 'bound'), iif(n % 50 = 0, 98, null), 5000,
    iif(n % 50 = 0, '{"pid":7,"uid":0,"command":"node","state":"listening"}', null),
    'ordered', 0
from past, json_each('["0.0.0.0", "::"]');

insert into late_conflict (at_ms, lease, protocol, port, addresses, occupant)
select at_ms, unhex(format('%012x', at_ms) || lease), 'tcp', port, '[]', 'node (pid 7)'
from past where n % 40 = 0;

commit;
