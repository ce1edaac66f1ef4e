//! A console that wants port 8888, takes the next free one where that is taken, and says which.
//!
//! ```text
//! console                     8888, then 8889, … twenty in all; the same one next time
//! console PREFERRED [NAME]    the same from another port on, or under another name
//! console --port PORT         exactly this port, or an error that names who has it
//! ```

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use portbook::{Listener, PortRequest, Portbook};

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("console: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Box<dyn Error>> {
    let listener = listen()?;
    for attempt in listener.lease().conflicts() {
        eprintln!("port {} is taken", attempt.port);
    }
    println!("console on http://{}", listener.local_addr()?);
    for client in listener.incoming() {
        let greeting = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello from the console\n";
        // A client that hangs up has had enough.
        let _ = client?.write_all(greeting.as_bytes());
    }
    Ok(())
}

fn listen() -> Result<Listener, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let book = Portbook::open()?;
    let request = match arguments[..] {
        ["--port", port] => book.port(port.parse()?),
        [] => named(&book, 8888, "console"),
        [preferred] => named(&book, preferred.parse()?, "console"),
        [preferred, name] => named(&book, preferred.parse()?, name),
        _ => return Err("usage: console [PREFERRED [NAME] | --port PORT]".into()),
    };
    Ok(request.listen()?)
}

fn named(book: &Portbook, preferred: u16, name: &str) -> PortRequest {
    book.prefer(preferred).attempts(20).name(name)
}
