//! Serde through text: values that are written in JSON and TOML as people write them.

/// Deserializes types through `FromStr`, with its error as the message.
macro_rules! from_text {
    ($($written:ty),+) => {
        $(impl<'de> serde::Deserialize<'de> for $written {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text: std::borrow::Cow<'_, str> = serde::Deserialize::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        })+
    };
}
pub(crate) use from_text;

/// Serializes types through `Display`.
macro_rules! as_text {
    ($($written:ty),+) => {
        $(impl serde::Serialize for $written {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        })+
    };
}
pub(crate) use as_text;
