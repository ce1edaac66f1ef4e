//! The values of one source, as figment merges them.

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use super::key::Key;

/// The values of one source. A source is as narrow as it can be named: one variable, one flag.
#[derive(Debug)]
pub(super) struct Layer {
    pub metadata: Metadata,
    pub values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.metadata.clone()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// Puts a value into a tree in which it is the only leaf.
pub(super) fn nest(key: &Key, leaf: Value) -> Dict {
    let mut segments = key.segments().iter().rev();
    let last = segments.next().cloned().unwrap_or_default();
    segments.fold(Dict::from([(last, leaf)]), |inner, segment| {
        Dict::from([(segment.clone(), inner.into())])
    })
}
