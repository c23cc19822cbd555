//! What scripts can call, as documented beside the bindings: the source of the script API's page and of `inflight functions`.

/// A function that scripts can call, or a few that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionDoc {
    /// The heading of the group that it belongs to.
    pub group: &'static str,
    /// What the group says of all its functions; empty where it says nothing.
    pub introduction: &'static str,
    /// The heading: the function's name, or what several have in common.
    pub name: &'static str,
    /// One for each way to call it: `await_result(id: text, seconds: number) -> any`. Where there is no arrow it gives nothing. `any`
    /// is anything that fits what the text says; a word before a point (`batch.`) is the value that it is a method of.
    pub signatures: Vec<&'static str>,
    /// Meaning, units and defaults, then the errors, in Markdown.
    pub text: &'static str,
    /// A script that runs.
    pub example: &'static str,
}

impl FunctionDoc {
    /// The names of the functions, with their modules: `await_result`, `stripe::raw`. A method's has no value before it.
    pub fn functions(&self) -> impl Iterator<Item = &'static str> {
        self.signatures.iter().map(|signature| {
            let called = signature.split_once('(').map_or(*signature, |(called, _)| called);
            called.split_once('.').map_or(called, |(_, method)| method)
        })
    }
}

/// The functions of [`InflightPackage`](crate::InflightPackage), but those of Rhai's own that it only bounds.
///
/// ```
/// let reference = inflight_rhai::reference();
/// assert!(reference.iter().any(|entry| entry.name == "await_result"));
/// ```
#[must_use]
pub fn reference() -> Vec<FunctionDoc> {
    parse_reference(include_str!("reference/functions.md"))
}

/// The functions that a text documents: `## group`, its introduction, and for each function `### name`, its signatures indented by four
/// blanks, its text, and its example as a block of the language `rhai`.
///
/// What is not of this form is left out.
#[must_use]
pub fn parse_reference(text: &'static str) -> Vec<FunctionDoc> {
    let mut functions = Vec::new();
    for section in text.split("\n## ") {
        let (group, rest) = headed(section.trim_start_matches("## "));
        let mut entries = rest.split("\n### ");
        let introduction = entries.next().unwrap_or_default().trim();
        functions.extend(entries.filter_map(|entry| function(group, introduction, entry)));
    }
    functions
}

fn function(group: &'static str, introduction: &'static str, entry: &'static str) -> Option<FunctionDoc> {
    let (name, rest) = headed(entry);
    let (before, example) = rest.split_once("```rhai\n")?;
    let (example, _) = example.split_once("```")?;
    let before = before.trim_matches('\n');
    let signatures: Vec<_> = before.lines().map_while(|line| line.strip_prefix("    ")).collect();
    let length: usize = before.lines().take(signatures.len()).map(|line| line.len() + 1).sum();
    Some(FunctionDoc {
        group,
        introduction,
        name,
        signatures,
        text: before.get(length..).unwrap_or_default().trim(),
        example,
    })
}

/// The first line, and what follows it. The line's end stays, so that a heading at once below is found.
fn headed(text: &'static str) -> (&'static str, &'static str) {
    let end = text.find('\n').unwrap_or(text.len());
    let (line, rest) = text.split_at(end);
    (line.trim(), rest)
}
