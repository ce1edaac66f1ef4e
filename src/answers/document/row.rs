//! Several ports under one name: `ray` with a block of 3 is leased as `ray`, `ray.1` and `ray.2`, each
//! a name with a port of its own.

use std::num::NonZeroU32;

use crate::domain::lease::Name;
use crate::domain::variables::twins;

/// Maximum length of a name with several ports: a suffix such as `.255` must fit too.
const LONGEST: usize = 60;

/// The names of the leases of a request; an error in words.
pub(super) fn names(names: Vec<Name>, ports: Option<NonZeroU32>) -> Result<Vec<Name>, String> {
    if let Some(wrong) = twins(&names) {
        return Err(format!("names: {wrong}"));
    }
    let count = ports.map_or(1, NonZeroU32::get);
    let [name] = &names[..] else {
        return Ok(names);
    };
    // The engine refuses larger counts with an error of its own.
    if count == 1 || count > 256 {
        return Ok(names);
    }
    if name.as_str().len() > LONGEST {
        return Err(format!(
            "a name of several ports has at most {LONGEST} characters: give a shorter one"
        ));
    }
    let mut row = vec![name.clone()];
    for index in 1..count {
        let next = format!("{name}.{index}").parse();
        row.push(next.map_err(|error: crate::domain::lease::NameError| error.to_string())?);
    }
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(given: &[&str], ports: u32) -> Result<Vec<String>, String> {
        let given = given.iter().map(|name| name.parse().unwrap()).collect();
        let names = names(given, NonZeroU32::new(ports))?;
        Ok(names.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn one_name_with_several_ports_is_a_row() {
        assert_eq!(of(&["ray"], 3).unwrap(), ["ray", "ray.1", "ray.2"]);
        assert_eq!(of(&["ray"], 0).unwrap(), ["ray"]);
        assert_eq!(of(&["a", "b"], 2).unwrap(), ["a", "b"]);
        assert_eq!(of(&["a"], 300).unwrap(), ["a"]);
        assert!(of(&[&"x".repeat(61)], 2).is_err());
        assert_eq!(of(&[&"x".repeat(60)], 256).unwrap().len(), 256);
    }

    #[test]
    fn two_names_with_one_variable_are_refused() {
        let said = of(&["my-api", "my_api"], 0).unwrap_err();
        assert!(said.contains("MY_API_PORT"), "{said}");
        // The engine refuses equal names with an error of its own.
        assert!(of(&["a", "a"], 0).is_ok());
    }
}
