//! What plugins say and do, in lines for people.

use crate::plugin::{
    header::{Header, Shown, View, name, value},
    hook::{Edit, Hook, Reason, Verdict, Wishes},
};

/// A verdict with its reply.
#[must_use]
pub fn verdict(hook: Hook, verdict: &Verdict) -> String {
    let reply = |class: u8, code: u16, Reason { subject, detail, text }: &Reason| {
        format!("{code} {class}.{subject}.{detail} {text}")
    };
    match verdict {
        Verdict::Proceed if hook == Hook::Report => "noted".into(),
        Verdict::Proceed => "proceed".into(),
        Verdict::Accept if hook == Hook::Delivery => "delivered".into(),
        Verdict::Accept => "accept".into(),
        Verdict::Discard => "discard".into(),
        Verdict::Defer(reason) if hook == Hook::Delivery => format!("retry: {}", reply(4, 451, reason)),
        Verdict::Defer(reason) => format!("defer: {}", reply(4, 451, reason)),
        Verdict::Reject(reason) if hook == Hook::Delivery => format!("fail: {}", reply(5, 550, reason)),
        Verdict::Reject(reason) => format!("reject: {}", reply(5, 550, reason)),
    }
}

/// The fields that differ between two states of a header, as lines of a diff.
#[must_use]
pub fn difference(content: &[u8], before: &[Edit], after: &[Edit]) -> Vec<String> {
    let header = Header::of(content);
    let [before, after] = [before, after].map(|edits| View::new(&header, content, edits));
    let line = |sign: char, shown: &Shown| {
        let name = name(shown, content).unwrap_or_default();
        format!("{sign} {name}: {}", String::from_utf8_lossy(&value(shown, content)))
    };
    let at = |view: &View, id: u32| view.fields().iter().find(|(one, _)| *one == id).map(|(_, shown)| shown.clone());
    let mut lines = Vec::new();
    let removed = before.fields().iter().filter(|(id, _)| at(&after, *id).is_none());
    lines.extend(removed.map(|(_, shown)| line('-', shown)));
    for (id, shown) in after.fields() {
        match at(&before, *id) {
            Some(old) if old == *shown => {}
            Some(old) => lines.extend([line('-', &old), line('+', shown)]),
            None => lines.push(line('+', shown)),
        }
    }
    lines
}

/// Everything that a recipient's copy is to be, beside arriving.
#[must_use]
pub fn wishes(content: &[u8], wishes: &Wishes) -> Vec<String> {
    let mut lines = difference(content, &[], &wishes.edits);
    if let Some(others) = &wishes.redirect {
        lines.push(format!("redirected to {}", others.join(", ")));
    }
    if !wishes.add.is_empty() {
        lines.push(format!("also to {}", wishes.add.join(", ")));
    }
    if let Some(why) = &wishes.quarantine {
        lines.push(format!("kept aside: {why}"));
    }
    lines
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_of_edits() {
        let content = b"A: 1\r\nB: 2\r\nC: 3\r\n\r\n";
        let edits = [
            Edit::Prepend(3, "X".into(), "y".into()),
            Edit::Replace(1, "new".into()),
            Edit::Remove(2),
            Edit::Append(4, "Z".into(), "gone".into()),
            Edit::Remove(4),
        ];
        assert_eq!(difference(content, &[], &edits), ["- C: 3", "+ X: y", "- B: 2", "+ B: new"]);
        assert_eq!(difference(content, &edits[..2], &edits), ["- C: 3"], "only what came later");
        assert!(difference(content, &edits, &edits).is_empty());
    }
}
