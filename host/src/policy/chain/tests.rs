//! Chains over plugins that are closures: who is asked when, what each sees, and what comes of it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod before_recipients;
mod sent_on;

use proptest::prelude::*;

use super::{
    fake::{Fake, Log, append, chains, defer, reject},
    *,
};
use crate::plugin::hook::{Edit, Facts, Message, Reason, Verdict};

fn to(local: &str) -> (Address, Route) {
    let address = Address { local: local.into(), domain: "example.test".into() };
    let route = Route::Local(address.to_string());
    (address, route)
}

fn message() -> Option<Message> {
    Some(Message { prefix: b"Received: x\r\n".to_vec(), content: b"A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n\r\nbody".to_vec() })
}

fn judging(chains: &Arc<Chains>) -> Judging {
    Judging::new(chains.clone(), Facts { transaction_id: "s.1".into(), ..Facts::default() })
}

fn taken(log: &Log) -> Vec<String> {
    std::mem::take(&mut *log.lock())
}

const ENVELOPE: [Hook; 3] = [Hook::Connection, Hook::Sender, Hook::Recipient];
const CONTENT: [Hook; 2] = [Hook::Message, Hook::RecipientMessage];

#[test]
fn routes() {
    let log = Log::default();
    let plugins = ["a", "b", "postmaster-too"].map(|name| Fake::make(&log, name, &ENVELOPE, |_, _| Verdict::Proceed));
    let routes = [
        ("anna@example.test", "a b"),
        ("lists-*@example.test @far.test", "b"),
        ("free@example.test", ""),
        ("*", "a postmaster-too"),
    ];
    let chains = chains(plugins.to_vec(), &routes).unwrap();
    let address = |local: &str, domain: &str| Address { local: local.into(), domain: domain.into() };
    let here = |mailbox: &str| Route::Local(mailbox.into());
    for (given, route, expected) in [
        (address("anna", "example.test"), here("anna@example.test"), "a b"),
        (address("Anna+x", "Example.Test"), here("anna@example.test"), "a b"),
        (address("alias", "example.test"), here("anna@example.test"), "a b"),
        (address("lists-1", "example.test"), here("bob@example.test"), "b"),
        (address("x", "FAR.test"), Route::Relay, "b"),
        (address("free", "example.test"), here("free@example.test"), ""),
        (address("other", "example.test"), here("other@example.test"), "a postmaster-too"),
        (address("Postmaster", "example.test"), here("anna@example.test"), ""),
        (address("postmaster", ""), here("bob@example.test"), "postmaster-too"),
        (address("postmaster", "else.test"), Route::Relay, "a postmaster-too"),
    ] {
        assert_eq!(chains.names(&given, &route).join(" "), expected, "{given} {route:?}");
    }
    assert!(super::fake::chains(vec![], &[]).is_none());
    assert!(super::fake::chains(plugins.to_vec(), &[("*", "")]).is_none(), "nobody is ever judged");
}

/// Each hook runs as often as it should, an instance lives for one phase, and scratch goes from one to the next.
#[tokio::test]
async fn order_and_instances() {
    let log = Log::default();
    let all = [&ENVELOPE[..], &CONTENT].concat();
    let a = Fake::make(&log, "a", &all, |asked, _| {
        let mut scratch = asked.scratch.lock();
        scratch.entry("hooks".into()).or_default().push(b'0' + asked.hook as u8);
        assert_eq!(asked.facts.transaction_id, "s.1");
        assert_eq!(asked.message.is_some(), asked.hook as u8 >= Hook::Message as u8);
        match (asked.hook, asked.to) {
            (Hook::Recipient, "refused") => reject("no"),
            (Hook::Recipient, "accepted") => Verdict::Accept,
            (Hook::RecipientMessage, "two") => {
                assert_eq!(scratch["hooks"], b"0122223444", "all calls so far");
                Verdict::Proceed
            }
            (Hook::RecipientMessage, "accepted") => Verdict::Accept,
            _ => Verdict::Proceed,
        }
    });
    let b = Fake::make(&log, "b", &[Hook::Recipient, Hook::RecipientMessage], |_, _| Verdict::Proceed);
    let chains = chains(vec![a, b], &[("*", "a b")]).unwrap();
    let mut judging = judging(&chains);
    let outcomes = judging.envelope(&[to("one"), to("refused"), to("accepted")]).await;
    let refusals: Vec<_> =
        outcomes.iter().map(|outcome| outcome.fate().refusal().map(|refusal| refusal.code)).collect();
    assert_eq!(refusals, [None, Some(550), None]);
    assert_eq!(
        taken(&log),
        [
            "a new",
            "a connection",
            "a sender",
            "a recipient one",
            "b new",
            "b recipient one",
            "a recipient refused",
            "a recipient accepted",
        ]
    );
    judging.envelope(&[to("two")]).await;
    assert_eq!(
        taken(&log),
        ["a new", "a recipient two", "b new", "b recipient two"],
        "a wait for the client is between"
    );
    assert!(judging.wants_content());
    let outcomes = judging.message(message(), 4).await;
    assert_eq!(
        taken(&log),
        [
            "a new",
            "a message",
            "a recipient-message one",
            "a recipient-message accepted",
            "a recipient-message two",
            "b new",
            "b recipient-message one",
            "b recipient-message two",
        ]
    );
    assert!(outcomes.iter().all(|outcome| outcome.fate().is_accepted()));
    let ran: Vec<_> = outcomes.iter().map(|outcome| outcome.steps.len()).collect();
    assert_eq!(ran, [7, 5, 7], "each recipient's own steps, connection and sender too");
}

/// What `connection` or `sender` says counts for each recipient of the plugin, and is asked once.
#[tokio::test]
async fn what_is_said_once_counts_for_all() {
    for (verdict, hook, asked) in [
        (defer("later"), Hook::Connection, vec!["a new", "a connection"]),
        (reject("never"), Hook::Sender, vec!["a new", "a connection", "a sender"]),
        (Verdict::Accept, Hook::Sender, vec!["a new", "a connection", "a sender"]),
    ] {
        let log = Log::default();
        let (said, at) = (verdict.clone(), hook);
        let a = Fake::make(
            &log,
            "a",
            &ENVELOPE,
            move |asked, _| {
                if asked.hook == at { said.clone() } else { Verdict::Proceed }
            },
        );
        let chains = chains(vec![a], &[("free@example.test", ""), ("*", "a")]).unwrap();
        let mut judging = judging(&chains);
        let outcomes = judging.envelope(&[to("one"), to("free"), to("two")]).await;
        let fates: Vec<_> = outcomes.iter().map(Outcome::fate).collect();
        let expected = Fate::of("a", &verdict).unwrap();
        assert_eq!(fates, [expected.clone(), Fate::Accepted, expected.clone()]);
        assert_eq!(taken(&log), asked);
        assert_eq!(judging.envelope(&[to("three")]).await[0].fate(), expected);
        assert_eq!(taken(&log), Vec::<String>::new());
    }
}

/// A later plugin sees an earlier one's edits; no recipient sees another one's. `message` sees what its recipients have
/// in common, and what it makes gets free numbers.
#[tokio::test]
async fn edits_are_each_recipients_own() {
    let log = Log::default();
    let a = Fake::make(&log, "a", &[Hook::RecipientMessage], |asked, wishes| {
        assert_eq!(wishes.edits, [], "{}", asked.to);
        append(wishes, "X-A", asked.to);
        Verdict::Proceed
    });
    let b = Fake::make(&log, "b", &CONTENT, |asked, wishes| {
        match asked.hook {
            Hook::Message => {
                assert_eq!(wishes.edits, [], "the recipients have nothing in common");
                let id = append(wishes, "X-B", "all");
                wishes.edits.push(Edit::Replace(id, "every".into()));
            }
            _ => assert_eq!(wishes.edits.len(), if asked.to == "free" { 2 } else { 3 }),
        }
        Verdict::Proceed
    });
    let c = Fake::make(&log, "c", &[Hook::Message], |_, wishes| {
        append(wishes, "X-C", "all");
        wishes.edits.push(Edit::Remove(4));
        Verdict::Proceed
    });
    let chains =
        chains(vec![a, b, c], &[("free@example.test", "b"), ("alone@example.test", "a c"), ("*", "a b")]).unwrap();
    let mut judging = judging(&chains);
    judging.envelope(&[to("one"), to("free"), to("alone"), to("two")]).await;
    assert_eq!(taken(&log), Vec::<String>::new(), "nobody has a hook at the envelope");
    let outcomes = judging.message(message(), 4).await;
    let field = |id, name: &str, value: &str| Edit::Append(id, name.into(), value.into());
    let every = |id| Edit::Replace(id, "every".into());
    for (outcome, expected) in outcomes.iter().zip([
        vec![field(4, "X-A", "one"), field(5, "X-B", "all"), every(5)],
        vec![field(4, "X-B", "all"), every(4)],
        // It alone has this chain, so `message` saw its view.
        vec![field(4, "X-A", "alone"), field(5, "X-C", "all"), Edit::Remove(4)],
        vec![field(4, "X-A", "two"), field(5, "X-B", "all"), every(5)],
    ]) {
        assert_eq!(outcome.wishes.edits, expected);
    }
    assert_eq!(taken(&log).iter().filter(|line| line.ends_with(" message")).count(), 2);
}

/// No client waits for longer than it may: whose turn does not come in time is deferred, and not asked for.
#[tokio::test(start_paused = true)]
async fn slow_plugins() {
    let log = Log::default();
    let a = Fake::make(&log, "a", &[Hook::Recipient, Hook::RecipientMessage], |_, _| Verdict::Proceed);
    let chains = chains(vec![a], &[("free@example.test", ""), ("*", "a")]).unwrap();
    let mut judging = judging(&chains);
    let batch = ["slow1", "slow2", "slow3", "free"].map(to);
    let fates: Vec<_> = judging.envelope(&batch).await.iter().map(|outcome| outcome.fate().refusal()).collect();
    let codes: Vec<_> = fates.iter().map(|refusal| refusal.as_ref().map(|refusal| refusal.code)).collect();
    assert_eq!(codes, [None, None, Some(451), None]);
    for n in 4..12 {
        judging.envelope(&[to(&format!("slow{n}"))]).await;
    }
    taken(&log);
    let began = tokio::time::Instant::now();
    let outcomes = judging.message(message(), 4).await;
    assert!(began.elapsed().as_secs() < 600, "{:?}", began.elapsed());
    let accepted: Vec<_> = outcomes.iter().map(|outcome| outcome.fate().is_accepted()).collect();
    assert_eq!(accepted, [[true; 9].as_slice(), &[false; 2]].concat());
    assert_eq!(taken(&log).len(), 1 + 8, "the last two are not asked for");
    let refusal = outcomes[10].fate().refusal().unwrap();
    assert_eq!((refusal.code, refusal.subject), (451, 3));
}

/// Chains that contradict each other end too, and each is kept.
#[tokio::test]
async fn contradicting_chains() {
    let log = Log::default();
    let mark = |name: &'static str| {
        Fake::make(&log, name, &[Hook::RecipientMessage], move |_, wishes| {
            wishes.add.push(name.into());
            Verdict::Proceed
        })
    };
    let routes = [("one@example.test", "a b"), ("two@example.test", "b a"), ("three@example.test", "b c a")];
    let chains = chains(vec![mark("a"), mark("b"), mark("c")], &routes).unwrap();
    let mut judging = judging(&chains);
    judging.envelope(&[to("one"), to("two"), to("three")]).await;
    let outcomes = judging.message(message(), 4).await;
    let order: Vec<_> = outcomes.iter().map(|outcome| outcome.wishes.add.join(" ")).collect();
    assert_eq!(order, ["a b", "b a", "b c a"]);
    assert_eq!(taken(&log).iter().filter(|line| line.ends_with("new")).count(), 3, "one instance each");
}

fn verdicts() -> impl Strategy<Value = Verdict> {
    let reason =
        (0..9_u16, 0..1200_u16, "[a-z]{1,5}").prop_map(|(subject, detail, text)| Reason { subject, detail, text });
    prop_oneof![
        Just(Verdict::Proceed),
        Just(Verdict::Proceed),
        Just(Verdict::Accept),
        Just(Verdict::Discard),
        reason.clone().prop_map(Verdict::Defer),
        reason.prop_map(Verdict::Reject),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever chains say: a recipient's fate is its first final verdict, nobody after that is asked for it, and no
    /// status contradicts its class.
    #[test]
    fn the_first_final_verdict_counts(
        said in prop::collection::vec(prop::collection::vec(verdicts(), 3), 1..6),
        orders in prop::collection::vec(Just(vec![0, 1, 2]).prop_shuffle(), 6),
        lengths in prop::collection::vec(0..4_usize, 6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let log = Log::default();
        let plugins: Vec<_> = (0..3).map(|plugin| {
            let said = said.clone();
            Fake::make(&log, &format!("p{plugin}"), &[Hook::RecipientMessage], move |asked, wishes| {
                let recipient: usize = asked.to.trim_start_matches('r').parse().unwrap();
                append(wishes, "X", &format!("{recipient} {plugin}"));
                said[recipient][plugin].clone()
            })
        }).collect();
        let chain = |recipient: usize| &orders[recipient][..lengths[recipient].min(3)];
        let routes: Vec<_> = (0..said.len()).map(|recipient| {
            let names: Vec<_> = chain(recipient).iter().map(|plugin| format!("p{plugin}")).collect();
            (format!("r{recipient}@example.test"), names.join(" "))
        }).collect();
        let routes: Vec<_> = routes.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let Some(chains) = chains(plugins, &routes) else { return Ok(()) };
        let outcomes = runtime.block_on(async {
            let mut judging = judging(&chains);
            let batch: Vec<_> = (0..said.len()).map(|recipient| to(&format!("r{recipient}"))).collect();
            judging.envelope(&batch).await;
            judging.message(message(), 4).await
        });
        prop_assert_eq!(outcomes.len(), said.len());
        for (recipient, outcome) in outcomes.iter().enumerate() {
            let mut expected = (Fate::Accepted, Vec::new(), Vec::new());
            for plugin in chain(recipient) {
                let verdict = &said[recipient][*plugin];
                expected.1.push(format!("p{plugin}"));
                if !matches!(verdict, Verdict::Defer(_) | Verdict::Reject(_)) {
                    expected.2.push(format!("{recipient} {plugin}"));
                }
                if let Some(fate) = Fate::of(&format!("p{plugin}"), verdict) {
                    expected.0 = fate;
                    break;
                }
            }
            let asked: Vec<_> = outcome.steps.iter().map(|step| step.ran.plugin.clone()).collect();
            let edits: Vec<_> = outcome.wishes.edits.iter().map(|edit| match edit {
                Edit::Append(_, _, value) => value.clone(),
                other => panic!("{other:?}"),
            }).collect();
            prop_assert_eq!((outcome.fate(), asked, edits), expected);
            match (outcome.fate(), outcome.fate().refusal()) {
                (Fate::Accepted | Fate::Discarded, refusal) => prop_assert_eq!(refusal, None),
                (Fate::Deferred(..), Some(refusal)) => prop_assert_eq!(refusal.code / 100, 4),
                (Fate::Refused(..), Some(refusal)) => prop_assert_eq!(refusal.code / 100, 5),
                (Fate::Apart, _) => prop_assert!(false, "nobody is told to come apart after the content"),
                (fate, None) => prop_assert!(false, "{:?} has no reply", fate),
            }
            if let Some(refusal) = outcome.fate().refusal() {
                prop_assert!(refusal.subject <= 7 && refusal.detail <= 999);
            }
        }
        let fates: Vec<_> = outcomes.iter().map(Outcome::fate).collect();
        let accepted = fates.iter().filter(|fate| fate.refusal().is_none()).count();
        prop_assert_eq!(mixed(&fates), accepted > 0 && accepted < fates.len());
    }
}
