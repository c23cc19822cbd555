//! What is wrong with a parameter.

use std::fmt;

use crate::catalogue::Kind;

/// A parameter that Stripe would refuse. Its text is one line that names the parameter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}", problem = Line(self))]
#[non_exhaustive]
pub struct ParamError {
    /// The parameter with its path: `items[0].price_data.currency`.
    pub path: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// There is no such parameter.
    Unknown {
        /// The name that was probably meant.
        nearest: Option<&'static str>,
    },
    /// It is required and was not given.
    Missing,
    /// It is of another kind.
    WrongType {
        /// The kind that is due.
        expected: Kind,
        /// The value in a few words.
        found: String,
    },
    /// It is not one of the values that Stripe knows.
    NotInEnum {
        /// The values that Stripe knows.
        expected: &'static [&'static str],
        /// The value, shortened.
        found: String,
    },
    /// The text is too long.
    TooLong {
        /// How many characters are allowed.
        max: usize,
        /// How many it has.
        length: usize,
    },
    /// It cannot be cleared.
    NotClearable,
    /// It is a key of metadata that is empty or holds a bracket.
    BadMetadataKey,
    /// It has too many entries.
    TooManyEntries {
        /// How many are allowed.
        max: usize,
        /// How many it has.
        count: usize,
    },
}

/// `Display` as one line.
struct Line<'a>(&'a ParamError);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.0.path;
        match &self.0.problem {
            Problem::Unknown { nearest: Some(name) } => {
                write!(f, "unknown parameter `{path}`: did you mean `{name}`?")
            }
            Problem::Unknown { nearest: None } => write!(f, "unknown parameter `{path}`"),
            Problem::Missing => write!(f, "missing required parameter `{path}`"),
            Problem::WrongType { expected, found } => {
                write!(f, "parameter `{path}` is {found}, expected {expected}")
            }
            Problem::NotInEnum { expected, found } => {
                write!(f, "parameter `{path}` is {found}, expected {}", Kind::Enum(expected))
            }
            Problem::TooLong { max, length } => {
                write!(
                    f,
                    "parameter `{path}` is {length} characters long, at most {max} are allowed"
                )
            }
            Problem::BadMetadataKey => write!(f, "`{path}`: a key of metadata is not empty and holds no brackets"),
            Problem::TooManyEntries { max, count } => {
                write!(f, "parameter `{path}` has {count} entries, at most {max} are allowed")
            }
            Problem::NotClearable => write!(f, "parameter `{path}` cannot be cleared, leave it out or give a value"),
        }
    }
}
