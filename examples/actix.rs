//! actix-web on a port of its own: the same one every time, the next free one where that is taken.
//!
//! `actix [PREFERRED]`

use std::error::Error;

use actix_web::{App, HttpServer, web};
use portbook::Portbook;

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let preferred = std::env::args()
        .nth(1)
        .map_or(Ok(8888), |port| port.parse())?;
    let book = Portbook::open()?;
    let listener = book.prefer(preferred).name("actix").listen()?;
    println!("http://{}", listener.local_addr()?);

    // actix makes a copy of the socket for each worker; the port is leased until the process ends.
    let server = HttpServer::new(|| App::new().route("/", web::get().to(greet)));
    server.listen(listener.into_socket())?.run().await?;
    Ok(())
}

async fn greet() -> &'static str {
    "hello from actix\n"
}
