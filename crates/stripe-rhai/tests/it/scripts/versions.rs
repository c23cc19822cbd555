//! Another version of Stripe's API than the catalogue's may know other parameters.

use inflight_stripe::API_VERSION;
use inflight_stripe_rhai::check_script;

use super::Setup;

#[test]
fn what_another_version_may_know_is_sent() {
    for (script, body) in [
        (
            r#"new_product().stripe_version("2019-02-11").params(#{ name: "M", new_thing: #{ a: 1 } }).create_async()"#,
            "name=M&new_thing[a]=1",
        ),
        (
            r#"new_product().request_options(#{ stripe_version: "2019-02-11" }).params(#{ new_thing: 1, url: () }).create_async()"#,
            "new_thing=1",
        ),
        (
            r#"configure_stripe(#{ api_version: "2019-02-11" }); new_product().params(#{ new_thing: 1 }).create_async()"#,
            "new_thing=1",
        ),
        (
            r#"let s = #{ api_version: "2019-02-11" }; configure_stripe(s); new_product().params(#{ new_thing: 1 }).create_async()"#,
            "new_thing=1",
        ),
        (
            r#"new_price().stripe_version("2019-02-11").currency("usd").billing_scheme("new").create_async()"#,
            "currency=usd&billing_scheme=new",
        ),
        (
            r#"stripe::product::create_async(#{ new_thing: 1 }, #{ stripe_version: "2019-02-11" })"#,
            "new_thing=1",
        ),
        (
            r#"let o = #{ stripe_version: "2019-02-11" }; stripe::product::create_async(#{ new_thing: 1 }, o)"#,
            "new_thing=1",
        ),
    ] {
        let mut setup = Setup::new();
        assert_eq!(setup.body(script), body, "{script}");
        assert_eq!(check_script(&setup.engine, script), [], "{script}");
    }
}

#[test]
fn what_the_catalogues_version_does_not_know_is_told() {
    let own = format!(r#"stripe_version: "{API_VERSION}""#);
    for script in [
        r#"new_product().params(#{ new_thing: 1 }).create_async()"#.to_owned(),
        format!("new_product().request_options(#{{ {own} }}).params(#{{ new_thing: 1 }}).create_async()"),
        format!(
            r#"configure_stripe(#{{ api_version: "2019-02-11" }});
            new_product().stripe_version("{API_VERSION}").params(#{{ new_thing: 1 }}).create_async()"#
        ),
        // A setter is a function, which there is or is not.
        r#"new_product().stripe_version("2019-02-11").new_thing(1).create_async()"#.to_owned(),
        format!("stripe::product::create_async(#{{ new_thing: 1 }}, #{{ {own} }})"),
    ] {
        let setup = Setup::new();
        let error = setup.error(&script);
        assert!(error.contains("new_thing"), "{script}: {error}");
    }
    // One call's version is not another's, and that of a webhook's events is no request's.
    let script = r#"
        stripe::webhook_endpoint::create(#{ url: "https://a.example", enabled_events: ["*"], api_version: "2019-02-11" });
        stripe::product::create_async(#{ new_thing: 1 }, #{ stripe_version: "2019-02-11" });
        stripe::product::create_async(#{ nmae: "M" });"#;
    let findings = check_script(&Setup::new().engine, script);
    let lines: Vec<usize> = findings.iter().map(|finding| finding.line).collect();
    assert_eq!(lines, [4, 4], "{findings:?}");
}
