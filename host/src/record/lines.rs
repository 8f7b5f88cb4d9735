//! Where in the input of a session content lies, and what else was said, line by line.
//!
//! Owns the map from what the engine reports to octets of the input: ranges are content, and a line is a command in the open
//! if the engine's trace shows it as one. All other octets may be anything, a password in the wrong place included, and count
//! as secrets. Refuses to know commands: lines are what CRLF ends. It can not fail; what it does not find out is a secret.

use std::ops::Range;

use super::call::Outcome;
use super::mask::{self, Words};
use super::take::{Input, Take};
use crate::engine::types::{Occasion, Piece, Step};

/// What is done to a line. The first thing that lets the session go the same way is done, and the more a line may hide, the less
/// of it can stay: of secrets at most two words, and names in front of `=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// Nothing of it stays.
    Nothing,
    /// The first word stays.
    Word,
    /// The first two stay.
    Words,
    /// And of the others what stands in front of `=`.
    Names,
    /// Words in addresses are replaced.
    Addresses,
    /// All of it stays.
    All,
}

const SECRET: &[Level] = &[Level::Nothing, Level::Word, Level::Words, Level::Names];
const OPEN: &[Level] = &[Level::All];
const ADDRESS: &[Level] = &[Level::Addresses];
const ARGUMENT: &[Level] = &[Level::Word, Level::Addresses];

/// A line, or what is left of one.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Its octets without the CRLF, in the take's.
    pub(super) parts: Vec<Range<usize>>,
    /// The call in which it ended.
    pub(super) call: usize,
    /// What can be done to it, the best first.
    pub(super) levels: &'static [Level],
}

/// The input of a session.
#[derive(Debug, Default)]
pub(super) struct Map {
    pub(super) lines: Vec<Line>,
    /// Content.
    pub(super) bodies: Vec<Range<usize>>,
    /// What the engine never used.
    pub(super) unused: Vec<Range<usize>>,
}

impl Map {
    /// `traced` is what came of the calls with the engine's trace on. `addresses`: they are to be masked.
    pub(super) fn of(take: &Take, traced: &[Outcome<Step>], addresses: bool) -> Self {
        let mut map = Self::default();
        let mut pending: Vec<Range<usize>> = Vec::new();
        // Behind what was used so far.
        let mut used = 0;
        for (call, ((_, input), outcome)) in take.calls.iter().zip(traced).enumerate() {
            let Outcome::Step(step) = outcome else { continue };
            let mut commands = step.events.iter().filter(|event| event.occasion == Occasion::Command);
            let mut ended = |octets: &[u8], map: &mut Self, pending: &mut Vec<Range<usize>>, call: usize| {
                let mut parts = std::mem::take(pending);
                let mut text: Vec<u8> = parts.iter().flat_map(|part| &octets[part.clone()]).copied().collect();
                // An event that is none of this line's is that of a line which can not be shown.
                let rest = commands.clone();
                let open = if let Some(event) = commands.find(|event| shows(&event.detail, &text)) {
                    !event.secret
                } else {
                    commands = rest.clone();
                    // Content that was skipped has no line end of its own: the command begins behind it.
                    let ends = |detail: &str| !detail.is_empty() && text.ends_with(detail.as_bytes());
                    match commands.find(|event| ends(&event.detail)) {
                        Some(event) => {
                            let skipped = text.len() - event.detail.len();
                            text.drain(..skipped);
                            let before = split(&mut parts, skipped);
                            map.lines.push(Line { parts: before, call, levels: SECRET });
                            !event.secret
                        }
                        None => {
                            commands = rest;
                            false
                        }
                    }
                };
                let levels = match open {
                    false => SECRET,
                    true if !addresses => OPEN,
                    true if text.contains(&b'@') => ADDRESS,
                    true if text.iter().any(u8::is_ascii_whitespace) => ARGUMENT,
                    true => OPEN,
                };
                map.lines.push(Line { parts, call, levels });
            };
            let Input::Receive(range) = input else {
                if matches!(input, Input::Secured(_)) {
                    pending.clear();
                }
                continue;
            };
            let end = range.start.saturating_add(step.consumed as usize).min(range.end);
            if range.start > used {
                map.unused.push(used..range.start);
            }
            let mut at = range.start;
            let mut bodies = step.body.iter().filter_map(|piece| match piece {
                Piece::Range((offset, length)) => {
                    let start = range.start.saturating_add(*offset as usize).min(end);
                    Some(start..start.saturating_add(*length as usize).min(end))
                }
                Piece::Octets(_) => None,
            });
            loop {
                let body = bodies.next();
                let stop = body.as_ref().map_or(end, |body| body.start.max(at));
                // Commands, or dots that are not content.
                let mut from = at;
                for place in at..stop {
                    if take.octets[place] == b'\n' && place > 0 && take.octets[place - 1] == b'\r' {
                        pending.push(from..place + 1);
                        trim(&mut pending);
                        ended(&take.octets, &mut map, &mut pending, call);
                        from = place + 1;
                    }
                }
                if from < stop {
                    pending.push(from..stop);
                }
                let Some(body) = body else { break };
                if !pending.is_empty() {
                    ended(&take.octets, &mut map, &mut pending, call);
                }
                at = body.end.max(stop);
                map.bodies.push(stop..at);
            }
            used = used.max(end);
        }
        if !pending.is_empty() {
            let call = take.calls.len().saturating_sub(1);
            map.lines.push(Line { parts: pending, call, levels: SECRET });
        }
        if used < take.octets.len() {
            map.unused.push(used..take.octets.len());
        }
        map
    }

    /// The octets, with each line treated as `levels` says (none: it stays), content masked unless it is to stay.
    pub(super) fn masked(&self, octets: &[u8], levels: &[Option<Level>], bodies: bool, words: &Words) -> Vec<u8> {
        let mut masked = octets.to_vec();
        if !bodies {
            for body in &self.bodies {
                let line_start = body.start == 0 || octets[body.start - 1] == b'\n';
                mask::content(&mut masked[body.clone()], line_start);
            }
        }
        for unused in &self.unused {
            mask::secret(&mut masked[unused.clone()], true);
        }
        for (line, level) in self.lines.iter().zip(levels) {
            let Some(level) = level else { continue };
            let mut text: Vec<u8> = line.parts.iter().flat_map(|part| &octets[part.clone()]).copied().collect();
            apply(*level, &mut text, words);
            let mut text = text.into_iter();
            for place in line.parts.iter().flat_map(Clone::clone) {
                if let Some(octet) = text.next() {
                    masked[place] = octet;
                }
            }
        }
        masked
    }
}

/// Takes so many octets off the beginning.
fn split(parts: &mut Vec<Range<usize>>, octets: usize) -> Vec<Range<usize>> {
    let mut before = Vec::new();
    let mut left = octets;
    while let Some(first) = parts.first_mut()
        && left > 0
    {
        let length = (first.end - first.start).min(left);
        before.push(first.start..first.start + length);
        left -= length;
        first.start += length;
        if first.start == first.end {
            parts.remove(0);
        }
    }
    before
}

/// The event is that of this line. A long one is cut, and marked as such.
fn shows(detail: &str, text: &[u8]) -> bool {
    const CUT: usize = 200;
    let begins = |start: &str| start.len() >= CUT && text.starts_with(start.as_bytes());
    detail.as_bytes() == text || detail.strip_suffix("...").is_some_and(begins)
}

/// Takes the CRLF off the end.
fn trim(parts: &mut Vec<Range<usize>>) {
    for _ in 0..2 {
        if let Some(last) = parts.last_mut() {
            last.end -= 1;
            if last.start == last.end {
                parts.pop();
            }
        }
    }
}

fn apply(level: Level, text: &mut [u8], words: &Words) {
    let kept = match level {
        Level::All => return,
        Level::Addresses => return words.addresses(text),
        Level::Nothing => 0,
        Level::Word => 1,
        Level::Words | Level::Names => 2,
    };
    let blank = |octet: &u8| matches!(octet, b' ' | b'\t');
    let mut at = 0;
    for _ in 0..kept {
        let start = at + text[at..].iter().take_while(|octet| blank(octet)).count();
        let end = start + text[start..].iter().take_while(|octet| !blank(octet)).count();
        // No verb and no mechanism has an equals sign; base64 may, and is then never worth the risk.
        if text[start..end].contains(&b'=') {
            break;
        }
        at = end;
    }
    // Whoever said it, an address is not masked less here than elsewhere; only where addresses stay does it not matter.
    words.addresses(&mut text[..at]);
    if level != Level::Names {
        return mask::secret(&mut text[at..], at == 0);
    }
    while at < text.len() {
        let blanks = text[at..].iter().take_while(|octet| blank(octet)).count();
        let word = text[at + blanks..].iter().take_while(|octet| !blank(octet)).count();
        let (start, end) = (at + blanks, at + blanks + word);
        let name = text[start..end].iter().take_while(|octet| **octet != b'=').count();
        // `=` at the end is base64's.
        let named = text[start + name..end].iter().any(|octet| *octet != b'=');
        let from = if named { start + name } else { start };
        mask::secret(&mut text[from..end], false);
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_secret_line_little_stays() {
        let check = |text: &str, expected: [&str; 4]| {
            for (level, expected) in SECRET.iter().zip(expected) {
                let mut octets = text.as_bytes().to_vec();
                apply(*level, &mut octets, &Words::default());
                assert_eq!(String::from_utf8_lossy(&octets), expected, "{text:?}, {level:?}");
            }
        };
        check(
            "AUTH PLAIN AGEAYg==",
            ["AAAA AAAAA AAAAAA==", "AUTH AAAAA AAAAAA==", "AUTH PLAIN AAAAAA==", "AUTH PLAIN AAAAAA=="],
        );
        check(
            "AUTH  LOGIN\tpa=s",
            ["AAAA  AAAAA\tAB=A", "AUTH  AAAAA\tAB=A", "AUTH  LOGIN\tAB=A", "AUTH  LOGIN\tpa=A"],
        );
        check("ZZ==", ["AB==", "AB==", "AB==", "AB=="]);
        check("secret", ["AAAAAA", "secret", "secret", "secret"]);
        check(
            "FOO TO:<x> A=secret secret",
            [
                "AAA AA!!A! A=AAAAAA AAAAAA",
                "FOO AA!!A! A=AAAAAA AAAAAA",
                "FOO TO:<x> A=AAAAAA AAAAAA",
                "FOO TO:<x> A=AAAAAA AAAAAA",
            ],
        );
        check(".", [".", ".", ".", "."]);
    }
}
