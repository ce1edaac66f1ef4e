//! `service_url`: the address of a service.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::answer::Answer;
use super::super::tool::{Call, Effect, Tool};
use super::word;
use crate::cli::url::{self, UrlArgs};
use crate::cli::{Failure, with_backend};
use crate::domain::port::Port;

/// The service.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::cli::mcp) struct Arguments {
    /// Name of the service, or id of its lease. A name is that of this work tree, else that of the user.
    #[serde(default)]
    name: Option<String>,
    /// Port of its lease, in place of the name.
    #[serde(default)]
    port: Option<Port>,
    /// Path behind host and port, such as /health.
    #[serde(default)]
    path: Option<String>,
    /// Whether to use https rather than http.
    #[serde(default)]
    https: Option<bool>,
}

pub(in crate::cli::mcp) struct ServiceUrl;

impl Tool for ServiceUrl {
    type Arguments = Arguments;
    const NAME: &'static str = "service_url";
    const TITLE: &'static str = "Address of a service";
    const DESCRIPTION: &'static str = "\
Tells the URL of a service by its name, and whether its server listens. Use it in place of a port number from a file \
or from memory: the port may have moved.";
    const EFFECT: Effect = Effect::Reads;

    async fn answer(call: &Call, arguments: Arguments) -> Result<Answer, Failure> {
        let path = arguments.path.as_deref().map(url::path).transpose();
        let args = UrlArgs {
            lease: word(arguments.name, arguments.port)?,
            path: path.map_err(Failure::usage)?,
            https: arguments.https.unwrap_or_default(),
            open: false,
        };
        let loaded = call.global.load()?;
        let living = with_backend(&loaded, async |backend| backend.leases(false).await);
        let found = url::find(&living.await?, &args.lease)?;
        let urls = url::urls(&found, &args)?;
        let mut answer = Answer::new(urls.join(" "));
        for lease in &found {
            answer = answer.says(format!("Port {}: {}.", lease.port, lease.state.describe()));
        }
        if !found
            .iter()
            .all(crate::answers::document::LeaseDocument::is_listened_on)
        {
            answer = answer.next("Call wait_until_serving once its server is started.");
        }
        Ok(answer
            .with("urls", urls)
            .with("leases", call.tree.briefs(&found)))
    }
}
