//! The playground: a page on which SMTP sessions are tried, run by the engine in the browser.
//!
//! Owns its files and the headers that they go with. Refuses to know what they do; nothing of the server is seen or changed by
//! them. It cannot fail: a file is there or not.

use http_body_util::Full;
use hyper::{
    Response,
    body::Bytes,
    header::{self, HeaderName, HeaderValue},
};

/// Name and octets of each file; none where the server was built without.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/playground.rs"));

/// Nothing from elsewhere, nothing inline, nobody's frame. WebAssembly is compiled, which is what the page is for.
const POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// The worker in which a plugin runs: its glue is made on the spot, and it has no document to do harm to.
const WORKER_POLICY: &str = "default-src 'none'; script-src 'self' blob: 'wasm-unsafe-eval'; connect-src 'self'";
/// The worker's file.
const WORKER: &str = "plugin-worker.js";

/// One file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct File {
    name: &'static str,
    octets: &'static [u8],
}

/// The file of this name; the empty one is the page.
pub(super) fn file(name: &str) -> Option<File> {
    let name = if name.is_empty() { "index.html" } else { name };
    let found = FILES.iter().find(|(known, _)| *known == name);
    found.map(|&(name, octets)| File { name, octets })
}

impl File {
    /// With its type, and what the browser is not to do with it.
    pub(super) fn response(self) -> Response<Full<Bytes>> {
        let policy = if self.name == WORKER { WORKER_POLICY } else { POLICY };
        let mut response = Response::new(Full::new(Bytes::from_static(self.octets)));
        let fields: [(HeaderName, &'static str); 7] = [
            (header::CONTENT_TYPE, kind(self.name)),
            (header::CONTENT_SECURITY_POLICY, policy),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
            // It goes with the binary: the next version's files have the same names.
            (header::CACHE_CONTROL, "no-cache"),
        ];
        for (name, value) in fields {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("wasm") => "application/wasm",
        Some("svg") => "image/svg+xml",
        Some("ts") | Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_page_and_all_that_it_loads_are_there() {
        if FILES.is_empty() {
            let asked = option_env!("HERMETIC_PLAYGROUND") == Some("none") || option_env!("HERMETIC_ENGINE").is_some();
            assert!(asked, "built without the playground, unasked");
            return;
        }
        assert_eq!(file("").unwrap().name, "index.html");
        for name in ["index.html", "page.js", "style.css", "hermetic.js", "engine.js", "engine_bg.wasm", WORKER] {
            let found = file(name).unwrap();
            let response = found.response();
            let field = |name: &str| response.headers()[name].to_str().unwrap();
            assert_eq!(field("x-content-type-options"), "nosniff", "{name}");
            assert!(field("content-security-policy").starts_with("default-src 'none'"), "{name}");
            assert!(!field("content-security-policy").contains("unsafe-inline"), "{name}");
            assert_ne!(field("content-type"), "application/octet-stream", "{name}");
        }
        assert!(file("engine_bg.wasm").unwrap().octets.starts_with(b"\0asm"));
        assert_eq!(file("../playground.rs"), None);
        assert_eq!(file("jco/jco.js"), None);
    }

    #[test]
    fn the_page_loads_nothing_from_elsewhere_and_has_no_inline_code() {
        for (name, octets) in FILES.iter().filter(|(name, _)| name.ends_with(".html")) {
            let text = str::from_utf8(octets).unwrap();
            for wrong in ["http://", "src=\"//", "<style", "style=\"", "onclick=", "onload="] {
                assert!(!text.contains(wrong), "{name} has {wrong}");
            }
            let scripts = text.matches("<script").count();
            assert_eq!(text.matches("<script type=\"module\" src=\"").count(), scripts, "{name}");
        }
    }
}
