//! `/api/v1/logins`: a way for a browser into the console.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::web::Data;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AppState;
use super::problem::{Code, Problem};
use crate::access::session::CODE_LASTS;
use crate::access::{ConsoleAuth, Viewer};

/// A page of the console that logs whoever opens it in, once.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LoginDocument {
    /// The page; none where the console is switched off.
    pub url: Option<String>,
    /// The same without the console's address.
    pub path: String,
    /// For how many seconds it works.
    pub lasts_s: u64,
}

/// Makes a one-time code. The session that it opens acts as whoever asked for it.
pub async fn create(
    face: Data<AppState>,
    door: Data<Arc<ConsoleAuth>>,
    viewer: Viewer,
) -> Result<HttpResponse, Problem> {
    let uid = viewer.caller()?.uid;
    let code = door.sessions.invite(uid).map_err(|error| {
        tracing::error!(%error, "no random numbers are to be had");
        Problem::new(Code::HostError, "the kernel gives no random numbers")
    })?;
    let path = format!("/login?code={code}");
    let console = face.console.get();
    Ok(HttpResponse::Created().json(LoginDocument {
        url: console.map(|console| format!("{console}{path}")),
        path,
        lasts_s: CODE_LASTS.as_secs(),
    }))
}
