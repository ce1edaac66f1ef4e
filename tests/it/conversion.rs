//! Conversion of a record of schema 16, killed at any moment.
//!
//! `PORTBOOK_TEST_KILLS=200` kills that many times; by default it is a few.

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::support::{Place, text};

/// Number of kills without the variable.
const KILLS: u64 = 8;

/// Puts the old record in a folder, with each allocation many times.
const RESTORE: &str = r"
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.executescript(open(sys.argv[2]).read())
# No lease lives: a command would look after it.
db.execute('update lease set ended_at_ms = granted_at_ms where ended_at_ms is null')
ids = [row[0] for row in db.execute('select id from allocation')]
made_anew = {'seq': 'null', 'id': 'randomblob(16)', 'name': 'null', 'retry_key': 'null'}
for old in ids * int(sys.argv[3]):
    new = old[:6] + os.urandom(10)
    for table, key in (('allocation', 'id'), ('lease', 'allocation'), ('attempt', 'allocation')):
        columns = [row[1] for row in db.execute(f'pragma table_info({table})')]
        values = ', '.join('?' if c == key else made_anew.get(c, c) for c in columns)
        db.execute(f'insert into {table} select {values} from {table} where {key} = ?', (new, old))
db.commit()
";

/// Prints a digest of the rows of the three tables, wherever they are, and the number of each.
const DIGEST: &str = r"
import hashlib, sqlite3, sys
db = sqlite3.connect(sys.argv[1])
assert db.execute('pragma integrity_check').fetchone()[0] == 'ok'
names = {row[0] for row in db.execute('select name from sqlite_schema')}
for table, columns in (
    ('allocation', 'hex(id), at_ms, uid, pool, refusal, detail, attempt_count, duration_us'),
    ('lease', 'hex(id), hex(allocation), pool, protocol, port, addresses, state, granted_at_ms, ended_at_ms, boot_id, labels, revision'),
    ('attempt', 'seq, hex(allocation), at_ms, pool, interface, address, protocol, port, outcome, errno, occupant, strategy, uid'),
):
    rows = []
    for name in (table, 'old_' + table):
        if name in names:
            rows += db.execute(f'select {columns} from {name}').fetchall()
    rows.sort()
    print(table, len(rows), hashlib.sha256(repr(rows).encode()).hexdigest())
for table in ('allocation_hour', 'lease_day', 'attempt_day'):
    print(table, db.execute(f'select * from {table}').fetchall())
";

fn python(script: &str, arguments: &[&str]) -> String {
    let done = Command::new("python3")
        .args(["-c", script])
        .args(arguments)
        .output()
        .expect("python3 is there");
    assert!(done.status.success(), "{}", text(&done.stderr));
    text(&done.stdout)
}

#[test]
fn killed_conversion_loses_and_doubles_nothing() {
    let place = Place::with_ports(1);
    std::fs::create_dir_all(place.data_dir()).unwrap();
    let file = place.data_dir().join("portbook.db");
    let file = file.to_str().unwrap();
    let record = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixture/record-16.sql");
    let kills = std::env::var("PORTBOOK_TEST_KILLS").map_or(KILLS, |n| n.parse().unwrap());
    python(RESTORE, &[file, record, "100"]);
    let before = python(DIGEST, &[file]);
    for kill in 0..kills {
        let mut portbook = place.command();
        portbook.args(["--json", "list"]).stdout(Stdio::null());
        let mut portbook = portbook.stderr(Stdio::null()).spawn().unwrap();
        // Different moments of the conversion, spread evenly.
        sleep(Duration::from_millis(20 + kill * 37 % 400));
        portbook.kill().unwrap();
        portbook.wait().unwrap();
        assert_eq!(python(DIGEST, &[file]), before, "after kill {kill}");
    }
    place.ok(&["--json", "list"]);
    assert_eq!(python(DIGEST, &[file]), before);
}
