//! Requests for the services of the project around the current directory.

use std::path::PathBuf;

use super::variables::Asked;
use super::{Failure, Global, folder};
use crate::answers::document::{LeaseRequest, ScopeWord};
use crate::config::{PROJECT_FILE, Project, Service, Sources, Tree};
use crate::domain::lease::Name;
use crate::domain::placeholder::{Piece, pieces};

/// The project around the current directory, and the folder that its names belong to.
pub(super) fn tree() -> Result<Tree, Failure> {
    let here = std::env::current_dir()
        .and_then(|dir| dir.canonicalize())
        .map_err(|error| Failure::other(format!("cannot read the current directory: {error}")))?;
    let uid = rustix::process::geteuid().as_raw();
    Ok(Tree::of(&here, std::env::home_dir().as_deref(), uid))
}

/// Folder that names of scope `dir` belong to.
pub(super) fn scope() -> Result<PathBuf, Failure> {
    let tree = tree()?;
    tell_ignored(&tree);
    Ok(tree.scope)
}

fn tell_ignored(tree: &Tree) {
    if let Some((file, uid)) = &tree.ignored {
        let file = folder::shown(file);
        super::note(&format!(
            "{file} belongs to uid {uid}, so it is ignored: a project file is yours or root's"
        ));
    }
}

/// Reads the project around the current directory. `None` if there is none.
pub(super) fn look(global: &Global) -> Result<Option<Project>, Failure> {
    let sources = Sources::from_process(global.flags());
    let tree = tree()?;
    tell_ignored(&tree);
    Ok(crate::config::project(&tree, &sources)?)
}

/// Reads the project around the current directory; without one the command fails.
pub(super) fn find(global: &Global) -> Result<Project, Failure> {
    look(global)?.ok_or_else(|| {
        Failure::usage(format!(
            "no {PROJECT_FILE} here or above, up to the root of the git work tree, or without git \
             up to your home directory: it says what a project needs, such as\n[services.web]\n\
             prefer = 3000"
        ))
    })
}

pub(super) fn service<'a>(project: &'a Project, name: &Name) -> Result<&'a Service, Failure> {
    let found = project.services.iter().find(|known| known.name == *name);
    found.ok_or_else(|| {
        let known: Vec<&str> = project.services.iter().map(|it| it.name.as_str()).collect();
        let has = if known.is_empty() {
            format!("it has none yet: [services.{name}] begins one")
        } else {
            format!("it has: {}", known.join(", "))
        };
        let file = project.file.display();
        Failure::usage(format!("{file} has no service {name}; {has}"))
    })
}

/// Completes a request for one service and the project's folder. Values of `wanted` come first,
/// then those of the project file.
pub(super) fn request(project: &Project, service: &Service, wanted: LeaseRequest) -> LeaseRequest {
    let placed = wanted.port.is_some() || wanted.prefer.is_some();
    let unless_placed = |port: Option<crate::domain::port::Port>| {
        port.filter(|_| !placed).map(crate::domain::port::Port::get)
    };
    LeaseRequest {
        names: vec![service.name.clone()],
        scope: Some(ScopeWord::Dir),
        directory: project.file.parent().map(ToOwned::to_owned),
        pool: wanted.pool.or_else(|| service.pool.clone()),
        port: wanted.port.or(unless_placed(service.port)),
        prefer: wanted.prefer.or(unless_placed(service.prefer)),
        ranges: if wanted.port.is_some() {
            wanted.ranges
        } else {
            wanted.ranges.or_else(|| service.range.clone())
        },
        count: wanted.count.or(service.count),
        block: wanted.block.or(service.block),
        protocol: wanted.protocol.or(service.protocol),
        interfaces: if wanted.interfaces.is_empty() {
            service.interfaces.clone()
        } else {
            wanted.interfaces
        },
        strategy: wanted.strategy.or(service.strategy),
        handover: wanted.handover.or(service.handover),
        ttl: wanted.ttl.or(service.ttl),
        ..wanted
    }
}

/// Reservations for the services that `named`, or the variables of `asked`, refer to. Their ports
/// are the same whether or not their programs run.
pub(super) fn referred_to(project: &Project, asked: &[Asked], named: &[Name]) -> Vec<Asked> {
    let own: Vec<&Service> = asked.iter().filter_map(|it| it.service.as_ref()).collect();
    let texts = own.iter().flat_map(|service| service.wishes.env.values());
    let mut wanted = named.to_vec();
    wanted.extend(
        texts
            .flat_map(|text| pieces(text))
            .filter_map(|piece| match piece {
                Piece::Place(placeholder, _) => placeholder.name,
                _ => None,
            }),
    );
    let others = project.services.iter().filter(|service| {
        wanted.contains(&service.name) && own.iter().all(|known| known.name != service.name)
    });
    let reserved = others.map(|service| {
        let reservation = LeaseRequest {
            reserve: true,
            ..LeaseRequest::default()
        };
        Asked {
            request: request(project, service, reservation),
            service: Some(service.clone()),
            only_referred_to: true,
        }
    });
    reserved.collect()
}
