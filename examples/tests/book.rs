//! The book keeps its word: every page is in the summary, every link leads somewhere, every script runs, every error is explained, and
//! every test that a promise names exists.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use inflight::ScriptOptions;
use inflight::core::block_on;
use inflight::rhai::ScriptErrorKind;
use inflight::stripe_rhai::{HostOptions, StripeHost, StripePackage, migrations};
use support::on_simulator;

/// Pages whose scripts run as they stand. Those of the others are parts of something.
const PAGES_THAT_RUN: [&str; 8] = [
    "tour.md",
    "stripe.md",
    "errors.md",
    "migration.md",
    "migration/async-stripe.md",
    "migration/node.md",
    "migration/python.md",
    "migration/rhai-http.md",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below a folder with this ending.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn pages() -> Vec<PathBuf> {
    files(&root().join("docs"), "md")
}

/// A page without its blocks of code: what lies in them is no link and no heading.
fn prose(text: &str) -> String {
    let mut within = false;
    let lines = text.lines().filter(|line| {
        let fence = line.starts_with("```");
        within ^= fence;
        !within && !fence
    });
    lines.map(|line| format!("{line}\n")).collect()
}

/// The targets of a page's links.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    let rests = prose.split("](").skip(1);
    rests
        .filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()))
        .collect()
}

/// What a heading can be reached by, as GitHub and mdBook make it.
fn anchors(text: &str) -> BTreeSet<String> {
    let prose = prose(text);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title
                .chars()
                .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn every_page_is_in_the_summary() {
    let docs = root().join("docs");
    let listed: BTreeSet<String> = links(&read(&docs.join("SUMMARY.md"))).into_iter().collect();
    let written = pages();
    let written: BTreeSet<String> = written
        .iter()
        .map(|page| page.strip_prefix(&docs).unwrap().to_string_lossy().replace('\\', "/"))
        .filter(|page| page != "SUMMARY.md")
        .collect();
    assert_eq!(listed, written);
}

#[test]
fn every_link_leads_somewhere() {
    let docs = root().join("docs");
    let book = docs.canonicalize().expect("the book is there");
    let mut checked = 0;
    let crates = fs::read_dir(root().join("crates")).expect("there are crates");
    let of_crates = crates.map(|entry| entry.unwrap().path().join("README.md"));
    let beside = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"].map(|page| root().join(page));
    for page in pages()
        .into_iter()
        .chain(beside)
        .chain(of_crates.filter(|page| page.exists()))
    {
        for link in links(&read(&page)) {
            if link.contains("://") {
                continue;
            }
            checked += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap().join(file)
            };
            assert!(target.exists(), "{}: {link} is dead", page.display());
            // The book is made of its own folder.
            let is_within = target.canonicalize().is_ok_and(|target| target.starts_with(&book));
            assert!(
                is_within || !page.starts_with(&docs),
                "{}: {link} leads out of the book",
                page.display()
            );
            if !anchor.is_empty() {
                let known = anchors(&read(&target));
                assert!(known.contains(anchor), "{}: {link}: of {known:?}", page.display());
            }
        }
    }
    assert!(checked > 50, "only {checked} links were found");
}

/// The scripts of a page.
fn scripts(text: &str) -> Vec<&str> {
    let blocks = text.split("```rhai\n").skip(1);
    blocks.filter_map(|block| Some(block.split_once("\n```")?.0)).collect()
}

#[test]
fn every_script_runs() {
    let (_simulator, inflight) = on_simulator();
    for page in PAGES_THAT_RUN {
        let text = read(&root().join("docs").join(page));
        let scripts = scripts(&text);
        assert!(!scripts.is_empty(), "{page} has no script");
        for script in scripts {
            let options = ScriptOptions {
                time_limit: Some(Duration::from_secs(60)),
                output: Some(Arc::new(|_: &str| ())),
                ..ScriptOptions::default()
            };
            let report = block_on(inflight.run(script, options));
            assert!(report.result.is_ok(), "{page}: {:?}\n{script}", report.result);
            assert_eq!(report.warnings, Vec::<String>::new(), "{page}\n{script}");
        }
    }
}

#[test]
fn what_the_pages_include_is_there() {
    for page in pages() {
        let text = read(&page);
        for include in text
            .split("{{#include ")
            .skip(1)
            .filter_map(|rest| Some(rest.split_once("}}")?.0))
        {
            let (file, anchor) = include.split_once(':').expect("it names an anchor");
            let included = read(&page.parent().unwrap().join(file));
            for mark in ["ANCHOR", "ANCHOR_END"] {
                let mark = format!("// {mark}: {anchor}\n");
                assert!(included.contains(&mark), "{}: {include}", page.display());
            }
        }
    }
}

/// Whatever the guide shows rewritten is what `inflight check --migrate` makes of it.
#[test]
fn the_guide_and_the_program_rewrite_alike() {
    let engine = StripePackage::new_engine(&StripeHost::new(HostOptions::default()));
    let guide = read(&root().join("docs/migration.md"));
    let pairs: Vec<&str> = guide.split("\nbecomes\n").collect();
    assert!(pairs.len() > 2, "the guide shows lines rewritten");
    for (before, after) in pairs.iter().zip(&pairs[1..]) {
        let (before, after) = (scripts(before).pop().unwrap(), scripts(after)[0]);
        let found = migrations(&engine, before);
        assert_eq!(found.len(), 1, "{before}");
        let rewritten = found[0].rewritten.as_ref().map(|rewritten| rewritten.script.trim_end());
        assert_eq!(rewritten, Some(after));
    }
}

/// Every word that follows one of the beginnings, in quotation marks.
fn quoted_after(text: &str, beginnings: &[&str]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for beginning in beginnings {
        for rest in text.split(beginning).skip(1) {
            if let Some(rest) = rest.trim_start().strip_prefix('"')
                && let Some((word, _)) = rest.split_once('"')
                && !word.is_empty()
                && word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
            {
                found.insert(word.to_owned());
            }
        }
    }
    found
}

/// Every kind of error that a script can see, by the sources.
fn kinds() -> BTreeSet<String> {
    let crates = root().join("crates");
    let mut kinds: BTreeSet<String> = ScriptErrorKind::ALL.map(|kind| kind.as_str().to_owned()).into();
    for name in ["rhai", "stripe-rhai"] {
        for file in files(&crates.join(name).join("src"), "rs") {
            let text = read(&file);
            kinds.extend(quoted_after(
                &text,
                &["script_error(", "error_map(", "unknown_function_error("],
            ));
            let file = file.file_name().unwrap().to_string_lossy().into_owned();
            // Kinds that a `match` chooses.
            if let "webhook.rs" | "error.rs" = &*file {
                kinds.extend(quoted_after(&text, &["=> "]));
            }
        }
    }
    let outcome = read(&crates.join("core/src/outcome.rs"));
    let effects = ["none", "done", "unknown"];
    kinds.extend(
        quoted_after(&outcome, &["=> "])
            .into_iter()
            .filter(|word| !effects.contains(&&**word)),
    );
    let policy = read(&crates.join("stripe/src/policy.rs"));
    let of_policy = quoted_after(&policy, &["Some(", "Borrowed(", "| "]);
    kinds.extend(of_policy.into_iter().filter(|word| word.ends_with("_error")));
    for file in ["webhook/event.rs", "webhook/signature.rs"] {
        kinds.extend(quoted_after(&read(&crates.join("stripe/src").join(file)), &["=> "]));
    }
    kinds
}

#[test]
fn every_error_is_explained() {
    let page = read(&root().join("docs/errors.md"));
    let kinds = kinds();
    for known in [
        "card_error",
        "connect_error",
        "wait_timeout",
        "in_batch",
        "too_old",
        "queue_full",
    ] {
        assert!(
            kinds.contains(known),
            "the sources were read, and {known} was not found"
        );
    }
    let missing: Vec<_> = kinds
        .iter()
        .filter(|kind| !page.contains(&format!("`{kind}`")))
        .collect();
    assert_eq!(missing, [""; 0], "docs/errors.md does not name them");
    // And none that no script can see: the first column of each table.
    let named = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let invented: Vec<_> = named
        .map(|(kind, _)| kind)
        .filter(|kind| !kinds.contains(*kind))
        .collect();
    assert_eq!(invented, [""; 0], "docs/errors.md names what nothing throws");
}

/// The tests that the promises of the reliability model name: the crates, and the test or the module.
fn named_tests() -> Vec<(Vec<String>, String)> {
    let page = read(&root().join("docs/reliability.md"));
    let table = page
        .split("## Promises")
        .nth(1)
        .and_then(|rest| rest.split("\n\nThe programs").next());
    let mut named = Vec::new();
    for row in table.unwrap().lines().filter(|line| line.starts_with("| ")).skip(1) {
        let cells: Vec<&str> = row.split('|').collect();
        let [_, _, _, tests, _] = &cells[..] else {
            panic!("three columns: {row}")
        };
        let (mut crates, mut fresh) = (Vec::new(), true);
        for (at, part) in tests.split('`').enumerate() {
            if at % 2 == 1 {
                named.push((crates.clone(), part.to_owned()));
                fresh = true;
                continue;
            }
            for word in part
                .split([' ', ',', ';', '|'])
                .filter(|word| !word.is_empty() && *word != "and")
            {
                if std::mem::take(&mut fresh) {
                    crates.clear();
                }
                crates.push(word.to_owned());
            }
        }
    }
    named
}

#[test]
fn every_test_that_a_promise_names_exists() {
    let named = named_tests();
    assert!(named.len() > 40, "only {} tests are named", named.len());
    for (crates, test) in named {
        assert!(!crates.is_empty(), "{test}: of which crate?");
        for of in crates {
            if of == "program" {
                assert!(
                    root().join("benches/src/bin").join(format!("{test}.rs")).exists(),
                    "program {test}"
                );
                continue;
            }
            let sources = files(&root().join("crates").join(&of), "rs");
            let steps: Vec<&str> = test.split("::").collect();
            let (name, modules) = steps.split_last().unwrap();
            let is_within = |path: &&PathBuf| {
                let mut parts = path.iter().map(|part| part.to_string_lossy());
                modules
                    .first()
                    .is_none_or(|module| parts.any(|part| part.trim_end_matches(".rs") == *module))
            };
            let mut candidates = sources.iter().filter(is_within);
            let exists = match *name {
                "*" => candidates.any(|path| read(path).contains("#[test]") || read(path).contains("::test")),
                name => candidates.any(|path| read(path).contains(&format!("fn {name}("))),
            };
            assert!(exists, "{of} has no test {test}");
        }
    }
}
