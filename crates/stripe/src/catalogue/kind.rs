//! What values a parameter takes.

use std::fmt;

use super::Param;

/// What values a parameter takes.
///
/// Its `Display` is the type as a person reads it: `integer`, `one of graduated|volume`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A text of any length.
    Text,
    /// A text of at most so many characters.
    TextUpTo(u32),
    /// A decimal number, sent as text so that no digit is lost: as a string in JSON too.
    Decimal,
    /// A whole number that may have more digits than a JSON number keeps, so that JSON carries it as a string.
    IntegerText,
    /// Seconds since 1970-01-01 00:00 UTC.
    Timestamp,
    /// One of these texts.
    Enum(&'static [&'static str]),
    /// One of these texts, as far as is public: the specification marks the list as not binding
    /// (`x-stripeBypassValidation`), so others are not refused here.
    OpenEnum(&'static [&'static str]),
    /// Usually of this kind; the specification marks it as not binding (`x-stripeBypassValidation`), so others are not refused
    /// here.
    Open(&'static Kind),
    /// Values of one kind.
    List(&'static Kind),
    /// These named parameters.
    Object(&'static [Param]),
    /// Values of one kind under names of the caller's choice.
    Map(&'static Kind),
    /// Any of these kinds.
    AnyOf(&'static [Kind]),
    /// A file's bytes.
    File,
    /// The specification does not say.
    Any,
}

impl fmt::Debug for Kind {
    /// The readable type: a derived one would print whole tables.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kind({self})")
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer => f.write_str("integer"),
            Self::Number => f.write_str("number"),
            Self::Boolean => f.write_str("boolean"),
            Self::Text => f.write_str("text"),
            Self::TextUpTo(max) => write!(f, "text of at most {max} characters"),
            Self::Decimal => f.write_str("decimal as text"),
            Self::IntegerText => f.write_str("integer as text"),
            Self::File => f.write_str("file"),
            Self::Timestamp => f.write_str("Unix time in seconds"),
            Self::Enum([""]) => f.write_str("\"\""),
            Self::Enum([only]) => f.write_str(only),
            Self::Enum(values) => {
                let values: Vec<&str> = values.iter().copied().filter(|v| !v.is_empty()).collect();
                write!(f, "one of {}", values.join("|"))
            }
            Self::OpenEnum(values) => write!(f, "one of {}|…", values.join("|")),
            Self::Open(usual) => write!(f, "usually {usual}"),
            Self::List(item) => write!(f, "list of {item}"),
            Self::Object(params) => {
                let names: Vec<&str> = params.iter().map(|p| p.name).collect();
                write!(f, "map {{{}}}", names.join(", "))
            }
            Self::Map(value) => write!(f, "map of {value}"),
            Self::AnyOf(kinds) => {
                for (i, kind) in kinds.iter().enumerate() {
                    write!(f, "{}{kind}", if i == 0 { "" } else { ", or " })?;
                }
                Ok(())
            }
            Self::Any => f.write_str("anything"),
        }
    }
}
