//! Questions and requests to a service: the calls are the same with and without one.
//!
//! `client` lists the living leases; `client NAME` leases a port under a name for a child process,
//! tells why it is this one, makes it last longer, and gives it back.

use std::error::Error;
use std::process::Command;
use std::time::Duration;

use portbook::Portbook;

fn main() -> Result<(), Box<dyn Error>> {
    let book = Portbook::open()?;
    match book.service()? {
        Some(socket) => println!("asking the service at {}", socket.display()),
        None => println!("no service: working on the record itself"),
    }
    if let Some(name) = std::env::args().nth(1) {
        use_one(&book, &name)?;
    }
    for lease in book.leases()? {
        let name = lease.name.as_ref().map_or("-", |name| name.as_str());
        println!("{} {name} {}", lease.url, lease.state.as_str());
    }
    Ok(())
}

fn use_one(book: &Portbook, name: &str) -> Result<(), Box<dyn Error>> {
    let ttl = Duration::from_mins(1);
    let mut lease = book.request().name(name).ttl(ttl).lease()?;
    println!("{name} has port {}", lease.port());
    println!("{}", lease.explain()?.story);

    let mut child = Command::new("sh");
    child.args(["-c", "echo the child was told $PORT"]);
    child.env("PORT", lease.port().to_string()).status()?;

    lease.renew(Some(ttl * 60))?;
    let again = book.lease(lease.id())?;
    println!("it would last until {:?}", again.expires_at);
    lease.release()?;
    Ok(())
}
