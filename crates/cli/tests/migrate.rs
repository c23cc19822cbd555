//! `inflight check --migrate`.

mod support;

use support::*;

#[test]
fn what_waits_is_shown_with_the_lines_as_they_would_be() {
    let text = "let ids = [];\nfor name in [\"a\", \"b\"] {\n    ids.push(new_product().name(name).create());\n}\n\
                let last = \"\";\nfor i in 0..3 {\n    let id = new_product().name(last).create();\n    last = id;\n}\n";
    let scripts = Scripts::new(&[("old.rhai", text.as_bytes()), ("new.rhai", b"print(1);")]);
    let old = scripts.path("old.rhai");
    let output = run(&["check", "--migrate", &old, &scripts.path("new.rhai")]);
    assert_eq!(output.status.code(), Some(1));
    let printed = stdout(&output);
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), 4, "{printed}");
    assert!(
        lines[0].contains("old.rhai:3:39: `create` waits in each turn of the loop: start them all"),
        "{printed}"
    );
    assert_eq!(
        lines[1],
        "     3 |     ids.push(new_product().name(name).create_async());"
    );
    assert_eq!(lines[2], "     5 + ids = await_all(ids);");
    assert!(lines[3].contains("old.rhai:7:39"), "{printed}");
    assert!(
        lines[3].ends_with("its result `id` is used in line 8 before the loop ends: left as it is"),
        "{printed}"
    );

    // Without it nothing of this is said, and no file was changed.
    assert_eq!(run(&["check", &old]).status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(old).unwrap_or_default(), text);
    assert!(stdout(&run(&["check", "--help"])).contains("--migrate"));
}
