//! The proxy that the environment names is used where that is asked for, and nowhere else.

use crate::child::run_in_child;
use crate::server::{RawServer, Rig, get, ok};

#[test]
fn the_environments_proxy_is_used_when_asked_for() {
    let proxy = RawServer::answering(ok("from the proxy"));
    let address = proxy.url();
    let environment = [
        ("HTTP_PROXY", &*address),
        ("http_proxy", &*address),
        ("NO_PROXY", ""),
        ("no_proxy", ""),
    ];
    if !run_in_child("proxy::the_environments_proxy_is_used_when_asked_for", &environment) {
        assert_eq!(proxy.received().len(), 1);
        return;
    }
    let server = RawServer::answering(ok("from the server"));
    for (asked_for, expected) in [(false, "from the server"), (true, "from the proxy")] {
        let rig = Rig::with(server.url(), |b| b.system_proxy(asked_for));
        assert_eq!(rig.success(get()).response.body, expected);
    }
}
