//! Who the spans come from: the resource's attributes.

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use uuid::{Builder, Uuid};

use super::Options;

const SERVICE_NAME: &str = "service.name";

/// The resource: portbook's defaults, over them the standard variables, over these what portbook's
/// own configuration names outright.
///
/// It is put together here because the SDK's own detectors would have the defaults win.
pub(super) fn of(options: &Options) -> Resource {
    let environment = &options.environment;
    let named = environment.get("OTEL_SERVICE_NAME");
    let attributes = environment.get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or("");
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes(defaults(options))
        .with_attributes(parse(attributes))
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

/// The pairs of `key=value,key=value`.
fn parse(attributes: &str) -> impl Iterator<Item = KeyValue> {
    attributes.split(',').filter_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        Some(KeyValue::new(
            key.trim().to_owned(),
            value.trim().to_owned(),
        ))
    })
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
    fn the_service_is_called_portbook_unless_somebody_says_otherwise() {
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
    fn it_tells_version_host_and_instance() {
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
