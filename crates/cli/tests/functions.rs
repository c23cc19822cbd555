//! `inflight functions`, and the page that it prints.

mod support;

use std::fs;
use std::path::Path;

use support::*;

#[test]
fn the_page_of_the_script_api_is_what_the_program_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/generated/script-api.md");
    let page = fs::read_to_string(&path).unwrap_or_default();
    let printed = stdout(&run(&["functions", "--markdown"]));
    assert!(
        page == printed,
        "docs/generated/script-api.md is not what `inflight functions --markdown` prints: write it anew"
    );
}

#[test]
fn one_function_is_explained_and_a_misspelt_one_is_guessed() {
    let text = stdout(&run(&["functions", "await_result"]));
    for part in ["await_result(id: text, seconds: number) -> any", "Errors: ", "Example:"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(stdout(&run(&["functions", "stripe::raw"])).contains("unchecked"));
    assert!(stdout(&run(&["functions"])).contains("  await_all(ids: any) -> any\n"));

    let output = run(&["functions", "await_resutl"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("did you mean `await_result`?"),
        "{}",
        stderr(&output)
    );
}
