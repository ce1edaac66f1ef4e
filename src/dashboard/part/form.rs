//! Form fields whose values are in the address of the page.

use crate::dashboard::frame::Params;

#[derive(Debug, Clone)]
pub struct Field {
    /// Key in the address.
    pub key: &'static str,
    pub label: &'static str,
    pub value: String,
    /// An example of a value.
    pub hint: &'static str,
    /// Values to choose from; empty for a text field.
    pub choices: Vec<Choice>,
    /// Suggestions for a text field.
    pub offers: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub value: String,
    pub label: String,
    pub chosen: bool,
}

impl Field {
    /// A text field.
    pub fn text(
        params: &Params,
        key: &'static str,
        label: &'static str,
        hint: &'static str,
    ) -> Self {
        Self {
            key,
            label,
            value: params.get(key).unwrap_or_default().to_owned(),
            hint,
            choices: Vec::new(),
            offers: Vec::new(),
        }
    }

    /// A field with choices; `open` is the label of the empty choice. A value from the address that is
    /// no known choice becomes one, so that sending the form again changes nothing.
    pub fn choice<V: ToString, L: ToString>(
        params: &Params,
        key: &'static str,
        label: &'static str,
        open: &str,
        known: impl IntoIterator<Item = (V, L)>,
    ) -> Self {
        let mut field = Self::text(params, key, label, "");
        let mut choices = vec![(String::new(), open.to_owned())];
        let known = known.into_iter();
        choices.extend(known.map(|(value, label)| (value.to_string(), label.to_string())));
        if choices.iter().all(|(value, _)| *value != field.value) {
            choices.push((field.value.clone(), field.value.clone()));
        }
        let choice = |(value, label): (String, String)| Choice {
            chosen: value == field.value,
            value,
            label,
        };
        field.choices = choices.into_iter().map(choice).collect();
        field
    }

    /// Adds suggestions to a text field.
    #[must_use]
    pub fn offering(self, offers: Vec<String>) -> Self {
        Self { offers, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choice_in_the_address_is_chosen() {
        let known = [("tcp", "TCP"), ("udp", "UDP")];
        let chosen = |query: &str| {
            let field = Field::choice(&Params::parse(query), "protocol", "Protocol", "any", known);
            let chosen = field.choices.into_iter().filter(|choice| choice.chosen);
            chosen.map(|choice| choice.label).collect::<Vec<_>>()
        };
        assert_eq!(chosen("protocol=udp"), ["UDP"]);
        assert_eq!(chosen(""), ["any"]);
        assert_eq!(chosen("protocol=sctp"), ["sctp"]);
    }
}
