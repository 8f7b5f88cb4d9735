//! The sealed engine's probing part, from the outside: one session with a server in which one thing is tried.
//!
//! Owns the boundary to that part of `engine.wasm`, and checks what comes over it. Refuses to know what is tried. Fails by
//! [`EngineError`], after which, unless it is a misuse, the session is gone.

use super::EngineError;
use super::types::Event;

pub use super::bindings::exports::hermetic::engine::probe::{
    EndOfData, Experiment, Finding, Hello, Limits, Need, Options, Step, Verdict,
};
pub use super::pool::probe::SealedProbe;
pub use super::types::{HostName, Mailbox};

/// All ends of data that are none, in groups that may be tried side by side.
pub const ENDS_OF_DATA: [[EndOfData; 4]; 2] = [
    [EndOfData::LfDotLf, EndOfData::LfDotCrlf, EndOfData::CrlfDotLf, EndOfData::CrDotCr],
    [EndOfData::CrDotCrlf, EndOfData::CrlfDotCr, EndOfData::LfDotCr, EndOfData::CrDotLf],
];

/// The step may be what it claims to be. `tick`: the time of a `tick`. `lost`: there is no connection any more.
///
/// # Errors
/// [`EngineError::Trap`], for such a step is as good as a trap.
pub(super) fn validate(step: &Step, tick: Option<u64>, lost: bool) -> Result<(), EngineError> {
    let lie = |what: &str| Err(EngineError::Trap(format!("the step is impossible: {what}")));
    if !texts(step).all(|text| !text.chars().any(char::is_control)) {
        return lie("a text is not printable");
    }
    if lost && step.need != Need::Close {
        return lie("it goes on after its end");
    }
    if tick.is_some_and(|now| step.wake <= now) && step.need != Need::Close {
        return lie("a tick leaves its time in the past");
    }
    Ok(())
}

/// All that a person may see.
fn texts(step: &Step) -> impl Iterator<Item = &str> {
    let findings = step.findings.iter().flat_map(|one| [one.check.as_str(), one.rule.as_str(), one.text.as_str()]);
    let events = step.events.iter().map(|event: &Event| event.detail.as_str());
    let hello = step.hello.iter().flat_map(|hello| {
        let extensions = hello.extensions.iter().flat_map(|line| [line.keyword.as_str(), line.parameters.as_str()]);
        std::iter::once(hello.name.as_str()).chain(extensions)
    });
    findings.chain(events).chain(hello)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_true_is_refused() {
        let step = |need, text: &str| Step {
            transmit: Vec::new(),
            findings: vec![Finding {
                check: "x".into(),
                verdict: Verdict::Pass,
                rule: String::new(),
                text: text.into(),
            }],
            hello: None,
            events: Vec::new(),
            need,
            wake: 9,
        };
        let check = |step: Step, tick, lost, expected: &str| match validate(&step, tick, lost) {
            Ok(()) if expected.is_empty() => {}
            Err(EngineError::Trap(why)) if !expected.is_empty() && why.contains(expected) => {}
            got => panic!("{step:?}: expected {expected:?}, got {got:?}"),
        };
        check(step(Need::Input, "good"), None, false, "");
        check(step(Need::Input, "good"), Some(8), false, "");
        check(step(Need::Close, "good"), Some(9), true, "");
        check(step(Need::Input, "good"), Some(9), false, "in the past");
        check(step(Need::Input, "good"), None, true, "after its end");
        check(step(Need::Input, "a\nPASS b"), None, false, "not printable");
    }
}
