//! `/api/v1/logins`: a way for a browser into the console.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::web::Data;

use super::AppState;
use super::respond::respond;
use crate::access::session::CODE_LASTS;
use crate::access::{ConsoleAuth, Viewer};
use crate::answers::logins::LoginDocument;
use crate::answers::problem::{Code, Problem};

/// Makes a one-time code for a session of the caller.
pub async fn create(
    face: Data<AppState>,
    door: Data<Arc<ConsoleAuth>>,
    viewer: Viewer,
) -> Result<HttpResponse, Problem> {
    let uid = viewer.caller()?.uid;
    let code = door.sessions.invite(uid).map_err(|error| {
        tracing::error!(%error, "the kernel gives no random numbers; no login was made");
        Problem::new(Code::HostError, "the kernel gives no random numbers")
    })?;
    let path = format!("/login?code={code}");
    let console = face.console.get();
    Ok(respond(&LoginDocument {
        url: console.map(|console| format!("{console}{path}")),
        path,
        lasts_s: CODE_LASTS.as_secs(),
    }))
}
