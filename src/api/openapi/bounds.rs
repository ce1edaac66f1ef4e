//! Bounds of numbers in schemas.

use schemars::Schema;
use schemars::transform::{Transform, transform_subschemas};
use serde_json::Value;

/// Adds the bounds of each kind of number, since validators do not know `uint32` and the like.
#[derive(Debug, Clone)]
pub(super) struct Bounds;

impl Transform for Bounds {
    fn transform(&mut self, schema: &mut Schema) {
        let (least, most): (Value, Value) = match schema.get("format").and_then(Value::as_str) {
            Some("uint8") => (0.into(), u8::MAX.into()),
            Some("uint16") => (0.into(), u16::MAX.into()),
            Some("uint32") => (0.into(), u32::MAX.into()),
            Some("uint" | "uint64") => (0.into(), u64::MAX.into()),
            Some("int32") => (i32::MIN.into(), i32::MAX.into()),
            Some("int64") => (i64::MIN.into(), i64::MAX.into()),
            _ => return transform_subschemas(self, schema),
        };
        let schema = schema.ensure_object();
        schema.entry("minimum").or_insert(least);
        schema.entry("maximum").or_insert(most);
    }
}
