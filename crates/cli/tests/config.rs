//! Settings from a file, from the environment and from the command line.

mod support;

use std::fs;
use std::process::{Command, Output};

use support::*;

/// A folder to start the program in.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(file: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("inflight.toml"), file).expect("the file is written");
        fs::write(folder.path().join("a.rhai"), "print(`ran`)").expect("the script is written");
        Self(folder)
    }

    fn command(&self) -> Command {
        let mut command = inflight();
        command.current_dir(self.0.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().expect("the program starts")
    }

    /// The line of `inflight config` that says this.
    fn setting(&self, variables: &[(&str, &str)], arguments: &[&str], name: &str) -> String {
        let mut command = self.command();
        command.envs(variables.iter().copied()).arg("config").args(arguments);
        let output = command.output().expect("the program starts");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let text = stdout(&output);
        let line = text
            .lines()
            .find(|line| line.trim_start_matches("# ").starts_with(name));
        let words: Vec<&str> = line
            .unwrap_or_else(|| panic!("{name} in {text}"))
            .split_whitespace()
            .collect();
        words.join(" ")
    }
}

#[test]
fn what_is_nearer_to_the_command_wins() {
    let folder = Folder::new("[run]\nretries = 3\n");
    let variable = ("INFLIGHT_RUN_RETRIES", "4");
    assert_eq!(Folder::new("").setting(&[], &[], "retries"), "retries = 2 # default");
    assert_eq!(folder.setting(&[], &[], "retries"), "retries = 3 # inflight.toml");
    assert_eq!(
        folder.setting(&[variable], &[], "retries"),
        "retries = 4 # INFLIGHT_RUN_RETRIES"
    );
    let line = ["run", "--retries", "5"];
    assert_eq!(folder.setting(&[variable], &line, "retries"), "retries = 5 # --retries");
    assert_eq!(folder.setting(&[], &[], "base-url"), "# base-url # not set");
}

#[test]
fn a_run_goes_by_the_file() {
    let folder = Folder::new("[run]\nquiet = true\ncopies = 3\n");
    let output = folder.run(&["run", "a.rhai"]);
    assert_eq!(stdout(&output).matches("ran").count(), 3, "{}", stdout(&output));
    assert_eq!(stderr(&output), "", "it is quiet");
    let output = folder.run(&["run", "--copies", "1", "a.rhai"]);
    assert_eq!(stdout(&output).matches("ran").count(), 1);
    // Another file, by name.
    fs::write(folder.0.path().join("other.toml"), "[run]\ncopies = 2\n").expect("the file is written");
    let output = folder.run(&["--config", "other.toml", "run", "a.rhai"]);
    assert_eq!(stdout(&output).matches("ran").count(), 2);
}

#[test]
fn a_mistake_in_the_file_is_named_with_the_file() {
    for (file, says) in [
        ("[run]\nretrys = 3\n", "[run] has no setting `retrys`; is it `retries`?"),
        ("[runs]\n", "there is no [runs]; there are [run] and [sim]"),
        ("retries = 3\n", "`retries` is outside of the tables"),
        ("[run]\nretries = [3]\n", "`retries` in [run] is no single value"),
        (
            "[run]\nretries = \"many\"\n",
            "invalid value 'many' for '--retries <N>'",
        ),
        ("[run]\nretries = -1\n", "--retries"),
        ("[run]\nlive = true\n", "`live` can be given on the command line only"),
        (
            "[run]\nstore = \"postgres://192.0.2.1/test\"\n",
            "may not keep data elsewhere",
        ),
        (
            "[run]\nstore = \"postgres://localhost/test?host=db.evil.example\"\n",
            "may not keep data elsewhere",
        ),
        (
            "[run]\nstore = \"postgres://localhost/test?%68ostaddr=192.0.2.1\"\n",
            "may not keep data elsewhere",
        ),
        (
            "[run]\nstore = \"postgres://localhost/test?host=/run/postgresql&host=db.evil.example\"\n",
            "may not keep data elsewhere",
        ),
        ("[run]\nstore = \"postgres:///test\"\n", "may not keep data elsewhere"),
        ("[run]\nmetrics = \"0.0.0.0:9464\"\n", "may not open a port to others"),
        ("[sim]\nlisten = \"0.0.0.0:12111\"\n", "may not open a port to others"),
        ("[run]\njson = \"results.json\"\n", "may not overwrite files"),
        ("[run]\nreport = \"page.html\"\n", "may not overwrite files"),
        ("[sim]\nstate = \"shop.json\"\n", "may not overwrite files"),
        (
            "[run]\nbase-url = \"http://elsewhere.example\"\n",
            "may not send requests elsewhere",
        ),
        ("[run\n", "is not TOML"),
        (&"#".repeat(2 * 1024 * 1024), "it is longer than 1 MiB"),
    ] {
        let output = Folder::new(file).run(&["run", "a.rhai"]);
        assert_eq!(output.status.code(), Some(2), "{file}");
        let error = stderr(&output);
        assert!(
            error.contains("inflight.toml") && error.contains(says),
            "{file}: {error}"
        );
        assert_eq!(stdout(&output), "", "{file}");
    }
    let output = Folder::new("").run(&["--config", "missing.toml", "run", "a.rhai"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("missing.toml"), "{}", stderr(&output));
}

#[test]
fn a_file_that_is_found_may_name_a_store_on_this_machine() {
    for (store, shown) in [
        ("sqlite:shop.db", "sqlite:shop.db"),
        ("postgres://localhost/test", "postgres://localhost/test"),
        ("postgres://shop@127.0.0.1:5432/test", "postgres://127.0.0.1:5432/test"),
        ("postgresql://[::1]/test", "postgresql://[::1]/test"),
        (
            "postgres://localhost/test?host=/run/postgresql",
            "postgres://localhost/test",
        ),
        ("postgres:///test?host=/run/postgresql", "postgres:///test"),
    ] {
        let folder = Folder::new(&format!("[run]\nstore = \"{store}\"\n"));
        let expected = format!("store = \"{shown}\" # inflight.toml");
        assert_eq!(folder.setting(&[], &[], "store ="), expected, "{store}");
    }
}

#[test]
fn what_needs_a_store_finds_it_in_the_file() {
    let folder = Folder::new("[run]\nstore = \"sqlite:shop.db\"\n");
    let output = folder.run(&["run", "--quiet", "--run-id", "a", "--store-pace", "90", "a.rhai"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let listed = folder.run(&["runs", "list", "--json", "--store", "sqlite:shop.db"]);
    assert!(
        stdout(&listed).contains("\"a\""),
        "{}{}",
        stdout(&listed),
        stderr(&listed)
    );
}

#[test]
fn what_needs_a_store_is_refused_without_one() {
    for (file, line, says) in [
        ("", &["--run-id", "a"][..], "--run-id"),
        ("", &["--store-pace", "90"], "--store-pace"),
        ("[run]\nrun-id = \"a\"\n", &[], "--run-id"),
        ("[run]\nstore-pace = 90\n", &[], "--store-pace"),
    ] {
        let output = Folder::new(file).run(&[&["run"], line, &["a.rhai"]].concat());
        assert_eq!(output.status.code(), Some(2), "{file} {line:?}: {}", stderr(&output));
        let error = stderr(&output);
        assert!(
            error.contains(says) && error.contains("needs --store"),
            "{file} {line:?}: {error}"
        );
        assert_eq!(stdout(&output), "", "{file} {line:?}");
    }
}

/// One that is found may say that they go to standard output.
#[test]
fn a_file_that_is_named_may_say_which_file_results_go_to() {
    let folder = Folder::new("[run]\njson = \"-\"\n");
    let output = folder.run(&["run", "a.rhai"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).starts_with('{'), "{}", stdout(&output));
    let results = folder.0.path().join("results.json");
    fs::write(folder.0.path().join("other.toml"), "[run]\njson = \"results.json\"\n").expect("the file is written");
    let output = folder.run(&["--config", "other.toml", "run", "a.rhai"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let results = fs::read_to_string(results).expect("the results are written");
    assert!(results.starts_with('{'), "{results}");
}

#[test]
fn no_variable_sends_anything_to_stripe() {
    let folder = Folder::new("");
    let mut command = folder.command();
    command
        .env("INFLIGHT_RUN_LIVE", "true")
        .env("STRIPE_API_KEY", "sk_live_4eC39HqLyjWDarjtT1zdp7dc");
    let output = command.args(["run", "a.rhai"]).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("simulator"), "{}", stderr(&output));
}

#[test]
fn secrets_are_not_shown() {
    let folder = Folder::new("");
    for (key, shown) in [
        ("sk_live_4eC39HqLyjWDarjtT1zdp7dc", "a live key"),
        ("sk_test_4eC39HqLyjWDarjtT1zdp7dc", "a test key"),
        ("something else", "set"),
    ] {
        let mut command = folder.command();
        command
            .env("STRIPE_API_KEY", key)
            .env("INFLIGHT_DASHBOARD_TOKEN", "0123456789abcdef");
        let output = command.arg("config").output().expect("the program starts");
        let text = stdout(&output);
        assert!(text.contains(shown), "{text}");
        assert!(!text.contains(key) && !text.contains("0123456789abcdef"), "{text}");
    }
    let output = folder.run(&["config", "check"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("run and sim"), "{}", stderr(&output));
}

#[test]
fn what_config_prints_is_a_file() {
    let folder = Folder::new("[run]\nretries = 7\ntimeout = \"90s\"\n");
    let text = stdout(&folder.run(&["config"]));
    let file: String = text.split("# secrets").next().unwrap_or_default().to_owned();
    fs::write(folder.0.path().join("inflight.toml"), file.replace("live = false", "")).expect("the file is written");
    assert_eq!(folder.setting(&[], &[], "timeout"), "timeout = \"90s\" # inflight.toml");
}

#[test]
fn shells_complete_every_flag() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        let script = stdout(&output);
        for word in ["dashboard", "concurrency", "faults", "completions"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}
