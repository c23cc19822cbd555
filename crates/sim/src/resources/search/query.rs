//! A search's query, read.

use crate::error::ApiError;

/// A query has at most so many clauses. <https://docs.stripe.com/search#query-structure-and-terminology>
const CLAUSES_MAX: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Contains,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Null,
    Text(String),
}

/// One condition: `-status:'active'`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Clause {
    pub(super) negated: bool,
    pub(super) field: String,
    /// `metadata["key"]`'s key.
    pub(super) key: Option<String>,
    pub(super) comparison: Comparison,
    pub(super) wanted: Wanted,
}

/// Conditions, all of which must hold, or any.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) clauses: Vec<Clause>,
    pub(super) any: bool,
}

pub(super) fn parse(text: &str) -> Result<Query, ApiError> {
    let mut rest = text.trim();
    let mut query = Query {
        clauses: Vec::new(),
        any: false,
    };
    let mut joined = None;
    loop {
        query.clauses.push(clause(&mut rest)?);
        if query.clauses.len() > CLAUSES_MAX {
            return Err(malformed("too many query clauses"));
        }
        let spaced = rest.starts_with(char::is_whitespace);
        rest = rest.trim_start();
        if rest.is_empty() {
            break;
        }
        if !spaced {
            return Err(malformed("a space is missing between clauses"));
        }
        let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        // A space alone means AND.
        let any = if word.eq_ignore_ascii_case("or") {
            Some(true)
        } else if word.eq_ignore_ascii_case("and") {
            Some(false)
        } else {
            None
        };
        if any.is_some() {
            rest = after.trim_start();
        }
        let any = any.unwrap_or(false);
        if *joined.get_or_insert(any) != any {
            return Err(malformed("AND and OR cannot be combined"));
        }
        query.any = any;
    }
    Ok(query)
}

fn malformed(why: &str) -> ApiError {
    ApiError::invalid(format!(
        "We were unable to parse your search query: {why}. Try using the format `metadata[\"key\"]:\"value\"` to query for \
         metadata or key:\"value\" to query for other fields."
    ))
    .param("query")
}

fn clause(rest: &mut &str) -> Result<Clause, ApiError> {
    let negated = take(rest, "-");
    let end = rest
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'))
        .unwrap_or(rest.len());
    let (field, after) = rest.split_at(end);
    *rest = after;
    if field.is_empty() {
        return Err(malformed("a field is missing"));
    }
    let key = if take(rest, "[") {
        let key = quoted(rest)?.ok_or_else(|| malformed("a metadata key must be quoted"))?;
        if !take(rest, "]") {
            return Err(malformed("a bracket is missing"));
        }
        Some(key)
    } else {
        None
    };
    let operators = [
        (":", Comparison::Equal),
        ("~", Comparison::Contains),
        (">=", Comparison::GreaterOrEqual),
        ("<=", Comparison::LessOrEqual),
        (">", Comparison::Greater),
        ("<", Comparison::Less),
        ("=", Comparison::Equal),
    ];
    let comparison = operators
        .into_iter()
        .find(|(sign, _)| take(rest, sign))
        .map(|(_, comparison)| comparison);
    let comparison = comparison.ok_or_else(|| malformed("an operator is missing"))?;
    Ok(Clause {
        negated,
        field: field.to_owned(),
        key,
        comparison,
        wanted: wanted(rest)?,
    })
}

fn take(rest: &mut &str, start: &str) -> bool {
    match rest.strip_prefix(start) {
        Some(after) => {
            *rest = after;
            true
        }
        None => false,
    }
}

fn wanted(rest: &mut &str) -> Result<Wanted, ApiError> {
    if let Some(text) = quoted(rest)? {
        return Ok(Wanted::Text(text));
    }
    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    *rest = after;
    match word {
        "" => Err(malformed("a value is missing")),
        "null" | "NULL" => Ok(Wanted::Null),
        word if word.parse::<f64>().is_ok() || matches!(word, "true" | "false") => Ok(Wanted::Text(word.to_owned())),
        _ => Err(malformed("a text must be quoted")),
    }
}

/// A text in single or double quotes, in which a backslash takes the next character as it is.
fn quoted(rest: &mut &str) -> Result<Option<String>, ApiError> {
    let Some(quote) = rest.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        return Ok(None);
    };
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        if c == quote {
            *rest = &rest[at + 1..];
            return Ok(Some(text));
        }
        if c == '\\' {
            text.extend(characters.next().map(|(_, c)| c));
        } else {
            text.push(c);
        }
    }
    Err(malformed("a quote is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Clause {
        parse(text).unwrap().clauses.remove(0)
    }

    #[test]
    fn clauses() {
        let clause = one(r#"-metadata["a b"]~"x\"y""#);
        assert!(clause.negated);
        assert_eq!(
            (clause.key.as_deref(), clause.comparison),
            (Some("a b"), Comparison::Contains)
        );
        assert_eq!(clause.wanted, Wanted::Text("x\"y".into()));
        assert_eq!(one("amount>=1000").comparison, Comparison::GreaterOrEqual);
        assert_eq!(one("customer:null").wanted, Wanted::Null);
        assert_eq!(one("active:'true'").wanted, Wanted::Text("true".into()));
        let query = parse("status:'a' OR status:'b' or status:'c'").unwrap();
        assert!(query.any && query.clauses.len() == 3);
        assert!(!parse("status:'a' amount>1").unwrap().any);
    }

    #[test]
    fn what_is_no_query() {
        for text in [
            "",
            "status",
            "status:",
            "status:active",
            "status:'a",
            "a:'b' AND c:'d' OR e:'f'",
            "-",
            "a:'b'c:'d'",
            "metadata[k]:'v'",
            "metadata['k':'v'",
            "a:'b' AND",
            "é:'x'",
            "a:'\\",
        ] {
            assert_eq!(parse(text).unwrap_err().param.as_deref(), Some("query"), "{text}");
        }
        let many = ["a:'b'"; 11].join(" AND ");
        assert!(parse(&many).is_err());
    }
}
