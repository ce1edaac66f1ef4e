//! The look before a host joins: address, certificate, rights, and whether its name is free.

use futures_util::future::try_join_all;

use super::common_name::common_name;
use super::connect::{ConnectError, connect, read};
use super::engine::{Engine, EngineError, SessionId, Step};
use super::host_name;
use super::key::Keys;
use super::session::MOST_TWINS;
use super::value;
use crate::config::Fleet;
use crate::domain::fleet::HostName;

/// A reason against joining.
#[derive(Debug, thiserror::Error)]
pub enum JoinFailure {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("the machine's name is no name of a host: give one with --host")]
    NoName,
    #[error(
        "a host called {host} is in the fleet, at {addresses}; give this host another name with --host"
    )]
    Taken { host: HostName, addresses: String },
}

/// Asks etcd at each address of the settings. Returns the addresses with the reason for which there was no
/// answer; `None` if there was one, even a refusal.
pub async fn look(settings: &Fleet) -> Result<Vec<(String, Option<String>)>, JoinFailure> {
    let host = host_name(settings.host.as_ref()).ok_or(JoinFailure::NoName)?;
    let sessions = Keys::new(&settings.prefix).sessions_of(&host);
    let asked = settings.engine.iter().map(async |address| {
        let alone = Fleet {
            engine: vec![address.clone()],
            ..settings.clone()
        };
        let answer = connect(&alone).await?.list(&sessions, None, 1).await;
        let silence = answer.err().filter(EngineError::may_pass);
        Ok((address.clone(), silence.map(|error| error.to_string())))
    });
    try_join_all(asked).await
}

/// Returns the name by which etcd knows this host: the common name of its certificate. `None` if there is no
/// certificate, or no such name in it.
pub fn certified_as(settings: &Fleet) -> Option<String> {
    let pem = read(settings.certificate.as_ref()?, false).ok()?;
    common_name(std::str::from_utf8(&pem).ok()?)
}

/// Writes and deletes a key below the own session, as this host will. Returns the name of the host.
/// The session of a running service, `own_session`, is no reason against joining.
pub async fn probe(settings: &Fleet, own_session: Option<&str>) -> Result<HostName, JoinFailure> {
    let host = host_name(settings.host.as_ref()).ok_or(JoinFailure::NoName)?;
    let engine = connect(settings).await?;
    let keys = Keys::new(&settings.prefix);
    let told = |error: EngineError| error.with_way_out(&host);
    let sessions = keys.sessions_of(&host);
    let own = engine.list(&sessions, None, MOST_TWINS).await;
    let own = own.map_err(told)?;
    for entry in &own.entries {
        let session = keys.read_session(&entry.key).map(|(_, session)| session);
        if session.is_some() && session == own_session {
            continue;
        }
        let known = value::host(&keys, entry);
        let addresses = known.map(|known| known.addresses.join(" and "));
        let addresses = addresses.filter(|addresses| !addresses.is_empty());
        return Err(JoinFailure::Taken {
            host,
            addresses: addresses.unwrap_or_else(|| "unknown addresses".to_owned()),
        });
    }
    let session = engine.session(settings.session).await?;
    let tried = try_rights(&engine, &keys, &host, session).await;
    engine.end(session).await?;
    tried.map_err(told)?;
    Ok(host)
}

/// The key ends with the session, should the second commit not come to be.
async fn try_rights<E: Engine>(
    engine: &E,
    keys: &Keys,
    host: &HostName,
    session: SessionId,
) -> Result<(), EngineError> {
    let key = keys.session(host, "probe");
    let put = Step::Put {
        key: key.clone(),
        value: "{}".into(),
        session: Some(session),
    };
    engine.commit(Vec::new(), vec![put]).await?;
    engine
        .commit(Vec::new(), vec![Step::Delete { key }])
        .await?;
    Ok(())
}
