-- Names are looked up for one user, in time that does not depend on others' leases of the same name.
drop index lease_name;
create index lease_name on lease (name, uid, id) where name is not null;
