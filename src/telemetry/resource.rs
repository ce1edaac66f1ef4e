//! The resource: attributes of the process that makes spans.

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use uuid::{Builder, Uuid};

use super::Options;

const SERVICE_NAME: &str = "service.name";

/// Builds the resource. The standard variables override portbook's defaults, and portbook's own
/// configuration overrides both.
///
/// The SDK's own detectors would let the defaults win.
pub(super) fn of(options: &Options) -> Resource {
    let environment = &options.environment;
    let named = environment.get("OTEL_SERVICE_NAME");
    let given = environment.get("OTEL_RESOURCE_ATTRIBUTES");
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes(defaults(options))
        .with_attributes(given.and_then(attributes).unwrap_or_default())
        .with_attributes(named.map(service_name))
        .with_attributes(options.service_name.as_deref().map(service_name))
        .build()
}

fn defaults(options: &Options) -> [KeyValue; 4] {
    let instance_id = options.instance_id.unwrap_or_else(random_id);
    let host_name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    [
        service_name(env!("CARGO_PKG_NAME")),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", instance_id.to_string()),
        KeyValue::new("host.name", host_name),
    ]
}

fn service_name(name: &str) -> KeyValue {
    KeyValue::new(SERVICE_NAME, name.to_owned())
}

fn random_id() -> Uuid {
    Builder::from_random_bytes(fastrand::u128(..).to_be_bytes()).into_uuid()
}

/// Parses `key=value,key=value`, where a byte may be written as `%2C`. `None` if one pair is
/// invalid: half of a resource would name another service (OpenTelemetry's resource specification).
pub(super) fn attributes(text: &str) -> Option<Vec<KeyValue>> {
    let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=')?;
        let key = decoded(key.trim()).filter(|key| !key.is_empty())?;
        Some(KeyValue::new(key, decoded(value.trim())?))
    };
    pairs.map(pair).collect()
}

/// Decodes `%` and two hexadecimal digits to bytes (RFC 3986, 2.1).
fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use opentelemetry::Key;

    use super::*;

    fn value(key: &'static str, options: &Options) -> String {
        let value = of(options).get(&Key::from_static_str(key));
        value.unwrap().to_string()
    }

    fn with_environment(variables: &[(&str, &str)]) -> Options {
        Options {
            environment: variables.iter().copied().collect(),
            ..Options::default()
        }
    }

    #[test]
    fn the_service_is_called_portbook_by_default() {
        let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=ports, team=a");
        let name = ("OTEL_SERVICE_NAME", "books");
        assert_eq!(value("service.name", &Options::default()), "portbook");
        let options = with_environment(&[attributes]);
        assert_eq!(value("service.name", &options), "ports");
        assert_eq!(value("team", &options), "a");
        let mut options = with_environment(&[attributes, name]);
        assert_eq!(value("service.name", &options), "books");
        options.service_name = Some("mine".to_owned());
        assert_eq!(value("service.name", &options), "mine");
    }

    #[test]
    fn attributes_are_percent_decoded_all_or_none() {
        let text = "team=a%2Cb%3D%25, na%20me=%E2%82%AC,empty=,";
        let found: Vec<(String, String)> = attributes(text)
            .unwrap()
            .into_iter()
            .map(|pair| (pair.key.to_string(), pair.value.to_string()))
            .collect();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            found,
            [pair("team", "a,b=%"), pair("na me", "€"), pair("empty", "")]
        );
        for bad in ["a", "=a", "a=%", "a=%2", "a=%zz", "a=%+1", "a=%ff", "a=1,b"] {
            assert!(attributes(bad).is_none(), "{bad}");
        }
        let half = with_environment(&[("OTEL_RESOURCE_ATTRIBUTES", "service.name=x,b")]);
        assert_eq!(value("service.name", &half), "portbook");
    }

    #[test]
    fn the_resource_has_version_host_and_instance() {
        let options = Options {
            instance_id: Some(Uuid::from_u128(7)),
            ..with_environment(&[("OTEL_RESOURCE_ATTRIBUTES", "host.name=elsewhere")])
        };
        assert_eq!(
            value("service.version", &options),
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(value("host.name", &options), "elsewhere");
        assert!(value("service.instance.id", &options).ends_with("-000000000007"));
        let fresh = Options::default();
        assert_ne!(
            value("service.instance.id", &fresh),
            value("service.instance.id", &fresh)
        );
    }
}
