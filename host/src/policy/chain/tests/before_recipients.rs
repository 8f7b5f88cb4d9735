//! What is decided before plugins see a recipient: at MAIL, by how often they were called, and by whom it comes with.

use super::{super::fake::chains_refusing, *};

#[tokio::test]
async fn early() {
    for (verdict, at, expected, asked) in [
        (defer("later"), "a", Some(451), vec!["a new", "a connection", "a sender"]),
        (
            reject("never"),
            "b",
            Some(550),
            vec!["a new", "a connection", "a sender", "b new", "b connection", "b sender"],
        ),
        (Verdict::Accept, "a", None, vec!["a new", "a connection", "a sender"]),
    ] {
        let log = Log::default();
        let plugin = |name: &'static str| {
            let verdict = verdict.clone();
            Fake::make(&log, name, &ENVELOPE, move |asked, _| match asked.hook {
                Hook::Sender if name == at => verdict.clone(),
                _ => Verdict::Proceed,
            })
        };
        let routes = [("one@example.test", "c"), ("two@example.test", "c a"), ("* x@example.test", "a b"), ("*", "c")];
        let chains = chains(vec![plugin("a"), plugin("b"), plugin("c")], &routes).unwrap();
        let mut judging = judging(&chains);
        let outcome = judging.early().await;
        assert_eq!(outcome.fate().refusal().map(|refusal| refusal.code), expected, "{verdict:?} of {at}");
        assert_eq!(taken(&log), asked);
        // They are not asked again.
        judging.envelope(&[to("two")]).await;
        assert!(!taken(&log).iter().any(|line| line == "a connection" || line == "a sender"));
    }
}

/// A plugin that was called often enough defers whoever is left, and says why; other plugins go on.
#[tokio::test]
async fn calls_are_bounded() {
    let log = Log::default();
    let few =
        Fake::make(&log, "few", &[Hook::Recipient, Hook::Message, Hook::RecipientMessage], |_, _| Verdict::Proceed);
    let more = Fake::make(&log, "more", &[Hook::Recipient], |_, _| Verdict::Proceed);
    let chains = chains(vec![few, more], &[("free@example.test", "more"), ("*", "few more")]).unwrap();
    let codes = |outcomes: &[Outcome]| -> Vec<u16> {
        outcomes.iter().map(|outcome| outcome.fate().refusal().map_or(250, |refusal| refusal.code)).collect()
    };
    let mut first = judging(&chains);
    let outcomes = first.envelope(&["1", "2", "3", "4", "free"].map(to)).await;
    assert_eq!(codes(&outcomes), [250, 250, 250, 451, 250]);
    let refusal = outcomes[3].fate().refusal().unwrap();
    assert_eq!((refusal.subject, refusal.detail), (5, 3), "{refusal:?}");
    assert_eq!(codes(&first.message(message(), 4).await), [451, 451, 451, 250]);
    // With one recipient there is room for its own two hooks and the one for all.
    let mut second = judging(&chains);
    second.envelope(&[to("1")]).await;
    assert_eq!(codes(&second.message(message(), 4).await), [250]);
    let calls = taken(&log).iter().filter(|line| line.starts_with("few") && !line.ends_with("new")).count();
    assert_eq!(calls, 6);
}

/// One transaction: the recipients and what each was told.
async fn transaction(chains: &Arc<Chains>, returns: &Arc<Returns>, client: &str, names: &[&str]) -> String {
    let facts = Facts {
        client_address: Some(client.parse().unwrap()),
        reverse_path: Some("S@far.test".into()),
        ..Facts::default()
    };
    let mut judging = Judging::new(chains.clone(), facts).splitting(returns, 3);
    let mut told = String::new();
    for name in names {
        let outcome = judging.envelope(&[to(name)]).await.remove(0);
        told.push(match outcome.fate() {
            Fate::Accepted => '+',
            Fate::Apart => '-',
            _ => '!',
        });
    }
    told
}

#[tokio::test]
async fn groups() {
    let log = Log::default();
    let plugin = |name| {
        Fake::make(&log, name, &[Hook::Recipient, Hook::RecipientMessage], |asked, _| {
            if asked.to.starts_with("not") { reject("no") } else { Verdict::Proceed }
        })
    };
    let routes = [
        ("a*@example.test not-a@example.test", "a", "split"),
        ("b*@example.test", "b", "split"),
        ("kept-a*@example.test", "a", "quarantine"),
        ("q*@example.test", "q", "quarantine"),
        ("r*@example.test", "a q", "bounce"),
    ];
    let chains = chains_refusing(vec![plugin("a"), plugin("b"), plugin("q")], &routes).unwrap();
    for (names, expected) in [
        (&["a1", "a2", "b1", "a3", "b2"][..], "++-+-"),
        // Who is refused fixes nothing.
        (&["not-a", "b1", "a1"], "!+-"),
        // Those who do not mind are with whom they like, but not with those who do.
        (&["q1", "r1", "free"], "+++"),
        (&["q1", "a1"], "+-"),
        (&["a1", "q1", "free"], "+--"),
        (&["kept-a", "a1"], "++"),
        (&["kept-a", "q1", "a1"], "++-"),
        // Not for ever: a session with too many refusals would be ended.
        (&["a1", "b1", "b2", "b2", "b3", "b4", "b5"], "+----++"),
    ] {
        let told = transaction(&chains, &Arc::default(), "192.0.2.1", names).await;
        assert_eq!(told, expected, "{names:?}");
    }
    let returns = Arc::default();
    // Whoever sends to the rest is told the same with each message.
    for _ in 0..5 {
        assert_eq!(transaction(&chains, &returns, "192.0.2.1", &["a1", "b1", "q1"]).await, "+--");
        assert_eq!(transaction(&chains, &returns, "192.0.2.1", &["b1", "q1"]).await, "+-");
        assert_eq!(transaction(&chains, &returns, "192.0.2.1", &["q1"]).await, "+");
    }
    // Whoever sends to all again is let in the third time, from any host of its network; repeating a recipient within
    // one transaction is no visit.
    assert_eq!(transaction(&chains, &returns, "192.0.2.1", &["a1", "b1", "b1", "b1"]).await, "+---");
    assert_eq!(transaction(&chains, &returns, "192.0.2.9", &["a1", "b1"]).await, "+-");
    assert_eq!(transaction(&chains, &returns, "192.0.3.9", &["a1", "b1"]).await, "+-", "of another network");
    assert_eq!(transaction(&chains, &returns, "192.0.2.200", &["a1", "b1"]).await, "++");
    assert_eq!(transaction(&chains, &returns, "192.0.2.1", &["a1", "b1"]).await, "++");
    // Other recipients are another matter.
    assert_eq!(transaction(&chains, &returns, "192.0.2.1", &["a2", "b1"]).await, "+-");
}
