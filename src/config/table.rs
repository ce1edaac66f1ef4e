//! Tables of settings: each setting is declared once, with its type, default, rule and text.
//!
//! From one line come the field of the model, its reading with findings and provenance, and its
//! place in the file that `portbook config init` writes.

/// One setting as the template explains it.
pub(super) struct Entry {
    pub name: &'static str,
    /// Lines of its explanation, each with a blank before it.
    pub text: &'static [&'static str],
    /// Value to show, as TOML: for a setting without a default, or to write the default more readably.
    /// `None` if the default shows itself.
    pub example: Option<&'static str>,
}

/// A table of settings as the template explains it.
pub(super) trait Explained {
    /// Lines that head the table, each with a blank before it.
    const ABOUT: &'static [&'static str];

    /// Every setting, in the order in which they are read and shown.
    const ENTRIES: &'static [Entry];
}

/// Declares a table of settings.
///
/// Fields in parentheses are no settings: `read` takes them as they are. A default may use them and
/// the settings above its own. A rule checks values that are given, and not the default.
macro_rules! settings {
    (
        $(#[doc = $about:literal])+
        pub struct $table:ident $(($($fixed:ident: $fixed_type:ty),+))? {
            $(
                $(#[doc = $text:literal])+
                $name:ident: $type:ty = $default:expr $(, rule $rule:expr)? $(, example $example:literal)?;
            )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $table {
            $($(pub $fixed: $fixed_type,)+)?
            $($(#[doc = $text])+ pub $name: $type,)+
        }

        impl $crate::config::table::Explained for $table {
            const ABOUT: &'static [&'static str] = &[$($about),+];

            const ENTRIES: &'static [$crate::config::table::Entry] = &[$(
                $crate::config::table::Entry {
                    name: stringify!($name),
                    text: &[$($text),+],
                    example: settings!(@example $($example)?),
                },
            )+];
        }

        impl $table {
            /// Reads every setting. A wrong value is a finding, and its default stands in.
            pub(super) fn read(
                section: &mut $crate::config::reader::Section<'_, '_>,
                $($($fixed: $fixed_type,)+)?
            ) -> Self {
                $(let $name: $type =
                    section.setting(stringify!($name), $default, settings!(@rule $($rule)?));)+
                Self {
                    $($($fixed,)+)?
                    $($name,)+
                }
            }
        }
    };
    (@rule) => { |_| Ok(()) };
    (@rule $rule:expr) => { $rule };
    (@example) => { None };
    (@example $example:literal) => { Some($example) };
}
pub(super) use settings;
