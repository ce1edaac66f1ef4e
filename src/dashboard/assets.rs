//! The stylesheet, the scripts and the icon, embedded in the program. Their addresses have a hash of
//! the content, so that browsers can cache them for ever and still load those of a new version.

use actix_web::HttpResponse;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{Path, Query};
use serde::Deserialize;

use crate::api::problem::{Code, Problem};

struct Asset {
    name: &'static str,
    content_type: &'static str,
    content: &'static [u8],
    version: u64,
}

impl Asset {
    const fn new(name: &'static str, content_type: &'static str, content: &'static [u8]) -> Self {
        Self {
            name,
            content_type,
            content,
            version: fnv1a(content),
        }
    }

    fn version(&self) -> String {
        format!("{:016x}", self.version)
    }
}

const ASSETS: [Asset; 4] = [
    Asset::new(
        "portbook.css",
        "text/css; charset=utf-8",
        include_bytes!("../../static/portbook.css"),
    ),
    Asset::new(
        "early.js",
        "text/javascript; charset=utf-8",
        include_bytes!("../../static/early.js"),
    ),
    Asset::new(
        "portbook.js",
        "text/javascript; charset=utf-8",
        include_bytes!("../../static/portbook.js"),
    ),
    Asset::new(
        "favicon.svg",
        "image/svg+xml",
        include_bytes!("../../static/favicon.svg"),
    ),
];

/// FNV-1a with 64 bits, which distinguishes versions and is no protection.
const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut index = 0;
    while index < bytes.len() {
        hash = (hash ^ bytes[index] as u64).wrapping_mul(0x0100_0000_01b3);
        index += 1;
    }
    hash
}

fn find(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.name == name)
}

/// Address of an asset.
pub(super) fn url(name: &str) -> String {
    let version = find(name).map(Asset::version).unwrap_or_default();
    format!("/static/{name}?v={version}")
}

/// `GET /static/{file}?v=…`
#[derive(Debug, Deserialize)]
pub(super) struct AssetQuery {
    v: Option<String>,
}

/// Serves an asset. It may be cached for ever if the address has its current version.
pub(super) async fn serve(
    name: Path<String>,
    wanted: Query<AssetQuery>,
) -> Result<HttpResponse, Problem> {
    let asset = find(&name).ok_or_else(|| {
        let known = ASSETS.map(|asset| asset.name).join(", ");
        Problem::new(Code::NotFound, format!("the static files are {known}"))
    })?;
    let exact = wanted.v.as_deref() == Some(&asset.version());
    let keep = if exact {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    Ok(HttpResponse::Ok()
        .content_type(asset.content_type)
        .insert_header((CACHE_CONTROL, keep))
        .body(asset.content))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep_of(name: &str, version: Option<String>) -> String {
        let wanted = Query(AssetQuery { v: version });
        let answer = serve(Path::from(name.to_owned()), wanted);
        let answer = futures_util::FutureExt::now_or_never(answer).unwrap();
        let answer = answer.unwrap();
        let keep = answer.headers().get(CACHE_CONTROL).unwrap();
        keep.to_str().unwrap().to_owned()
    }

    #[test]
    fn only_the_current_version_is_cached() {
        let version = url("portbook.css").split_once("?v=").unwrap().1.to_owned();
        assert!(keep_of("portbook.css", Some(version)).contains("immutable"));
        assert_eq!(keep_of("portbook.css", None), "no-cache");
        assert_eq!(keep_of("portbook.css", Some("old".into())), "no-cache");
    }

    #[test]
    fn assets_load_nothing_from_other_hosts() {
        for asset in &ASSETS {
            let text = std::str::from_utf8(asset.content).unwrap();
            let text = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains("://"), "{}", asset.name);
        }
    }
}
