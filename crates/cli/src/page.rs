//! The page: one file with its style and its script in it, live or with a run's data embedded.

/// The page's own parts.
const PAGE: &str = include_str!("../page/page.html");
const STYLE: &str = include_str!("../page/style.css");
const SCRIPT: &str = concat!(
    include_str!("../page/format.js"),
    include_str!("../page/charts.js"),
    include_str!("../page/tables.js"),
    include_str!("../page/app.js"),
);

/// The page. `nonce` is what its own style and script are known by; `data` is JSON, or empty where the page asks the server.
pub(crate) fn page(nonce: &str, data: &str) -> String {
    let mut page = String::with_capacity(PAGE.len() + STYLE.len() + SCRIPT.len() + data.len());
    let mut rest = PAGE;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, after)) = after.split_once("}}") else {
            break;
        };
        page.push_str(before);
        match name {
            "nonce" => page.push_str(nonce),
            "style" => page.push_str(STYLE),
            "script" => page.push_str(SCRIPT),
            // Within a script element only `<` could end it. In JSON it stands in texts only, where it may be written so.
            "data" => page.push_str(&data.replace('<', "\\u003c")),
            _ => {}
        }
        rest = after;
    }
    page.push_str(rest);
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_one_file_that_asks_nobody_else() {
        let page = page("n", "");
        for foreign in ["src=", "http://", "https://", "@import", "url("] {
            let found = page.replace("http://www.w3.org/2000/svg", "").find(foreign);
            assert_eq!(found, None, "{foreign}");
        }
        assert!(!page.contains("{{"), "a part is missing");
        assert!(!page.contains("innerHTML"), "texts from a server are never markup");
    }

    #[test]
    fn embedded_data_cannot_end_its_element() {
        let page = page("n", r#"{"error":"</script><script>alert(1)</script><!--"}"#);
        assert!(page.contains(r#"{"error":"\u003c/script>\u003cscript>alert(1)\u003c/script>\u003c!--"}"#));
    }
}
