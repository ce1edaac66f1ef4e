//! Reading a JSON body: its media type, its shape, and an error that names the field.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::answers::problem::{Code, Problem};

/// The body as `T`; its default if there is no body.
pub(super) fn json<T: DeserializeOwned + Default>(
    content_type: Option<&str>,
    bytes: &[u8],
) -> Result<T, Problem> {
    if bytes.is_empty() {
        return Ok(T::default());
    }
    if !content_type.is_some_and(is_json) {
        let detail = "the body must be JSON and say so: Content-Type: application/json";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    // Serde would also take the fields of a struct as an array, in their order.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::invalid("the body must be a JSON object"));
    }
    let error = match serde_json::from_slice(bytes) {
        Ok(read) => return Ok(read),
        Err(error) => error,
    };
    let Ok(fields) = serde_json::from_slice::<Map<String, Value>>(bytes) else {
        return Err(Problem::invalid(error));
    };
    let mut whole = fields.clone();
    whole.values_mut().for_each(make_whole);
    if whole != fields
        && let Ok(read) = serde_json::from_value(whole.clone().into())
    {
        return Ok(read);
    }
    let named = wrong_field::<T>(whole);
    Err(Problem::invalid(named.unwrap_or_else(|| error.to_string())))
}

/// The first field that is refused by itself, with the reason; `None` if only their combination is.
fn wrong_field<T: DeserializeOwned>(fields: Map<String, Value>) -> Option<String> {
    fields.into_iter().find_map(|(name, value)| {
        let alone = Value::Object(Map::from_iter([(name.clone(), value)]));
        let error = serde_json::from_value::<T>(alone).err()?.to_string();
        if error.starts_with("missing field") {
            return None;
        }
        let is_named = error.contains(&format!("`{name}`")) || error.starts_with(&name);
        Some(if is_named {
            error
        } else {
            format!("{name}: {error}")
        })
    })
}

/// Turns `8.0` into 8: JSON has one kind of number (RFC 8259, section 6), and some languages write all
/// of theirs with a fraction.
fn make_whole(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(make_whole),
        Value::Object(fields) => fields.values_mut().for_each(make_whole),
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().filter(|float| float.fract() == 0.0);
            // By way of text, which is exact where a cast would have to be trusted.
            let whole = float.and_then(|float| format!("{float:.0}").parse::<i64>().ok());
            if let Some(whole) = whole {
                *value = whole.into();
            }
        }
        _ => {}
    }
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::document::LeaseRequest;
    use crate::answers::exclusions::RangeRequest;

    fn refused<T: DeserializeOwned + Default>(body: &str) -> String {
        let read: Result<T, Problem> = json(Some("application/json"), body.as_bytes());
        read.err().unwrap().detail
    }

    #[test]
    fn type_errors_name_their_field() {
        for (body, field) in [
            (r#"{"port": 80, "prefer_span": 65536}"#, "prefer_span"),
            (r#"{"count": 0}"#, "count"),
            (r#"{"name": 7}"#, "name"),
            (r#"{"ttl": "soon"}"#, "ttl"),
            (r#"{"labels": {"a": 1}}"#, "labels"),
            (r#"{"interfaces": "eth0"}"#, "interfaces"),
            (r#"{"strict": 1.5}"#, "strict"),
        ] {
            let detail = refused::<LeaseRequest>(body);
            assert!(detail.starts_with(&format!("{field}: ")), "{detail}");
        }
        let unknown = refused::<LeaseRequest>(r#"{"ports": 1}"#);
        assert!(unknown.starts_with("unknown field `ports`"), "{unknown}");
        let detail = refused::<RangeRequest>(r#"{"reason": 1}"#);
        assert!(detail.starts_with("reason: "), "{detail}");
        let missing = refused::<RangeRequest>("{}");
        assert!(missing.contains("missing field `ports`"), "{missing}");
    }

    #[test]
    fn whole_numbers_may_have_a_fraction() {
        let body = br#"{"prefer": 8888.0, "count": 2.0}"#;
        let read: LeaseRequest = json(Some("application/json; charset=utf-8"), body).unwrap();
        assert_eq!(read.prefer, Some(8888));
    }
}
