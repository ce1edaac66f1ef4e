//! The fields of a form whose answers are in the address of the page.

use crate::dashboard::frame::Params;

/// A field with its label and what stands in it.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its key in the address.
    pub key: &'static str,
    /// What it asks for.
    pub label: &'static str,
    /// What stands in it.
    pub value: String,
    /// An example of what it takes.
    pub hint: &'static str,
    /// What there is to choose from; empty where anything may be typed.
    pub choices: Vec<Choice>,
    /// What is offered to whoever types.
    pub offers: Vec<String>,
}

/// One of a field's choices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The value.
    pub value: String,
    /// What it is called.
    pub label: String,
    /// Whether it is the one chosen.
    pub chosen: bool,
}

impl Field {
    /// A field to type into.
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

    /// A field to choose from; `open` is what no choice is called. What the address chooses is kept
    /// even where it is unknown, so that sending the form again changes nothing.
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

    /// The same with something offered to whoever types.
    #[must_use]
    pub fn offering(self, offers: Vec<String>) -> Self {
        Self { offers, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_address_chooses_is_chosen() {
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
