//! The scanner against a plain model of RFC 5321, in every split, and frozen and thawed in between.
#![allow(clippy::unwrap_used)]

use alloc::{string::String, vec};
use proptest::prelude::*;

use super::*;

fn limits(message_size: u64, text_line: u32) -> Limits {
    Limits { message_size, text_line, ..Limits::default() }
}

/// The outcome of a whole stream.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// Absent if it can not be accepted: then it is void.
    content: Option<Vec<u8>>,
    fault: Option<ContentFault>,
    facts: MessageFacts,
    /// DATA: octets up to and with the final dot's line.
    end: Option<usize>,
}

fn append(content: &mut Vec<u8>, input: &[u8], body: &[Piece]) {
    for piece in body {
        match piece {
            Piece::Range { offset, length } => {
                content.extend_from_slice(&input[*offset as usize..(*offset + *length) as usize]);
            }
            Piece::Octets(octets) => content.extend_from_slice(octets),
        }
    }
}

fn thawed(content: &Content) -> Content {
    postcard::from_bytes(&postcard::to_allocvec(content).unwrap()).unwrap()
}

fn outcome(scanner: &Content, content: Vec<u8>, limits: &Limits, end: Option<usize>) -> Outcome {
    let fault = scanner.fault(limits);
    if limits.message_size != 0 {
        assert!(content.len() as u64 <= limits.message_size, "more was emitted than the limit allows");
    }
    let facts = scanner.facts(1);
    if fault.is_none() {
        assert_eq!(facts.size, content.len() as u64, "the size is that of what was emitted");
    }
    Outcome { content: fault.is_none().then_some(content), fault, facts, end }
}

fn scan_data(pieces: &[&[u8]], limits: &Limits) -> Outcome {
    let mut scanner = Content::new(false);
    let (mut content, mut read, mut end) = (Vec::new(), 0, None);
    for piece in pieces {
        // Something stands before the content in the input, as when commands were pipelined.
        let input = [b"DATA\r\n", *piece].concat();
        let mut body = Vec::new();
        let scanned = scanner.data(&input, 6, limits, &mut body);
        append(&mut content, &input, &body);
        read += scanned.consumed;
        if scanned.end {
            end = Some(read);
            break;
        }
        assert_eq!(scanned.consumed, piece.len(), "all is used unless the end was found");
        scanner = thawed(&scanner);
    }
    outcome(&scanner, content, limits, end)
}

fn scan_chunks(chunks: &[&[u8]], binary: bool, limits: &Limits) -> Outcome {
    let mut scanner = Content::new(binary);
    let mut content = Vec::new();
    for chunk in chunks {
        // The next command follows directly.
        let input = [*chunk, b"BDAT 0 LAST\r\n"].concat();
        let mut body = Vec::new();
        let used = scanner.chunk(&input, 0, chunk.len() as u64, limits, &mut body);
        assert_eq!(used, chunk.len(), "a chunk ends where its size says");
        append(&mut content, &input, &body);
        scanner = thawed(&scanner);
    }
    scanner.finish();
    outcome(&scanner, content, limits, None)
}

/// What is to be known of content, written to be plain rather than fast.
fn model(content: Vec<u8>, binary: bool, limits: &Limits, end: Option<usize>) -> Outcome {
    let bare = |at: usize| match content[at] {
        b'\r' => content.get(at + 1) != Some(&b'\n'),
        b'\n' => at == 0 || content[at - 1] != b'\r',
        _ => false,
    };
    let bare_cr = (0..content.len()).any(|at| content[at] == b'\r' && bare(at));
    let bare_lf = (0..content.len()).any(|at| content[at] == b'\n' && bare(at));
    let longest_line = lines(&content).iter().map(|line| line.len()).max().unwrap_or(0) as u64;
    let size = content.len() as u64;
    let fault = if limits.message_size != 0 && size > limits.message_size {
        Some(ContentFault::TooLarge)
    } else if bare_lf && !binary {
        Some(ContentFault::BareLf)
    } else if bare_cr && !binary {
        Some(ContentFault::BareCr)
    } else if limits.text_line != 0 && !binary && longest_line > u64::from(limits.text_line) {
        Some(ContentFault::LineTooLong)
    } else {
        None
    };
    let eight_bit = content.iter().any(|octet| *octet > 127);
    let facts = MessageFacts { size, eight_bit, bare_line_ends: bare_cr || bare_lf, longest_line, recipients: 1 };
    Outcome { content: fault.is_none().then_some(content), fault, facts, end }
}

/// Lines without their CRLF.
fn lines(mut text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    while let Some(at) = text.windows(2).position(|pair| pair == b"\r\n") {
        lines.push(&text[..at]);
        text = &text[at + 2..];
    }
    lines.push(text);
    lines
}

/// A complete DATA stream.
fn data_model(stream: &[u8], limits: &Limits) -> Outcome {
    let behind_crlf = [b"\r\n", stream].concat();
    let dot = behind_crlf.windows(5).position(|five| five == b"\r\n.\r\n").unwrap();
    let text = &behind_crlf[..dot + 2];
    let mut content = Vec::new();
    for (number, line) in lines(text).into_iter().enumerate() {
        if number > 1 {
            content.extend_from_slice(b"\r\n");
        }
        content.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
    }
    model(content, false, limits, Some(dot + 3))
}

fn stuff(text: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::new();
    for (number, line) in lines(text).into_iter().enumerate() {
        if number > 0 {
            stuffed.extend_from_slice(b"\r\n");
        }
        if line.starts_with(b".") {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    stuffed
}

fn cut<'a>(stream: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    cuts.sort_unstable();
    let mut start = 0;
    let mut pieces = Vec::new();
    for cut in cuts.into_iter().chain([stream.len()]) {
        pieces.push(&stream[start..cut]);
        start = cut;
    }
    pieces
}

/// Checks DATA in one piece, octet by octet, and cut once at every place.
#[track_caller]
fn check_data(stream: &[u8], expected: Result<&[u8], ContentFault>) {
    let limits = limits(0, 0);
    let judge = |pieces: &[&[u8]]| {
        let outcome = scan_data(pieces, &limits);
        assert_eq!(outcome.end, Some(stream.len()), "{:?} cut {pieces:?}", String::from_utf8_lossy(stream));
        match expected {
            Ok(content) => assert_eq!(outcome.content.as_deref(), Some(content), "cut {pieces:?}"),
            Err(fault) => assert_eq!(outcome.fault, Some(fault), "cut {pieces:?}"),
        }
    };
    judge(&[stream]);
    judge(&stream.chunks(1).collect::<Vec<_>>());
    for at in 0..stream.len() {
        judge(&[&stream[..at], &stream[at..]]);
    }
}

#[test]
fn dots_are_unstuffed() {
    check_data(b".\r\n", Ok(b""));
    check_data(b"\r\n.\r\n", Ok(b"\r\n"));
    check_data(b"a\r\n.\r\n", Ok(b"a\r\n"));
    check_data(b"..\r\n.\r\n", Ok(b".\r\n"));
    check_data(b"...\r\nx\r\n.\r\n", Ok(b"..\r\nx\r\n"));
    check_data(b".abc\r\n.\r\n", Ok(b"abc\r\n"));
    check_data(b"a\r\n..\r\nb\r\n.\r\n", Ok(b"a\r\n.\r\nb\r\n"));
    check_data(b"\r\n..\r\n\r\n...\r\n.\r\n", Ok(b"\r\n.\r\n\r\n..\r\n"));
    check_data(b". \r\n.\t\r\n.\r\n", Ok(b" \r\n\t\r\n"));
    check_data(b"a.\r\n .\r\n.\r\n", Ok(b"a.\r\n .\r\n"));
    check_data(b"QUIT\r\nRSET\r\n.\r\n", Ok(b"QUIT\r\nRSET\r\n"));
    check_data(b"a\0b\r\n.\0\r\n\0.\r\n.\r\n", Ok(b"a\0b\r\n\0\r\n\0.\r\n"));
    check_data(
        b"\x85.\x85\r\n\xe2\x80\xa8.\xe2\x80\xa8\x0b.\x0c.\x1e\r\n.\r\n",
        Ok(b"\x85.\x85\r\n\xe2\x80\xa8.\xe2\x80\xa8\x0b.\x0c.\x1e\r\n"),
    );
}

/// Everything that some server somewhere has taken for an end of data, with a command behind it.
#[test]
fn nothing_else_ends_the_content() {
    use ContentFault::{BareCr, BareLf};
    for (not_the_end, fault) in [
        (&b"\n.\n"[..], BareLf),
        (b"\n.\r\n", BareLf),
        (b"\r\n.\n", BareLf),
        (b"\r.\r", BareCr),
        (b"\r.\r\n", BareCr),
        (b"\r\n.\r", BareCr),
        (b"\r.\n", BareLf),
        (b"\n.\r", BareLf),
        (b"\r\n.\r\0\n", BareLf),
        (b"\r\0\n.\r\n", BareLf),
        (b"\r\n.\r\r\n", BareCr),
        (b"\r\r\n.\r\r\n", BareCr),
        (b"\n.\r\r\n", BareLf),
        (b"\n\n.\n\n", BareLf),
        (b"\n\r.\n\r", BareLf),
        (b"\r\n.\n\r\n", BareLf),
        (b"\r\n.\n\r", BareLf),
        (b"\r\n.\r.\r\n", BareCr),
    ] {
        let stream = [b"first", not_the_end, b"MAIL FROM:<smuggled@example.org>\r\n.\r\n"].concat();
        check_data(&stream, Err(fault));
    }
    // The end stays the end right behind a fault.
    check_data(b"a\r\r\n.\r\n", Err(BareCr));
    check_data(b"a\n\r\n.\r\n", Err(BareLf));
    check_data(b"\n\r\n.\r\n", Err(BareLf));
}

#[test]
fn what_follows_the_end_is_not_read() {
    let mut body = Vec::new();
    let input = b"DATA\r\nhello\r\n.\r\nQUIT\r\n";
    let scanned = Content::new(false).data(input, 6, &limits(0, 0), &mut body);
    assert_eq!(scanned, Scanned { consumed: 10, end: true });
    assert_eq!(body, [Piece::Range { offset: 6, length: 7 }]);
}

#[test]
fn eight_bit_is_seen_anywhere_in_the_content_and_nowhere_else() {
    let mut text = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n".repeat(20);
    for at in 0..text.len() {
        let octet = core::mem::replace(&mut text[at], 0x80);
        let mut content = Content::new(true);
        content.chunk(&text, 0, u64::MAX, &limits(0, 0), &mut Vec::new());
        assert!(content.facts(1).eight_bit, "at {at}");
        text[at] = octet;
    }
    let mut content = Content::new(false);
    content.data(b"\xffhello\r\n.\r\n\xff", 1, &limits(0, 0), &mut Vec::new());
    assert!(!content.facts(1).eight_bit);
}

#[track_caller]
fn check_limit(text: &[u8], message_size: u64, text_line: u32, expected: Option<ContentFault>) {
    let limits = limits(message_size, text_line);
    let stream = [&stuff(text), &b".\r\n"[..]].concat();
    assert_eq!(scan_data(&[&stream], &limits).fault, expected, "DATA");
    assert_eq!(scan_data(&stream.chunks(1).collect::<Vec<_>>(), &limits).fault, expected, "DATA, octet by octet");
    assert_eq!(scan_chunks(&[text], false, &limits).fault, expected, "BDAT");
    let expected = expected.filter(|fault| *fault != ContentFault::LineTooLong);
    assert_eq!(scan_chunks(&[text], true, &limits).fault, expected, "BDAT, binary");
}

#[test]
fn limits_count_content_without_dots_and_lines_without_crlf() {
    use ContentFault::{LineTooLong, TooLarge};
    check_limit(b".234\r\n", 6, 4, None);
    check_limit(b".234\r\n", 5, 4, Some(TooLarge));
    check_limit(b".234\r\n", 6, 3, Some(LineTooLong));
    check_limit(b".234\r\n", 5, 3, Some(TooLarge));
    check_limit(b"1\r\n22\r\n333\r\n", 0, 3, None);
    check_limit(b"1\r\n4444\r\n333\r\n", 0, 3, Some(LineTooLong));
    check_limit(b"", 1, 1, None);
}

#[test]
fn chunks_are_read_as_they_are() {
    let plain = limits(0, 0);
    for (chunks, binary, fault) in [
        (&[&b".\r\n..\r\n.x\r\n"[..]][..], false, None),
        (&[b"x\r\n.\r\nQUIT\r\n"], false, None),
        (&[b"no end"], false, None),
        (&[b"a\r", b"\nb"], false, None),
        (&[b"a\r", b"", b"\nb\r", b"\n"], false, None),
        (&[], false, None),
        (&[b""], false, None),
        (&[b"a\r", b"b"], false, Some(ContentFault::BareCr)),
        (&[b"a\r"], false, Some(ContentFault::BareCr)),
        (&[b"a", b"\n"], false, Some(ContentFault::BareLf)),
        (&[b"a\r\n", b"\n"], false, Some(ContentFault::BareLf)),
        (&[b"a\r", b"b\n\r\r\n\0\xff\r"], true, None),
        (&[b"\n"], true, None),
    ] {
        let outcome = scan_chunks(chunks, binary, &plain);
        assert_eq!(outcome, model(chunks.concat(), binary, &plain, None), "{chunks:?}");
        assert_eq!(outcome.fault, fault, "{chunks:?}");
    }
}

#[test]
fn a_chunk_larger_than_the_input_takes_it_all() {
    let mut content = Content::new(false);
    let mut body = Vec::new();
    assert_eq!(content.chunk(b"BDAT 9\r\nabc", 8, u64::MAX, &limits(0, 0), &mut body), 3);
    assert_eq!(body, [Piece::Range { offset: 8, length: 3 }]);
}

#[test]
fn many_dots_make_few_pieces() {
    let stream = [b"..\r\n".repeat(10_000), b".\r\n".to_vec()].concat();
    let mut body = Vec::new();
    assert!(Content::new(false).data(&stream, 0, &limits(0, 0), &mut body).end);
    let mut content = Vec::new();
    append(&mut content, &stream, &body);
    assert_eq!(content, b".\r\n".repeat(10_000));
    assert!(body.len() <= 2, "{} pieces", body.len());

    let line = [&b".."[..], &[b'x'; 100], b"\r\n"].concat();
    let stream = [line.repeat(100), b".\r\n".to_vec()].concat();
    let mut body = Vec::new();
    assert!(Content::new(false).data(&stream, 0, &limits(0, 0), &mut body).end);
    assert!(body.iter().all(|piece| matches!(piece, Piece::Range { .. })), "long lines are not copied");
}

#[test]
fn a_spoilt_message_is_emitted_no_further() {
    let mut content = Content::new(false);
    let mut body = Vec::new();
    content.data(b"a\nb\r\n", 0, &limits(0, 0), &mut body);
    content.data(b"c\r\n.d\r\n.\r\n", 0, &limits(0, 0), &mut body);
    assert_eq!(body, []);
    assert_eq!(content.facts(1).size, 11, "but it is counted");
}

/// Text in which line ends and dots are frequent.
fn text(faults: bool) -> impl Strategy<Value = Vec<u8>> {
    let mut atoms: Vec<&'static [u8]> = vec![b"\r\n", b"\r\n", b"\r\n.", b".", b"..", b"a", b"bcd", b"\0", b"\xc3\xa9"];
    atoms.push(&[b'x'; 70]);
    if faults {
        atoms.extend([&b"\r"[..], b"\n"]);
    }
    prop::collection::vec(prop::sample::select(atoms), 0..40).prop_map(|atoms| atoms.concat())
}

fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever comes and however it is split, it means what RFC 5321 says.
    #[test]
    fn data_is_what_the_model_says(
        text in text(true), rest in text(true), cuts in cuts(), size in 0u64..200, line in 0u32..80,
    ) {
        let stream = [&text, &b"\r\n.\r\n"[..], &rest].concat();
        let limits = limits(size, line);
        prop_assert_eq!(scan_data(&cut(&stream, &cuts), &limits), data_model(&stream, &limits));
    }

    #[test]
    fn chunks_are_what_the_model_says(
        text in text(true), cuts in cuts(), binary: bool, size in 0u64..200, line in 0u32..80,
    ) {
        let limits = limits(size, line);
        prop_assert_eq!(scan_chunks(&cut(&text, &cuts), binary, &limits), model(text, binary, &limits, None));
    }

    #[test]
    fn stuffed_text_comes_back(text in text(false), cuts in cuts()) {
        let text = [&text, &b"\r\n"[..]].concat();
        let stream = [&stuff(&text), &b".\r\n"[..]].concat();
        let outcome = scan_data(&cut(&stream, &cuts), &limits(0, 0));
        prop_assert_eq!(outcome.end, Some(stream.len()));
        prop_assert_eq!(outcome.content, Some(text));
    }
}
