-- A past of ?1 attempts, two for each allocation, one lease for each allocation, all ended.
begin;

create temp table past as
with recursive step (n) as (select 1 union all select n + 1 from step where n < ?1 / 2)
select n, randomblob(16) as allocation, randomblob(16) as lease from step;

insert into allocation (id, at_ms, uid, pool, attempt_count, duration_us, explanation)
select allocation, n, 0, 'default', 1, 100, '{"strategy":"ordered"}' from past;

insert into lease (
    id, allocation, pool, protocol, port, addresses, uid, handover, guard, state, granted_at_ms,
    ended_at_ms, boot_id, labels, revision
)
select
    lease, allocation, 'default', 'tcp', 20000 + n % 10000, '[]', 0, 'gate', 'none', 'released', n,
    n, 'past', '{}', 1
from past;

insert into attempt (
    allocation, at_ms, pool, interface, address, protocol, port, outcome, duration_ns
)
select
    allocation, n, 'default', 'any', value, 'tcp', 20000 + n % 10000, 'bound', 5000
from past, json_each('["0.0.0.0", "::"]');

commit;
