//! axum on a port of its own: the same one every time, the next free one where that is taken.
//!
//! `axum [PREFERRED]`

use std::error::Error;

use axum::Router;
use axum::routing::get;
use portbook::Portbook;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let preferred = std::env::args()
        .nth(1)
        .map_or(Ok(8888), |port| port.parse())?;
    let book = Portbook::open()?;
    let listener = book.prefer(preferred).name("axum").listen_async().await?;
    println!("http://{}", listener.local_addr()?);

    let app = Router::new().route("/", get(|| async { "hello from axum\n" }));
    // axum takes the socket; the lease stays here, and is given up once the server has ended.
    let (socket, lease) = listener.into_parts();
    axum::serve(socket, app)
        .with_graceful_shutdown(async { drop(tokio::signal::ctrl_c().await) })
        .await?;
    book.release_async(lease.keep().id).await?;
    Ok(())
}
