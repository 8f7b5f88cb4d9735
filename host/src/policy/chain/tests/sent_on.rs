//! Copies that plugins send on: judged, bounded, never lost.

use super::*;
use crate::{config::Config, policy::Policy, policy::auth::Users};

fn policy() -> Arc<Policy> {
    let domain = "[[domain]]\nname = \"example.test\"\nmailboxes = [\"*\"]\n[[domain]]\nname = \"strict.test\"\n\
                  mailboxes = [\"postmaster\"]\n";
    let config: Config = toml::from_str(domain).unwrap();
    Arc::new(Policy::new(config.into(), Users::empty().into()).unwrap())
}

fn full(name: &str) -> String {
    if name.contains('@') || name.contains('?') { name.into() } else { format!("{name}@example.test") }
}

/// A recipient with its copies, in short.
fn shown(outcome: &Outcome) -> String {
    let fate = match outcome.fate() {
        Fate::Accepted if outcome.sent_away => "away".into(),
        fate => fate.describe().replace(" by plugin guard", ""),
    };
    let copies: Vec<String> = outcome
        .copies
        .iter()
        .map(|copy| {
            let to = copy.to.trim_end_matches("@example.test");
            match &copy.landing {
                Landing::Here(_, _, outcome) => format!("{to} {}", shown(outcome)),
                Landing::Known(_, _, fate) => {
                    format!("{to} known, {}", fate.describe().replace(" by plugin guard", ""))
                }
                Landing::Nowhere(problem) => format!("{to} nowhere: {problem}"),
            }
        })
        .collect();
    if copies.is_empty() { fate } else { format!("{fate} ({})", copies.join("; ")) }
}

/// `table`: who is sent on to whom, `+` before whoever is added; `guard` judges by name whoever is reached.
async fn sent(hook: Hook, table: &'static [(&'static str, &'static str)], recipients: &[&str]) -> (Vec<String>, Log) {
    let log = Log::default();
    let forwards = Fake::make(&log, "f", &[hook], move |asked, wishes| {
        let Some((_, to)) = table.iter().find(|(from, _)| *from == asked.to) else { return Verdict::Proceed };
        for name in to.split_whitespace() {
            match name.strip_prefix('+') {
                Some(name) => wishes.add.push(full(name)),
                None => wishes.redirect.get_or_insert_default().push(full(name)),
            }
        }
        Verdict::Proceed
    });
    let guard = Fake::make(&log, "guard", &[Hook::RecipientMessage], |asked, _| match asked.to {
        "closed" => reject("no"),
        "busy" => defer("wait"),
        "void" => Verdict::Discard,
        _ => Verdict::Proceed,
    });
    let chains = chains(vec![forwards, guard], &[("*", "f guard")]).unwrap();
    let mut judging = judging(&chains).sending_on(policy());
    let batch: Vec<_> = recipients.iter().map(|local| to(local)).collect();
    assert!(judging.envelope(&batch).await.iter().all(|outcome| outcome.fate().is_accepted()));
    assert!(judging.wants_content());
    let outcomes = judging.message(message(), 4).await;
    (outcomes.iter().map(shown).collect(), log)
}

#[tokio::test]
async fn nobodys_plugins_are_bypassed_and_nothing_is_lost() {
    for (table, recipients, expected) in [
        (&[("a", "b")][..], &["a"][..], &["away (b accepted)"][..]),
        (&[("a", "b"), ("b", "c +d")], &["a"], &["away (b away (c accepted; d accepted))"]),
        // To itself is to keep it, in any spelling.
        (&[("a", "a")], &["a"], &["accepted"]),
        (&[("a", "A@EXAMPLE.test b b")], &["a"], &["accepted (b accepted)"]),
        // In a circle nobody would get it, so whoever closes it keeps it for the operator.
        (&[("a", "b"), ("b", "a")], &["a"], &["away (b away (a nowhere: it goes in a circle))"]),
        (
            &[("a", "b"), ("b", "a")],
            &["a", "b"],
            &["away (b known, accepted)", "away (a nowhere: it goes in a circle)"],
        ),
        (&[("a", "b"), ("b", "c"), ("c", "b")], &["a"], &["away (b away (c away (b nowhere: it goes in a circle)))"]),
        // Who keeps a copy may be come back to.
        (&[("a", "+b"), ("b", "+a")], &["a"], &["accepted (b accepted)"]),
        (&[("a", "+b"), ("b", "a")], &["a"], &["accepted (b away)"]),
        // What the others say of all copies is what the recipient says.
        (&[("a", "closed")], &["a"], &["refused: no (closed refused: no)"]),
        (&[("a", "closed busy")], &["a"], &["deferred: wait (closed refused: no; busy deferred: wait)"]),
        (&[("a", "closed b")], &["a"], &["away (closed refused: no; b accepted)"]),
        (&[("a", "+closed")], &["a"], &["accepted (closed refused: no)"]),
        (&[("a", "void")], &["a"], &["away (void accepted and discarded)"]),
        (&[("a", "b"), ("b", "closed")], &["a"], &["refused: no (b refused: no (closed refused: no))"]),
        (
            &[("a", "closed"), ("b", "closed"), ("c", "closed +d")],
            &["a", "b", "c"],
            &[
                "refused: no (closed refused: no)",
                "refused: no (closed known, refused: no)",
                "away (closed known, refused: no; d accepted)",
            ],
        ),
        // An address that is a recipient too is judged once.
        (&[("a", "b")], &["b", "a"], &["accepted", "away (b known, accepted)"]),
        (
            &[("a", "what? no@strict.test b@far.test")],
            &["a"],
            &[
                "away (what? nowhere: it is no address; no@strict.test nowhere: there is no such mailbox here; b@far.test accepted)",
            ],
        ),
        (
            &[("0", "1"), ("1", "2"), ("2", "3"), ("3", "4"), ("4", "5"), ("5", "6")],
            &["0"],
            &["away (1 away (2 away (3 away (4 away (5 away (6 nowhere: it was sent on 5 times already))))))"],
        ),
    ] {
        for hook in [Hook::Recipient, Hook::RecipientMessage] {
            let (found, log) = sent(hook, table, recipients).await;
            let expected: Vec<String> =
                expected.iter().map(|text| text.replace(" by plugin guard", "").to_string()).collect();
            assert_eq!(found, expected, "{table:?} {hook:?}");
            // Nobody is asked twice about one address.
            let mut asked: Vec<_> =
                log.lock().iter().filter(|line| line.starts_with("guard recipient")).cloned().collect();
            let all = asked.len();
            asked.sort();
            asked.dedup();
            assert_eq!(asked.len(), all, "{asked:?}");
        }
    }
}

/// A copy begins with the header as it was when it was sent on; what happens to it is not seen elsewhere.
#[tokio::test]
async fn a_copy_has_the_edits_so_far() {
    let log = Log::default();
    let forwards = Fake::make(&log, "f", &[Hook::RecipientMessage], |_, wishes| {
        append(wishes, "X-F", "yes");
        wishes.add.push("b@example.test".into());
        Verdict::Proceed
    });
    let marks = Fake::make(&log, "m", &CONTENT, |asked, wishes| {
        assert_eq!(wishes.edits.len(), if asked.hook == Hook::Message { 1 } else { 2 }, "{}", asked.to);
        append(wishes, "X-M", asked.to);
        Verdict::Proceed
    });
    let chains = chains(vec![forwards, marks], &[("a@example.test", "f"), ("*", "m")]).unwrap();
    let mut judging = judging(&chains).sending_on(policy());
    judging.envelope(&[to("a")]).await;
    let outcomes = judging.message(message(), 4).await;
    assert_eq!(outcomes[0].wishes.edits, [Edit::Append(4, "X-F".into(), "yes".into())]);
    let Landing::Here(_, _, copy) = &outcomes[0].copies[0].landing else { panic!("{outcomes:?}") };
    assert_eq!(
        copy.wishes.edits,
        [
            Edit::Append(4, "X-F".into(), "yes".into()),
            Edit::Append(5, "X-M".into(), String::new()),
            Edit::Append(6, "X-M".into(), "b".into()),
        ]
    );
    assert_eq!(copy.steps.len(), 2);
}

/// However many addresses plugins name, there is an end, and it is told.
#[tokio::test]
async fn fan_out_is_bounded() {
    let log = Log::default();
    let forwards = Fake::make(&log, "f", &[Hook::Recipient], |asked, wishes| {
        if asked.to.len() == 1 {
            let names = (0..600).map(|n| format!("{}{n}@example.test", asked.to));
            wishes.redirect = Some(names.chain(["?".into()]).collect());
        }
        Verdict::Proceed
    });
    let chains = chains(vec![forwards], &[("*", "f")]).unwrap();
    let mut judging = judging(&chains).sending_on(policy());
    judging.envelope(&[to("a"), to("b"), to("c"), to("d")]).await;
    let outcomes = judging.message(None, 4).await;
    let copies: Vec<usize> = outcomes.iter().map(|outcome| outcome.copies.len()).collect();
    assert_eq!(copies, [601, 400, 1, 1]);
    for (outcome, left_out) in outcomes[1..].iter().zip([202, 601, 601]) {
        let last = &outcome.copies.last().unwrap().landing;
        let problem = format!("a message is sent on to 1000 addresses at most, so {left_out} are left out");
        assert_eq!(last, &Landing::Nowhere(problem));
        assert!(outcome.sent_away && outcome.fate().is_accepted());
    }
}

/// What a recipient's plugins did by RCPT is there when only the content is judged again.
#[tokio::test]
async fn judging_again_goes_on_from_rcpt() {
    let log = Log::default();
    let envelope = Fake::make(&log, "f", &[Hook::Recipient], |_, wishes| {
        wishes.redirect = Some(vec![full("b")]);
        append(wishes, "X-Envelope", "1");
        Verdict::Proceed
    });
    let edits = Fake::make(&log, "e", &[Hook::RecipientMessage], |_, wishes| {
        append(wishes, "X-Content", "1");
        Verdict::Proceed
    });
    let busy = Arc::new(parking_lot::Mutex::new(true));
    let still = busy.clone();
    let guard = Fake::make(&log, "guard", &[Hook::RecipientMessage], move |_, _| match *still.lock() {
        true => defer("wait"),
        false => Verdict::Proceed,
    });
    let chains = chains(vec![envelope, edits, guard], &[("*", "f e guard")]).unwrap();
    let mut first = judging(&chains).sending_on(policy());
    first.envelope(&[to("a")]).await;
    let outcome = first.message(message(), 4).await.remove(0);
    assert_eq!(shown(&outcome), "deferred: wait");
    assert_eq!(outcome.asked.0.len(), 1, "{:?}", outcome.asked);
    *busy.lock() = false;
    let (address, route) = to("a");
    let mut second = judging(&chains).sending_on(policy());
    second.again(&address, &route, &outcome.asked.0, outcome.asked.1.as_deref()).await;
    let outcome = second.message(message(), 4).await.remove(0);
    assert_eq!((shown(&outcome).as_str(), outcome.forwarded_by.as_deref()), ("away (b accepted)", Some("f")));
    assert_eq!(outcome.wishes.edits.len(), 2, "{:?}", outcome.wishes);
}

/// A copy that its envelope's judge deferred goes to nobody before that judge was asked again, and keeps what it came with.
#[tokio::test]
async fn a_copy_is_never_judged_by_less() {
    let log = Log::default();
    let forwards = Fake::make(&log, "f", &[Hook::RecipientMessage], |asked, wishes| {
        if asked.to == "a" {
            append(wishes, "X-From-A", "1");
            wishes.add = vec![full("b")];
        }
        Verdict::Proceed
    });
    let busy = Arc::new(parking_lot::Mutex::new(true));
    let still = busy.clone();
    let guard = Fake::make(&log, "guard", &[Hook::Recipient], move |_, _| match *still.lock() {
        true => defer("wait"),
        false => Verdict::Proceed,
    });
    let chains = chains(vec![forwards, guard], &[("a@example.test", "f"), ("b@example.test", "guard")]).unwrap();
    let mut first = judging(&chains).sending_on(policy());
    first.envelope(&[to("a")]).await;
    let outcome = first.message(message(), 4).await.remove(0);
    assert_eq!(shown(&outcome), "accepted (b deferred: wait)");
    let Landing::Here(address, route, copy) = &outcome.copies[0].landing else { panic!("{outcome:?}") };
    let again = async || {
        let mut judging = judging(&chains).sending_on(policy());
        judging.again(address, route, &copy.asked.0, copy.asked.1.as_deref()).await;
        judging.message(message(), 4).await.remove(0)
    };
    assert_eq!(shown(&again().await), "deferred: wait", "asked again");
    *busy.lock() = false;
    let outcome = again().await;
    assert_eq!((shown(&outcome).as_str(), outcome.wishes.edits.len()), ("accepted", 1), "{outcome:?}");
}
