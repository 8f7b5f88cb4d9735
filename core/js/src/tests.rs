//! Values against the table of `wit/session.md`, without JavaScript.

use std::borrow::Cow;

use hermetic_core::address::{ForwardPath, HostName, Mailbox};
use hermetic_core::command::{DeliverBy, Notify, OriginalRecipient, Recipient};
use hermetic_core::question::{Answer, Decision, Question, Refusal, SaslAnswer, SaslStep, VerifyAnswer};
use hermetic_core::step::{Misuse, Piece};

use crate::shape::Shape;
use crate::value::{EXACT, OCTETS, Room, VALUES, Value};
use crate::{Half, Outcome};

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn object(members: &[(&'static str, Value)]) -> Value {
    Value::Record(members.iter().map(|(name, value)| (Cow::Borrowed(*name), value.clone())).collect())
}

/// Written as expected, and read back as it was.
#[track_caller]
fn check<T: Shape + Clone + PartialEq + core::fmt::Debug>(value: &T, written: Value) {
    assert_eq!(value.clone().write(), written);
    assert_eq!(T::read(written).as_ref(), Ok(value));
}

/// Not read, for this reason.
#[track_caller]
fn refused<T: Shape + core::fmt::Debug>(value: Value, why: &str) {
    match T::read(value) {
        Ok(read) => panic!("read as {read:?}"),
        Err(misfit) => assert_eq!(misfit.to_string(), why),
    }
}

#[test]
fn each_row_of_the_table() {
    check(&true, Value::Bool(true));
    check(&7_u32, Value::Number(7.0));
    check(&u64::MAX, text("18446744073709551615"));
    check(&EXACT, Value::Number(9_007_199_254_740_991.0));
    check(&(EXACT + 1), text("9007199254740992"));
    check(&-9_i8, Value::Number(-9.0));
    check(&vec![0_u8, 255], Value::Octets(vec![0, 255]));
    assert_eq!(Vec::<u8>::read(text("a\u{ff}")), Ok(vec![b'a', 255]));
    check(&vec!["a".to_owned()], Value::List(vec![text("a")]));
    check(&None::<String>, Value::Null);
    check(&Some("a".to_owned()), text("a"));
    check(&HostName::Literal("IPv6:::1".into()), object(&[("literal", text("IPv6:::1"))]));
    check(&ForwardPath::Postmaster, text("postmaster"));
    check::<Decision>(&Ok(None), object(&[("ok", Value::Null)]));
    check(&Misuse::NoQuestionOpen, text("no-question-open"));
    check(&Misuse::BadImage("x".into()), object(&[("bad-image", text("x"))]));
    check(
        &Piece::Range { offset: 1, length: 2 },
        object(&[("range", Value::List(vec![1_u32.write(), 2_u32.write()]))]),
    );
    let start = SaslStep::Start { mechanism: "PLAIN".into(), initial: Some(vec![0]) };
    check(&start, object(&[("start", Value::List(vec![text("PLAIN"), Value::Octets(vec![0])]))]));
    let notify = Notify { success: true, failure: false, delay: true };
    check(&notify, Value::List(vec![text("success"), text("delay")]));
    check(&Question::Data, text("data"));
    let refusal = Refusal { code: 550, subject: 1, detail: 1, text: "no".into() };
    let written =
        [("code", 550), ("subject", 1), ("detail", 1)].map(|(name, number)| (name, Value::Number(number.into())));
    let written = object(&[written.as_slice(), &[("text", text("no"))]].concat());
    check(&refusal, written.clone());
    check(
        &Answer::Recipients(vec![Ok(None), Err(refusal)]),
        object(&[("recipients", Value::List(vec![object(&[("ok", Value::Null)]), object(&[("err", written)])]))]),
    );
    check(&Answer::SenderWithPriority(-9), object(&[("sender-with-priority", Value::Number(-9.0))]));
    check(&Answer::Verify(VerifyAnswer::Unsure), object(&[("verify", text("unsure"))]));
    check(
        &Answer::Sasl(SaslAnswer::Challenge(vec![])),
        object(&[("sasl", object(&[("challenge", Value::Octets(vec![]))]))]),
    );
}

#[test]
fn records_have_every_field_under_its_name_in_wit() {
    let recipient = Recipient {
        path: ForwardPath::Mailbox(Mailbox { local: "a b".into(), host: HostName::Domain("c.example".into()) }),
        notify: None,
        orcpt: Some(OriginalRecipient { address_type: "rfc822".into(), address: "x".into() }),
    };
    let Value::Record(members) = recipient.clone().write() else { panic!("an object") };
    let names: Vec<_> = members.iter().map(|(name, _)| name.as_ref()).collect();
    assert_eq!(names, ["path", "notify", "orcpt"]);
    assert_eq!(Recipient::read(Value::Record(members)), Ok(recipient));
    refused::<DeliverBy>(object(&[("seconds", Value::Number(1.0))]), "mode: it is missing");
}

/// Every record, variant and enum of `wit/engine` that crosses here is written under its names in WIT: the options, whose
/// members are the most, tell.
#[test]
fn options_have_the_members_that_wit_has() {
    for (half, wit) in [
        ("server", include_str!("../../../wit/engine/server.wit")),
        ("client", include_str!("../../../wit/engine/client.wit")),
    ] {
        let members = |record: &str| -> Vec<String> {
            let body = wit.split_once(&format!("record {record} {{")).and_then(|(_, rest)| rest.split_once('}'));
            let lines = body.map_or("", |(body, _)| body).lines().map(str::trim).filter(|line| !line.starts_with("//"));
            lines.filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect()
        };
        let Ok(Value::Record(options)) = Half::defaults(half) else { panic!("{half} has no options") };
        let names = |members: &[(Cow<'static, str>, Value)]| {
            members.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(&options), members("options"), "{half}");
        let limits = options.iter().find(|(name, _)| name == "limits");
        let Some((_, Value::Record(limits))) = limits else { panic!("{half} has no limits") };
        assert_eq!(names(limits), members("limits"), "{half}");
    }
}

#[test]
fn what_is_no_value_says_where_and_what_is_expected() {
    refused::<u16>(Value::Number(65_536.0), "a whole number of 0 to 65535 is expected");
    refused::<u16>(Value::Number(-1.0), "a whole number of 0 to 65535 is expected");
    refused::<u16>(Value::Number(f64::NAN), "a whole number of 0 to 65535 is expected");
    refused::<u64>(Value::Number(f64::INFINITY), "a whole number of 0 to 18446744073709551615 is expected");
    refused::<u64>(text("18446744073709551616"), "a whole number of 0 to 18446744073709551615 is expected");
    refused::<u64>(text("+1"), "a whole number of 0 to 18446744073709551615 is expected");
    refused::<i8>(Value::Number(-129.0), "a whole number of -128 to 127 is expected");
    refused::<Answer>(
        text("data"),
        r#"one of {"connection": …}, {"hello": …}, {"xclient": …}, {"sasl": …}, {"sender": …}, {"sender-with-priority": …}, {"recipients": …}, {"verify": …}, {"data": …}, {"message": …} is expected, not "data""#,
    );
    let wrong = object(&[("recipients", Value::List(vec![object(&[("err", object(&[("code", text("x"))]))])]))]);
    refused::<Answer>(wrong, "recipients[0].err.code: a whole number of 0 to 65535 is expected");
}

#[test]
fn calls_are_made_by_name() {
    let mut half =
        Half::new("server", object(&[("server-name", text("mx.example"))])).unwrap_or_else(|misfit| panic!("{misfit}"));
    let now = ("now", Value::Number(0.0));
    let only_now = object(std::slice::from_ref(&now));
    let member = |outcome: &Outcome, wanted: &str| match outcome {
        Outcome::Step(Value::Record(members)) => {
            members.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone())
        }
        _ => None,
    };
    let started = half.call("start", only_now.clone()).unwrap_or_else(|misfit| panic!("{misfit}"));
    assert_eq!(member(&started, "need"), Some(object(&[("answer", text("connection"))])));
    let misuse = half.call("receive", object(&[now.clone(), ("input", text("x"))]));
    assert_eq!(misuse, Ok(Outcome::Misuse(text("question-open"))));
    let yes = object(&[("connection", object(&[("ok", Value::Null)]))]);
    let answered =
        half.call("answer", object(&[now.clone(), ("answer", yes)])).unwrap_or_else(|misfit| panic!("{misfit}"));
    assert_eq!(member(&answered, "transmit"), Some(Value::Octets(b"220 mx.example ESMTP\r\n".to_vec())));
    let misfits = [
        ("content", only_now.clone(), "\"content\" is no function of this half"),
        ("tick", object(&[]), "now: it is missing"),
        ("receive", only_now.clone(), "input: it is missing"),
        ("tick", object(&[now, ("also", Value::Null)]), "also: nothing has this name here"),
    ];
    for (function, parameters, why) in misfits {
        let said = half.call(function, parameters).map_err(|misfit| misfit.to_string());
        assert!(matches!(&said, Err(said) if said.starts_with(why)), "{function}: {said:?}");
    }
    assert!(Half::new("probe", object(&[])).is_err());
}

#[test]
fn what_comes_in_is_bounded() {
    let mut room = Room::default();
    assert!(room.octets(OCTETS).is_ok() && room.octets(1).is_err());
    assert!((0..VALUES).all(|_| room.value(0).is_ok()) && room.value(0).is_err());
    assert!(Room::default().value(100).is_err());
}
