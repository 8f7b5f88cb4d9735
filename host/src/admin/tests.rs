//! The document and the routes say the same; what is asked over a socket happens in the store.
//!
//! Owns a server of this API alone. Refuses to look behind the store. Fails as tests do.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};

use super::{
    desk::{Desk, WAIT},
    routes::{DOCUMENT, ROUTES},
    token::Token,
    *,
};
use crate::{
    config::{Config, Endpoint},
    observe::Metrics,
    plugin::hook::{Facts, Hook, Message, Plugin, Ran, Verdict},
    policy::chain::fake::{Fake, Log},
    queue::{Judged, Rules},
    store::{
        Address, Envelope, Lease, MessageId, NewEntry, Pressure, Route, Settlement, Store as _,
        sqlite::{SqliteStore, now},
    },
};

/// Everybody has one plugin, which wants to know what became of them.
struct House;

#[async_trait::async_trait]
impl Rules for House {
    fn place(&self, _: &Address) -> Result<Route, String> {
        Ok(Route::Relay)
    }
    fn sent_as(&self, _: &Address) -> Option<Address> {
        None
    }
    fn chain(&self, _: &Address, _: &Route) -> Vec<Arc<dyn Plugin>> {
        vec![Fake::make(&Log::default(), "curious", &[Hook::Report], |_, _| Verdict::Proceed)]
    }
    async fn judge(&self, _: Facts, _: &Lease, _: Message) -> Judged {
        Judged { becomes: Err("nobody judges".into()), reply: None, verdicts: None }
    }
    fn record(&self, _: &Address, _: &str, _: Ran) -> String {
        String::new()
    }
}

/// A server of this API alone, over TCP and a Unix socket.
struct Rig {
    folder: TempDir,
    store: Arc<SqliteStore>,
    metrics: Arc<Metrics>,
    config: Arc<ArcSwap<Config>>,
    address: std::net::SocketAddr,
    authorization: String,
}

struct Answer {
    code: u16,
    kind: String,
    allow: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Rig {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::new();
        let store = SqliteStore::open(folder.path(), 0, metrics.clone()).unwrap();
        let config = Config { data: folder.path().to_owned(), ..Config::default() };
        let config = Arc::new(ArcSwap::from_pointee(config));
        let desk = || Desk::new(store.clone(), Arc::new(House), config.clone(), metrics.clone(), Arc::default());
        let tcp = Endpoint::Tcp("127.0.0.1:0".parse().unwrap());
        let tcp = Admin::open(&tcp, folder.path(), desk()).await.unwrap();
        let Endpoint::Tcp(address) = *tcp.endpoint() else { panic!("{}", tcp.endpoint()) };
        let unix = config.load().admin.endpoint(folder.path()).unwrap().unwrap();
        let unix = Admin::open(&unix, folder.path(), desk()).await.unwrap();
        tokio::spawn(tcp.serve());
        tokio::spawn(unix.serve());
        let authorization = Token::read(folder.path()).unwrap().authorization();
        Self { folder, store, metrics, config, address, authorization }
    }

    /// Each of these is a message with its recipients.
    async fn accept(&self, content: &[u8], names: &[&str]) -> MessageId {
        let mut incoming = self.store.begin().unwrap();
        for piece in content.chunks(50_000) {
            if incoming.write(piece).unwrap() == Pressure::Flush {
                incoming.flush().await.unwrap();
            }
        }
        let address = |local: &str| Address { local: local.into(), domain: "example.test".into() };
        let envelope = Envelope { reverse_path: Some(address("anna")), received_at: now(), ..Envelope::default() };
        let entries = names.iter().map(|name| NewEntry::to(address(name), Route::Relay)).collect();
        incoming.accept(envelope, b"Received: x\r\n".to_vec(), entries).await.unwrap()
    }

    async fn raw(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        read(stream).await
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        self.ask_as(&self.authorization, method, path, body).await
    }

    async fn ask_as(&self, authorization: &str, method: &str, path: &str, body: &str) -> Answer {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {authorization}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.raw(&request).await
    }

    async fn change(&self, operation: &str, wanted: Value) -> Value {
        let answer = self.ask("POST", &format!("/v1/queue/{operation}"), &wanted.to_string()).await;
        assert_eq!(answer.code, 200, "{operation} {wanted}: {}", answer.text());
        answer.json()
    }

    async fn list(&self, query: &str) -> Vec<String> {
        let page = self.ask("GET", &format!("/v1/queue?{query}"), "").await.json();
        let shown =
            |entry: &Value| format!("{} {}", entry["recipient"].as_str().unwrap(), entry["state"].as_str().unwrap());
        page["entries"].as_array().unwrap_or_else(|| panic!("{page}")).iter().map(shown).collect()
    }
}

async fn read(mut stream: impl tokio::io::AsyncRead + Unpin) -> Answer {
    let mut octets = Vec::new();
    let all = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut octets));
    all.await.expect("the server closes the connection").unwrap();
    let end = octets.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(octets.len());
    let head = String::from_utf8_lossy(&octets[..end]).into_owned();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
    let (kind, allow) = (field("content-type: "), field("allow: "));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{head}"));
    Answer { code, kind, allow, body: octets.split_off(octets.len().min(end + 4)) }
}

/// As much of JSON Schema as the document uses. Everything in an answer must be described.
fn fits(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        let target = document.pointer(name.trim_start_matches('#')).ok_or_else(|| format!("{at}: no {name}"))?;
        return fits(document, target, value, at);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.clone(),
        one => vec![one.clone()],
    };
    if !kinds.contains(&json!(kind)) {
        return Err(format!("{at}: {kind} instead of {kinds:?}: {value}"));
    }
    if schema["enum"].as_array().is_some_and(|all| !all.contains(value)) {
        return Err(format!("{at}: {value} is none of {}", schema["enum"]));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        fits(document, &schema["items"], item, &format!("{at}[{index}]"))?;
    }
    let Some(object) = value.as_object() else { return Ok(()) };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !object.contains_key(name) {
            return Err(format!("{at}: no {name} in {value}"));
        }
    }
    for (name, value) in object {
        match schema["properties"].get(name) {
            Some(schema) => fits(document, schema, value, &format!("{at}.{name}"))?,
            None if schema["additionalProperties"] == json!(false) => {
                return Err(format!("{at}: {name} is not described"));
            }
            None => {}
        }
    }
    Ok(())
}

/// The names that a struct knows, from what serde says of one that it does not.
fn fields<T: serde::de::DeserializeOwned + std::fmt::Debug>() -> BTreeSet<String> {
    let error = serde_json::from_str::<T>("{\"no-such-key\": 1}").unwrap_err().to_string();
    let (_, names) = error.split_once("expected one of ").unwrap_or_else(|| panic!("{error}"));
    names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_document_and_the_routes_agree() {
    let rig = Rig::new().await;
    let document = rig.ask_as("", "GET", "/openapi.json", "").await;
    assert_eq!((document.code, document.text().as_str()), (200, DOCUMENT));
    let document = document.json();
    assert_eq!(document["openapi"], "3.1.0");

    let documented: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(|verb| (path.clone(), verb.to_uppercase())))
        .collect();
    let routed: BTreeSet<_> = ROUTES.iter().map(|(_, verb, path)| ((*path).to_owned(), (*verb).to_owned())).collect();
    assert_eq!(documented, routed);
    let schemas = &document["components"]["schemas"];
    let keys = |name: &str| schemas[name]["properties"].as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(keys("Wanted"), fields::<wire::Wanted>());
    assert_eq!(keys("Selection"), fields::<wire::Selection>());
    assert_eq!(schemas["Wanted"]["properties"]["wait"]["maximum"], WAIT);

    // There is something of each kind to be shown.
    let id = rig.accept(b"Subject: x\r\n\r\nbody\r\n", &["a", "b", "c", "d"]).await;
    rig.change("hold", json!({"entries": [format!("{id}.1")], "reason": "x"})).await;
    rig.change("drop", json!({"entries": [format!("{id}.2")], "reason": "x"})).await;
    rig.change("drop", json!({"entries": [format!("{id}.3")], "reason": "x", "bounce": true})).await;
    let other = rig.accept(b"Subject: y\r\n\r\n", &["e"]).await;
    for (route, verb, path) in ROUTES {
        let described = &document["paths"][path][verb.to_lowercase()];
        let case = format!("{verb} {path}");
        let full = path.replace("{id}", &id.to_string());
        let body = json!({"entries": [other.to_string()], "reason": "test"}).to_string();
        let body = if verb == "POST" { body.as_str() } else { "" };
        let answer = rig.ask(verb, &full, body).await;
        assert_eq!(answer.code, 200, "{case}: {}", answer.text());
        let content = described["responses"]["200"]["content"].as_object().unwrap();
        assert!(content.contains_key(&answer.kind), "{case}: {:?}", answer.kind);
        if answer.kind == "application/json" {
            let said = fits(&document, &content[&answer.kind]["schema"], &answer.json(), &case);
            said.unwrap_or_else(|problem| panic!("{problem}\n{}", answer.text()));
        }

        // Every answer that goes wrong is described, too.
        let mut wrong = vec![("PATCH", full.clone(), rig.authorization.as_str(), 405)];
        if route != routes::Route::Document {
            wrong.push((verb, full.clone(), "", 401));
            wrong.push((verb, full.clone(), "Bearer wrong", 401));
            wrong.push((verb, full.clone(), &rig.authorization[..20], 401));
            wrong.push((verb, format!("{full}?x=y"), rig.authorization.as_str(), 400));
        }
        if path.contains("{id}") {
            wrong.push((verb, path.replace("{id}", &MessageId::from(7u128).to_string()), &rig.authorization, 404));
        }
        let template = path;
        for (verb, path, authorization, code) in wrong {
            let answer = rig.ask_as(authorization, verb, &path, body).await;
            assert_eq!(answer.code, code, "{verb} {path}: {}", answer.text());
            let allowed = if code == 405 { described_verb(&document["paths"][template]) } else { String::new() };
            assert_eq!(answer.allow, allowed, "{verb} {path}");
            fits(&document, &json!({"$ref": "#/components/schemas/Problem"}), &answer.json(), &case).unwrap();
            let known = described["responses"].get(code.to_string()).is_some();
            assert!(known || [400, 405].contains(&code), "{case}: {code} is not described");
        }
        for parameter in described["parameters"].as_array().into_iter().flatten().filter(|one| one["in"] == "query") {
            let name = parameter["name"].as_str().unwrap();
            let value = match name {
                "state" => "held".to_owned(),
                "message" => id.to_string(),
                "after" => format!("{id}.0"),
                "since" | "before" | "limit" => "5".into(),
                _ => "%40example.test".into(),
            };
            let answer = rig.ask(verb, &format!("{full}?{name}={value}"), "").await;
            assert_eq!(answer.code, 200, "{case}: {name}: {}", answer.text());
        }
    }
}

/// What the document has at a path.
fn described_verb(path: &Value) -> String {
    path.as_object().unwrap().keys().map(|verb| verb.to_uppercase()).collect::<Vec<_>>().join(", ")
}

/// However many recipients a message has: each transaction is of bounded size, and so is what one request can mean.
#[tokio::test]
async fn messages_with_many_recipients() {
    let rig = Rig::new().await;
    let names: Vec<String> = (0..1100).map(|index| format!("u{index}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let id = rig.accept(b"Subject: x\r\n\r\n", &names).await.to_string();
    let came = rig.change("hold", json!({"entries": [id], "reason": "x"})).await;
    let came = came["entries"].as_array().unwrap();
    assert_eq!(came.iter().filter(|each| each["result"] == "done").count(), 1100);
    let again = json!({"entries": vec![id; 19], "reason": "x"}).to_string();
    let answer = rig.ask("POST", "/v1/queue/hold", &again).await;
    assert!(answer.code == 400 && answer.text().contains("more than 20000 entries"), "{}", answer.text());
}

/// What is asked for in words that make no sense.
#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let rig = Rig::new().await;
    let id = rig.accept(b"Subject: x\r\n\r\n", &["a"]).await;
    let many: Vec<_> = (0..1001).map(|index| format!("{id}.{index}")).collect();
    let long = json!({"entries": [], "reason": "x".repeat(300_000)}).to_string();
    for (method, path, body, code, said) in [
        ("GET", "/v1/queue?state=lost", String::new(), 400, "\"lost\" is no state"),
        ("GET", "/v1/queue?limit=0", String::new(), 400, "limit"),
        ("GET", "/v1/queue?limit=1001", String::new(), 400, "limit"),
        ("GET", "/v1/queue?since=now", String::new(), 400, "no time"),
        ("GET", "/v1/queue?after=x", String::new(), 400, "no entry"),
        ("GET", "/v1/queue?message=x", String::new(), 400, "no message's id"),
        ("GET", "/v1/queue/count?limit=5", String::new(), 400, "no limit"),
        ("GET", "/v1/queue/", String::new(), 404, "nothing here"),
        ("GET", "/v1/messages//content", String::new(), 404, "nothing here"),
        ("GET", "/v1/messages/x", String::new(), 400, "no message's id"),
        ("GET", "/v1/why/s.1", String::new(), 404, "nothing is known of s.1"),
        ("POST", "/v1/queue/hold", String::new(), 400, "the body"),
        ("POST", "/v1/queue/hold", "{\"x\": 1}".into(), 400, "unknown field"),
        ("POST", "/v1/queue/hold", json!({"entries": [id.to_string()]}).to_string(), 400, "must have a reason"),
        ("POST", "/v1/queue/drop", json!({"entries": [id.to_string()], "reason": "\n "}).to_string(), 400, "reason"),
        ("POST", "/v1/queue/hold", json!({"reason": "x"}).to_string(), 400, "either `entries` or `filter`"),
        ("POST", "/v1/queue/retry", json!({"entries": [], "filter": {}}).to_string(), 400, "either"),
        ("POST", "/v1/queue/retry", json!({"entries": [], "after": "x"}).to_string(), 400, "either"),
        ("POST", "/v1/queue/retry", json!({"entries": ["x"]}).to_string(), 400, "no message's id"),
        ("POST", "/v1/queue/retry", json!({"entries": [], "bounce": true}).to_string(), 400, "bounce"),
        ("POST", "/v1/queue/retry", json!({"entries": many}).to_string(), 400, "too many"),
        ("POST", "/v1/queue/hold", long, 413, "length limit"),
    ] {
        let answer = rig.ask(method, path, &body).await;
        let shown = &body[..body.len().min(100)];
        let problem = answer.json()["error"].as_str().unwrap_or_default().to_owned();
        assert!(answer.code == code && problem.contains(said), "{path} {shown}: {} {problem}", answer.code);
    }
    assert_eq!(rig.list("").await, ["a@example.test queued"]);
    assert_eq!(rig.raw("\r\n\r\nnonsense\r\n\r\n").await.code, 400);
}

/// A day at the desk: what is done shows in lists, in the store, in `why` and in the metrics.
#[tokio::test]
async fn operations() {
    let rig = Rig::new().await;
    let large = [b"Subject: large\r\n\r\n".as_slice(), &vec![b'x'; 300_000]].concat();
    let first = rig.accept(&large, &["a", "b"]).await;
    let second = rig.accept(b"Subject: \xff\r\n\r\nbody", &["c"]).await;
    let all = ["a@example.test queued", "b@example.test queued", "c@example.test queued"];
    assert_eq!(rig.list("").await, all);

    // Octet for octet, small or large.
    let content = rig.ask("GET", &format!("/v1/messages/{first}.1/content"), "").await;
    assert!(content.body == [b"Received: x\r\n".as_slice(), &large].concat(), "{} octets", content.body.len());
    let content = rig.ask("GET", &format!("/v1/messages/{second}/content"), "").await;
    assert_eq!(content.body, b"Received: x\r\nSubject: \xff\r\n\r\nbody");
    let shown = rig.ask("GET", &format!("/v1/messages/{second}"), "").await.json();
    assert_eq!(shown["header"], "Received: x\r\nSubject: \u{fffd}\r\n");

    // By a filter, page by page; who did it is the reason.
    let filter = json!({"filter": {"recipient": "@example.test", "state": ["queued"]}, "by": "an\u{7}na", "reason": "odd\nmail"});
    let came = rig.change("hold", filter).await;
    assert_eq!((came["entries"].as_array().unwrap().len(), &came["next"]), (3, &Value::Null));
    assert_eq!(
        rig.list("state=held&limit=2").await,
        all[..2].iter().map(|one| one.replace("queued", "held")).collect::<Vec<_>>()
    );
    let page = rig.ask("GET", "/v1/queue?limit=2", "").await.json();
    assert_eq!(page["entries"][0]["reason"], "held by an na (from 127.0.0.1): odd mail");
    assert_eq!(page["next"], format!("{first}.1"));
    assert_eq!(rig.list(&format!("after={first}.1")).await, ["c@example.test held"]);
    let counted = rig.ask("GET", "/v1/queue/count?reason=ODD", "").await.json();
    assert_eq!(counted, json!({"count": 3, "next": null}));

    // The scheme may be written as one likes.
    for (scheme, code) in [("bearer", 200), ("BEARER", 200), ("Basic", 401), ("Bearer:", 401)] {
        let authorization = rig.authorization.replacen("Bearer", scheme, 1);
        assert_eq!(rig.ask_as(&authorization, "GET", "/v1/queue", "").await.code, code, "{scheme}");
    }

    // Each by its id, and what is no more.
    let came = rig
        .change(
            "release",
            json!({"entries": [second.to_string(), format!("{first}.9"), MessageId::from(7u128).to_string()]}),
        )
        .await;
    let said: BTreeMap<_, _> = came["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|each| (each["entry"].as_str().unwrap(), each["result"].as_str().unwrap()))
        .collect();
    let ids = [format!("{second}.0"), format!("{first}.9"), MessageId::from(7u128).to_string()];
    assert_eq!(said, ids.iter().map(String::as_str).zip(["done", "gone", "gone"]).collect());

    // What is worked on is waited for.
    let lease = rig.store.claim(now(), 1, Duration::from_secs(60)).await.unwrap().pop().unwrap();
    assert_eq!(rig.list("state=leased").await, ["c@example.test leased"]);
    let named =
        |id: MessageId, wait: u64| json!({"entries": [id.to_string()], "reason": "enough", "by": "anna", "wait": wait});
    assert_eq!(rig.change("drop", named(second, 0)).await["entries"][0]["result"], "leased");
    let store = rig.store.clone();
    let settled = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let retry = Settlement::Retry { at: now() + 3_600_000, reason: "busy".into() };
        store.settle(vec![(lease, retry).into()]).await.unwrap()
    });
    assert_eq!(rig.change("drop", named(second, 20)).await["entries"][0]["result"], "done");
    assert_eq!(settled.await.unwrap(), [], "the attempt counted, and then the entry went");
    assert_eq!(rig.ask("GET", &format!("/v1/messages/{second}"), "").await.code, 404);
    let why = rig.ask("GET", &format!("/v1/why/{second}"), "").await.json();
    assert_eq!(why["judged"][0]["outcome"], "dropped by anna (from 127.0.0.1): enough");
    assert_eq!(why["judged"][0]["recipient"], "c@example.test");
    let (reports, _) = rig.store.reports(now(), 9).await.unwrap();
    assert!(
        reports.len() == 1 && reports[0].text.contains("discarded") && reports[0].text.contains("enough"),
        "{reports:?}"
    );

    // Its sender is told by the queue.
    let came = rig.change("drop", json!({"entries": [format!("{first}.0")], "reason": "spam", "bounce": true})).await;
    assert_eq!(came["entries"][0]["result"], "done");
    let page = rig.ask("GET", "/v1/queue", "").await.json();
    assert_eq!(page["entries"][0]["pending"], "bounce");
    assert_eq!(page["entries"][0]["pending_reason"], "5.7.1 refused by the operator: spam");
    let why = rig.ask("GET", &format!("/v1/why/{first}"), "").await.json();
    assert_eq!(why["judged"][0]["outcome"], "dropped, its sender to be told, by somebody (from 127.0.0.1): spam");
    assert_eq!(why["entries"].as_array().unwrap().len(), 2);

    let metrics = rig.metrics.text();
    for line in ["hold\"} 3", "release\"} 1", "drop\"} 1", "bounce\"} 1", "retry\"} 0"] {
        assert!(metrics.contains(&format!("hermetic_queue_changes_total{{operation=\"{line}")), "{line}\n{metrics}");
    }

    // A queue on hold says so.
    let mut config = Config::clone(&rig.config.load());
    config.queue.hold = true;
    rig.config.store(Arc::new(config));
    let page = rig.ask("GET", "/v1/queue", "").await.json();
    assert_eq!((&page["on_hold"], &page["entries"][0]["next_attempt"]), (&json!(true), &Value::Null));
}

/// The Unix socket is its owner's, who it is comes from the system, and it goes with the server.
#[tokio::test]
async fn the_socket() {
    use std::os::unix::fs::PermissionsExt as _;
    let rig = Rig::new().await;
    let id = rig.accept(b"x", &["a"]).await;
    let path = rig.folder.path().join("admin/socket");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    let body = json!({"entries": [id.to_string()], "reason": "x"}).to_string();
    let request = format!(
        "POST /v1/queue/hold HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\nContent-Length: {}\r\n\r\n{body}",
        rig.authorization,
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(read(stream).await.code, 200);
    let page = rig.ask("GET", "/v1/queue", "").await.json();
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(page["entries"][0]["reason"], format!("held by somebody (uid {uid}): x"));

    let desk =
        || Desk::new(rig.store.clone(), Arc::new(House), rig.config.clone(), rig.metrics.clone(), Arc::default());
    let other = rig.folder.path().join("other");
    let served = Admin::open(&Endpoint::Unix(other.clone()), rig.folder.path(), desk()).await.unwrap();
    drop(served);
    assert!(!other.exists());
    for (endpoint, expected) in [
        (Endpoint::Unix(path), "another process listens there"),
        (Endpoint::Unix(rig.folder.path().join("x".repeat(120))), "admin.listen: cannot listen on unix:"),
        (Endpoint::Tcp("0.0.0.0:0".parse().unwrap()), "not a loopback address"),
    ] {
        let error = Admin::open(&endpoint, rig.folder.path(), desk()).await.err().unwrap().to_string();
        assert!(error.contains(expected), "{endpoint}: {error}");
    }
}
