//! Inputs of operations: read from a request by the service, written into one by the client.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::body;
use super::description::Description;
use crate::answers::problem::{Code, Problem};
use crate::domain::lease::{AllocationId, LeaseId};
use crate::domain::port::{Port, PortError, Protocol};
use crate::domain::retry::{RetryKey, RetryKeyError};

/// Header of a client's own key for one request (draft-ietf-httpapi-idempotency-key-header).
pub const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// Parameters of a path; empty if the path has no such parameter.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PathParameters {
    pub id: String,
    pub protocol: String,
    pub port: String,
    pub name: String,
    pub host: String,
}

/// A request as the service received it.
pub struct Given<'a> {
    pub path: PathParameters,
    /// Query without its question mark.
    pub query: &'a str,
    /// Value of the header [`IDEMPOTENCY_KEY`].
    pub key: Option<&'a [u8]>,
    /// Media type of the body.
    pub content_type: Option<&'a str>,
    /// Body; empty if there is none.
    pub body: &'a [u8],
}

/// A request as the client sends it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Path and query.
    pub target: String,
    pub body: Option<Vec<u8>>,
}

impl Sent {
    /// A request to this path, whose parameters are still to be filled in.
    pub fn to(path: &str) -> Self {
        Self {
            target: path.to_owned(),
            body: None,
        }
    }

    fn fill(&mut self, name: &str, value: &impl ToString) {
        self.target = self
            .target
            .replace(&format!("{{{name}}}"), &value.to_string());
    }
}

/// The input of an operation, or a part of it.
pub trait Input: Sized {
    /// Whether the service has to read the body.
    const READS_BODY: bool = false;

    fn read(given: &Given<'_>) -> Result<Self, Problem>;

    fn write(&self, sent: &mut Sent) -> Result<(), Problem>;

    /// Adds the schemas and the problems of this input.
    fn describe(described: Description) -> Description {
        described
    }
}

/// No input; a query is ignored.
impl Input for () {
    fn read(_: &Given<'_>) -> Result<Self, Problem> {
        Ok(())
    }

    fn write(&self, _: &mut Sent) -> Result<(), Problem> {
        Ok(())
    }
}

impl<A: Input, B: Input> Input for (A, B) {
    const READS_BODY: bool = A::READS_BODY || B::READS_BODY;

    fn read(given: &Given<'_>) -> Result<Self, Problem> {
        Ok((A::read(given)?, B::read(given)?))
    }

    fn write(&self, sent: &mut Sent) -> Result<(), Problem> {
        self.0.write(sent)?;
        self.1.write(sent)
    }

    fn describe(described: Description) -> Description {
        B::describe(A::describe(described))
    }
}

/// The query of a request.
#[derive(Debug, Clone, Default)]
pub struct Query<T>(pub T);

impl<T: Serialize + DeserializeOwned + JsonSchema> Input for Query<T> {
    fn read(given: &Given<'_>) -> Result<Self, Problem> {
        let read = serde_urlencoded::from_str(given.query).map(Self);
        read.map_err(|error| Problem::invalid(format!("the query: {error}")))
    }

    fn write(&self, sent: &mut Sent) -> Result<(), Problem> {
        let query = serde_urlencoded::to_string(&self.0).map_err(Problem::invalid)?;
        if !query.is_empty() {
            sent.target = format!("{}?{query}", sent.target);
        }
        Ok(())
    }

    fn describe(described: Description) -> Description {
        described.query::<T>()
    }
}

/// The JSON body of a request; the default of `T` if there is none.
#[derive(Debug, Clone, Default)]
pub struct Body<T>(pub T);

impl<T: Serialize + DeserializeOwned + Default + JsonSchema> Input for Body<T> {
    const READS_BODY: bool = true;

    fn read(given: &Given<'_>) -> Result<Self, Problem> {
        body::json(given.content_type, given.body).map(Self)
    }

    fn write(&self, sent: &mut Sent) -> Result<(), Problem> {
        sent.body = Some(serde_json::to_vec(&self.0).map_err(Problem::invalid)?);
        Ok(())
    }

    fn describe(described: Description) -> Description {
        described.body::<T>()
    }
}

/// The key of a request; it is never sent by this client, whose connection tells it the outcome.
#[derive(Debug, Clone, Default)]
pub struct Key(pub Option<RetryKey>);

impl Input for Key {
    fn read(given: &Given<'_>) -> Result<Self, Problem> {
        let Some(value) = given.key else {
            return Ok(Self(None));
        };
        let key = std::str::from_utf8(value).map_or(Err(RetryKeyError), str::parse);
        Ok(Self(Some(key.map_err(Problem::invalid)?)))
    }

    fn write(&self, _: &mut Sent) -> Result<(), Problem> {
        Ok(())
    }
}

impl Input for LeaseId {
    fn read(given: &Given<'_>) -> Result<Self, Problem> {
        let text = &given.path.id;
        text.parse().map_err(|_| {
            let detail = format!("\"{text}\" is no lease id; `portbook list` shows them");
            Problem::new(Code::NotFound, detail)
        })
    }

    fn write(&self, sent: &mut Sent) -> Result<(), Problem> {
        sent.fill("id", self);
        Ok(())
    }
}

impl Input for AllocationId {
    fn read(given: &Given<'_>) -> Result<Self, Problem> {
        let id = given.path.id.parse();
        id.map_err(|_| Problem::new(Code::NotFound, "there is no such allocation"))
    }

    fn write(&self, sent: &mut Sent) -> Result<(), Problem> {
        sent.fill("id", self);
        Ok(())
    }
}

/// A port with its protocol, both in the path.
#[derive(Debug, Clone, Copy)]
pub struct PortPath {
    pub protocol: Protocol,
    pub port: Port,
}

impl Input for PortPath {
    fn read(given: &Given<'_>) -> Result<Self, Problem> {
        let word = &given.path.protocol;
        let protocol = word.parse();
        Ok(Self {
            protocol: protocol
                .map_err(|_| Problem::invalid(format!("\"{word}\" is neither tcp nor udp")))?,
            port: TcpPortPath::read(given)?.0,
        })
    }

    fn write(&self, sent: &mut Sent) -> Result<(), Problem> {
        sent.fill("protocol", &self.protocol);
        sent.fill("port", &self.port);
        Ok(())
    }
}

/// A TCP port, whose path names no protocol.
#[derive(Debug, Clone, Copy)]
pub struct TcpPortPath(pub Port);

impl Input for TcpPortPath {
    fn read(given: &Given<'_>) -> Result<Self, Problem> {
        let port = given.path.port.parse();
        Ok(Self(
            port.map_err(|error: PortError| Problem::invalid(error))?,
        ))
    }

    fn write(&self, sent: &mut Sent) -> Result<(), Problem> {
        sent.fill("port", &self.0);
        Ok(())
    }
}
